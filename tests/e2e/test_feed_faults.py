"""A feed that loses, doubles, swaps and cuts: what the books say meanwhile, and how soon they are right again.

Simulator, market producer and state worker are processes of their own on a real Kafka. Judged is what is in the log.
`FEED_FAULTS_PHASE_S` (default 4) is the length of each of the four phases; a longer run is started by hand with it.
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
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.bus import aiokafka_options
from app.settings import load_settings
from domain.units import contracts_text, dollars_text
from ops.engines.kafka import KafkaEngine
from ops.ports import free_ports
from ops.topics import apply_topics
from schemas.registry import BOOK_UPDATES, QUOTE_UPDATES, Topic, decoder
from venues.simulator.admin import ADMIN_HEADER

pytestmark = [pytest.mark.engines, pytest.mark.timeout(420)]

ROOT = Path(__file__).resolve().parents[2]
PHASE_S = float(os.environ.get("FEED_FAULTS_PHASE_S", "4"))
RATE, EVERY, STRIKES = 500, 500, 40  # frames/s, one fault in so many frames, KXBTCD markets (with the others < 50)
PHASES = ("drop", "duplicate", "reorder", "disconnect")
TOKEN_FILE = "admin-token"
START_MS = 1_760_000_100_000 // 900_000 * 900_000 + 120_000  # two minutes into a quarter: nothing settles meanwhile
DEADLINE_S = 90.0


@dataclass
class Logged:
    """One record as it stands in the log; `at_ms` is the broker's clock."""

    partition: int
    offset: int
    at_ms: int
    tag: str
    payload: Any
    cause: Any


@dataclass
class Verdict:
    """What the log said about the gaps."""

    gaps: int = 0
    flagged: int = 0
    live_again_ms: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)


def test_every_gap_is_flagged_and_every_book_is_live_again_and_right(own_kafka: KafkaEngine, tmp_path: Path) -> None:
    """Every 500th frame dropped, then doubled, then swapped, then cut; at the end the books are equal."""
    frames = int(RATE * PHASE_S * (len(PHASES) + 2))
    settings = load_settings(_env_file=None, bus_url=own_kafka.bus_url, data_dir=tmp_path)
    asyncio.run(apply_topics(aiokafka_options(settings), settings))
    with ExitStack() as running:
        venue, worker = _start(running, own_kafka.bus_url, tmp_path, frames)
        for phase in (*PHASES, "none"):
            faults = {f"{kind}_every": EVERY if kind == phase else 0 for kind in PHASES}
            _post(f"{venue}/admin/faults", faults, token=(tmp_path / TOKEN_FILE).read_text())
            served = _get(f"{venue}/admin/status")["source_frames"] + RATE * PHASE_S
            if phase != "none":
                _until(lambda n=served: _get(f"{venue}/admin/status")["source_frames"] >= n, "phase")
        _until(lambda: _get(f"{venue}/admin/status")["finished"], "the last frame")
        truth = {t: b for t, b in _get(f"{venue}/admin/books").items() if b["sid"] is not None}
        _until(lambda: not _differing(worker, truth), "equal books", lambda: _differing(worker, truth)[:3])
        gaps, status = _get(f"{venue}/admin/gaps"), _get(f"{venue}/admin/status")
    books = asyncio.run(_read(own_kafka.bus_url, BOOK_UPDATES))
    quotes = asyncio.run(_read(own_kafka.bus_url, QUOTE_UPDATES))
    verdict = judge(gaps, [c["connection"] for c in status["connections"]], books, quotes)

    _report(verdict, status, truth)
    assert verdict.wrong == []
    assert verdict.flagged == verdict.gaps > 2 * len(PHASES)
    assert {gap["kind"] for gap in gaps} == {"drop", "reorder", "disconnect"}
    assert status["faults"]["duplicate"] > 2
    assert 10 < len(truth) <= 50


def judge(gaps: list[Any], connections: list[int], books: list[Logged], quotes: list[Logged]) -> Verdict:
    """Walk each market's records in the order of the log, with the simulator's list of gaps at hand."""
    verdict = Verdict()
    sessions = sorted({b.payload.session_id for b in books}, key=lambda s: int(s.rpartition("-")[2]))
    sessions = [s for s in sessions if any(b.tag != "book_reset" for b in books if b.payload.session_id == s)]
    if len(sessions) != len(connections):
        verdict.wrong.append(f"{len(connections)} connections, {len(sessions)} sessions with books")
        return verdict
    session_of = dict(zip(sorted(connections), sessions, strict=True))
    by_market: dict[str, list[Logged]] = defaultdict(list)
    for book in books:
        by_market[book.payload.market_ticker].append(book)
    trusted = {m: _walk(m, records, verdict) for m, records in by_market.items()}
    _check_quotes(quotes, trusted, verdict)
    live = {(q.cause.partition, q.cause.offset): q for q in quotes if q.payload.status != "stale"}
    for gap in gaps:
        if gap["kind"] == "disconnect" or gap["channel"] == "orderbook_delta":
            _check_gap(gap, session_of[gap["connection"]], by_market, live, verdict)
    return verdict


def _walk(market: str, records: list[Logged], verdict: Verdict) -> set[int]:
    """The offsets at which this market's book may be trusted; a session that follows without a reset is wrong."""
    trusted: set[int] = set()
    state: tuple[str, int] | None = None  # session and seq of a book that may be trusted
    for record in records:
        body = record.payload
        if record.tag == "book_reset":
            state = None
            continue
        if record.tag == "book_snapshot":
            if state is not None and state[0] != body.session_id:
                verdict.wrong.append(f"{market}@{record.offset}: a new session without a reset")
            state = (body.session_id, body.seq)
        elif state is None or state[0] != body.session_id:
            continue
        elif body.seq <= state[1]:
            verdict.wrong.append(f"{market}@{record.offset}: seq {body.seq} after {state[1]}")
        else:
            state = (state[0], body.seq)
        trusted.add(record.offset)
    return trusted


def _check_quotes(quotes: list[Logged], trusted: dict[str, set[int]], verdict: Verdict) -> None:
    for quote in quotes:
        believed = quote.payload.status != "stale"
        if believed and quote.cause.offset not in trusted[quote.payload.market_ticker]:
            verdict.wrong.append(
                f"{quote.payload.market_ticker}: a live quote from {quote.cause}, where nothing is known"
            )


def _check_gap(
    gap: dict[str, Any], session: str, by_market: dict[str, list[Logged]], live: dict[Any, Logged], verdict: Verdict
) -> None:
    """Each market of the gap's sid: a reset before anything later than the gap, then a live quote."""
    verdict.gaps += 1
    cut = gap["kind"] == "disconnect"
    flagged = True
    for market, records in by_market.items():
        mine = [r for r in records if r.tag != "book_reset" and r.payload.session_id == session]
        if not mine or (not cut and not any(r.payload.sid == gap["sid"] for r in mine)):
            continue
        before = [r for r in mine if cut or r.payload.seq < gap["seq"]]
        if not before:
            continue
        last = before[-1].offset
        rest = [r for r in records if r.offset > last]
        if not rest or rest[0].tag != "book_reset":
            flagged = False
            verdict.wrong.append(f"{gap}: {market} goes on with {rest[:1]}")
            continue
        quote = next((q for r in rest if (q := live.get((r.partition, r.offset))) is not None), None)
        if quote is None:
            verdict.wrong.append(f"{gap}: {market} was never live again")
        else:
            verdict.live_again_ms[gap["kind"]].append(quote.at_ms - gap["wall_ms"])
    verdict.flagged += flagged


def _report(verdict: Verdict, status: dict[str, Any], truth: dict[str, Any]) -> None:
    print(
        f"\n{status['frames_served']} frames, faults {status['faults']}, {verdict.flagged} of {verdict.gaps} gaps "
        f"flagged, {len(truth)} books equal; from the gap to the live quote in the log:"
    )
    every = [ms for took in verdict.live_again_ms.values() for ms in took]
    for kind, took in [*verdict.live_again_ms.items(), ("all", every)]:
        took.sort()
        p50, p99 = (took[min(len(took) - 1, int(len(took) * share))] for share in (0.5, 0.99))
        print(f"  {kind:<10} {len(took)} books: p50 {p50} ms, p99 {p99} ms, max {took[-1]} ms")


# --- processes ---


def _start(running: ExitStack, bus_url: str, folder: Path, frames: int) -> tuple[str, str]:
    """Simulator, state worker, producer; returns the first two's addresses."""
    sim_port, producer_port, web_port = free_ports(3)
    base = f"127.0.0.1:{sim_port}"
    common = {
        "BUS_URL": bus_url, "DATA_DIR": str(folder), "KALSHI_ENV": "sim", "PRODUCER_PORT": str(producer_port),
        "KALSHI_WS_URL": f"ws://{base}/trade-api/ws/v2", "KALSHI_REST_URL": f"http://{base}/trade-api/v2",
        "WORKER_ROLE": "kalshi-streams-state", "WEB_PORT": str(web_port), "MARKETS_PER_SUBSCRIPTION": "50",
    }  # fmt: skip
    simulator = [
        "-m", "venues.simulator", "--port", str(sim_port), "--rate", str(RATE), "--strikes", str(STRIKES),
        "--frames", str(frames), "--start-ms", str(START_MS), "--seed", "5", "--account-rate", "0",
        "--admin-token-file", str(folder / TOKEN_FILE),
    ]  # fmt: skip
    running.enter_context(_process(simulator, common, folder / "simulator.log"))
    _until(lambda: _get(f"http://{base}/admin/status") is not None, "simulator")
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
