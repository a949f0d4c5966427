"""A feed that loses, doubles, swaps and cuts: what the books say meanwhile, and how soon they are right again.

Simulator, market producer and state worker are processes of their own on a real Kafka. Judged is what is in the log.
`FEED_FAULTS_PHASE_S` (default 2) is the length of each of the ten phases; a longer run is started by hand with it.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.bus import aiokafka_options
from app.settings import load_settings
from bench.feed_judge import Logged, Verdict, judge, line
from domain.units import contracts_text, dollars_text
from ops.engines.kafka import KafkaEngine
from ops.ports import free_ports
from ops.topics import apply_topics
from schemas.registry import BOOK_UPDATES, QUOTE_UPDATES, Topic, decoder
from venues.simulator.admin import ADMIN_HEADER

pytestmark = [pytest.mark.engines, pytest.mark.timeout(420)]

ROOT = Path(__file__).resolve().parents[2]
PHASE_S = float(os.environ.get("FEED_FAULTS_PHASE_S", "2"))
RATE, EVERY, STRIKES = 500, 500, 40  # frames/s, one fault in so many frames, KXBTCD markets (with the others < 50)
PHASES = ("drop", "duplicate", "reorder", "disconnect")
TOKEN_FILE = "admin-token"
MODES = (False, True)  # whether a second subscribe to a channel joins its sid
START_MS = 1_760_000_100_000 // 900_000 * 900_000 + 120_000  # two minutes into a quarter: nothing settles meanwhile
DEADLINE_S = 90.0


def test_every_gap_is_flagged_and_every_book_is_live_again_and_right(own_kafka: KafkaEngine, tmp_path: Path) -> None:
    """Every 500th frame dropped, then doubled, swapped, cut, a sid ended; first with a sid per subscribe, then with one
    sid per channel; at the end the books are equal."""
    frames = int(RATE * PHASE_S * (len(MODES) * (len(PHASES) + 1) + 2))
    settings = load_settings(_env_file=None, bus_url=own_kafka.bus_url, data_dir=tmp_path)
    asyncio.run(apply_topics(aiokafka_options(settings), settings))
    with ExitStack() as running:
        venue, worker = _start(running, own_kafka.bus_url, tmp_path, frames)
        token = (tmp_path / TOKEN_FILE).read_text()
        for join_sid in MODES:
            _post(f"{venue}/admin/faults", {"join_sid": join_sid, "slow_frames_per_s": 0}, token)
            _post(
                f"{venue}/admin/faults", {"disconnect": True}, token
            )  # what is subscribed from here on has its sids so
            for phase in (*PHASES, "error"):
                _play(venue, token, phase)
        _post(f"{venue}/admin/faults", dict.fromkeys((f"{kind}_every" for kind in PHASES), 0), token)
        _until(lambda: _get(f"{venue}/admin/status")["finished"], "the last frame")
        truth = {t: b for t, b in _get(f"{venue}/admin/books").items() if b["sid"] is not None}
        _until(lambda: not _differing(worker, truth), "equal books", lambda: _differing(worker, truth)[:3])
        gaps, status = _get(f"{venue}/admin/gaps"), _get(f"{venue}/admin/status")
    books = asyncio.run(_read(own_kafka.bus_url, BOOK_UPDATES))
    quotes = asyncio.run(_read(own_kafka.bus_url, QUOTE_UPDATES))
    live_ms = {(q.cause.partition, q.cause.offset): q.at_ms for q in quotes if q.payload.status != "stale"}
    session_of = sessions_of([c["connection"] for c in status["connections"]], books)
    verdict = judge(gaps, session_of, books, live_ms)

    _report(verdict, status, truth)
    assert verdict.wrong == []
    assert verdict.flagged == verdict.gaps > 2 * len(PHASES)
    assert {gap["kind"] for gap in gaps} == {"drop", "reorder", "disconnect", "error_25"}
    assert status["faults"]["duplicate"] > 2
    assert 10 < len(truth) <= 50
    assert {len(c["sids"]) for c in status["connections"] if c["open"]} == {2}


def _play(venue: str, token: str, phase: str) -> None:
    """One phase, PHASE_S long by the venue's clock."""
    _post(f"{venue}/admin/faults", {f"{kind}_every": EVERY if kind == phase else 0 for kind in PHASES}, token)
    served = _get(f"{venue}/admin/status")["source_frames"] + RATE * PHASE_S
    if phase == "error":
        _until(lambda: _book_sids(venue), "a subscription to end")
        _post(f"{venue}/admin/faults", {"error_code": 25, "sid": _book_sids(venue)[-1]}, token)
    _until(lambda: _get(f"{venue}/admin/status")["source_frames"] >= served, "phase")


def _book_sids(venue: str) -> list[int]:
    """Of the connection in force; empty while there is none."""
    sids = [c["sids"] for c in _get(f"{venue}/admin/status")["connections"] if c["open"]]
    return [int(sid) for of_one in sids for sid, sub in of_one.items() if sub["channel"] == "orderbook_delta"]


def sessions_of(connections: list[int], books: list[Logged]) -> dict[int, str]:
    """The simulator's connections and the feed's sessions, both in order; a session without a book is none."""
    with_books = {b.payload.session_id for b in books if b.tag != "book_reset"}
    sessions = sorted(with_books, key=lambda session: int(session.rpartition("-")[2]))
    return dict(zip(sorted(connections), sessions, strict=True))


def _report(verdict: Verdict, status: dict[str, Any], truth: dict[str, Any]) -> None:
    print(
        f"\n{status['frames_served']} frames, faults {status['faults']}, {verdict.flagged} of {verdict.gaps} gaps "
        f"flagged, {len(truth)} books equal; from the gap to the live quote in the log:"
    )
    every = [ms for took in verdict.live_again_ms.values() for ms in took]
    for kind, took in [*verdict.live_again_ms.items(), ("all", every)]:
        print(line(kind, took))


# --- processes ---


def _start(running: ExitStack, bus_url: str, folder: Path, frames: int) -> tuple[str, str]:
    """Simulator, state worker, producer; returns the first two's addresses."""
    sim_port, producer_port, web_port = free_ports(3)
    base = f"127.0.0.1:{sim_port}"
    common = {
        "BUS_URL": bus_url, "DATA_DIR": str(folder), "KALSHI_ENV": "sim", "PRODUCER_PORT": str(producer_port),
        "KALSHI_WS_URL": f"ws://{base}/trade-api/ws/v2", "KALSHI_REST_URL": f"http://{base}/trade-api/v2",
        "WORKER_ROLE": "kalshi-streams-state", "WEB_PORT": str(web_port), "MARKETS_PER_SUBSCRIPTION": "12",
    }  # fmt: skip
    simulator = [
        "-m", "venues.simulator", "--port", str(sim_port), "--rate", str(RATE), "--strikes", str(STRIKES),
        "--frames", str(frames), "--start-ms", str(START_MS), "--seed", "5", "--account-rate", "0",
        "--admin-token-file", str(folder / TOKEN_FILE),
    ]  # fmt: skip
    running.enter_context(_process(simulator, common, folder / "simulator.log"))
    _until(lambda: _get(f"http://{base}/admin/status") is not None, "simulator")
    # The frames are for the phases, not for the start.
    _post(f"http://{base}/admin/faults", {"slow_frames_per_s": 5}, (folder / TOKEN_FILE).read_text())
    faust = ["-m", "faust", "--datadir", str(folder / "faust"), "-A", "app", "worker", "--web-port", str(web_port)]
    running.enter_context(_process(faust, common, folder / "worker.log"))
    running.enter_context(_process(["-m", "ops.cli", "producer", "market"], common, folder / "producer.log"))
    worker = f"http://127.0.0.1:{web_port}"
    _until(lambda: (_get(f"{worker}/readyz") or {}).get("ready"), "live books", lambda: _get(f"{worker}/readyz"))
    return f"http://{base}", worker


@contextmanager
def _process(arguments: list[str], environment: dict[str, str], log_file: Path) -> Iterator[None]:
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=os.environ | environment, stdout=log, stderr=log
        )
    try:
        yield
        assert process.poll() is None, f"ended with {process.returncode}: {log_file.read_text()[-2_000:]}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _differing(worker: str, truth: dict[str, Any]) -> list[Any]:
    """(ticker, ours, theirs) of books that are not live or not the simulator's own."""
    found = []
    for ticker, book in truth.items():
        ours = _get(f"{worker}/books/{ticker}") or {}
        theirs = {
            side: [[dollars_text(p), contracts_text(s)] for p, s in reversed(book[side])] for side in ("yes", "no")
        }
        if ours.get("status") not in ("live", "empty") or any(ours[side] != theirs[side] for side in theirs):
            found.append((ticker, ours, theirs))
    return found


def _get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return json.loads(error.read())
    except OSError:
        return None


def _post(url: str, body: dict[str, Any], token: str) -> None:
    headers = {"Content-Type": "application/json", ADMIN_HEADER: token}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def _until(holds: Callable[[], Any], what: str, detail: Callable[[], Any] = lambda: "") -> None:
    end = time.monotonic() + DEADLINE_S + 2 * PHASE_S
    while not holds():
        assert time.monotonic() < end, f"never came: {what} {detail()}"
        time.sleep(0.05)


async def _read(bus_url: str, topic: Topic) -> list[Logged]:
    """All of a topic, each partition in order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bus_url, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        targets = [TopicPartition(topic.name, n) for n in range(4)]
        consumer.assign(targets)
        ends = await consumer.end_offsets(targets)
        rows: list[Logged] = []
        for target in targets:
            while await consumer.position(target) < ends[target]:
                for m in (await consumer.getmany(target, timeout_ms=500)).get(target, []):
                    record = decoder(topic).decode(m.value)
                    tag = record.__struct_config__.tag
                    rows.append(Logged(m.partition, m.offset, m.timestamp, tag, record.payload, record.cause))
        return rows
    finally:
        await consumer.stop()
