"""A capture through everything while its workers are killed and its Kafka stands still: the same result."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from capture_judge import CAPTURES, ROOT, expected, quote_facts, trade_facts

from ops.plan import UP_PORTS
from ops.ports import free_port_base
from sinks.parquet.reader import iter_records

pytestmark = [pytest.mark.slow, pytest.mark.engines]

#: Times the recorded pace: the middle capture then takes about a minute, long enough for every kill to be mended.
SPEED = os.environ.get("CHAOS_SPEED", "15")
KILLS = int(os.environ.get("CHAOS_CAPTURE_KILLS", "12"))
ROLES = (
    "kalshi-streams-state",
    "kalshi-streams-sink-postgres",
    "kalshi-streams-sink-clickhouse",
    "kalshi-streams-sink-parquet",
)


@pytest.mark.skipif(not CAPTURES, reason="the recorded captures are not beside this checkout")
@pytest.mark.timeout(900)
def test_kills_of_every_worker_and_a_frozen_broker_change_no_result(tmp_path: Path) -> None:
    """kill -9 at random moments, each role in turn; SIGSTOP of Kafka for 5 s; then every store against the capture."""
    data_dir = tmp_path / "data"
    capture = CAPTURES[int(os.environ.get("CHAOS_CAPTURE", "1"))]
    command = [
        str(Path(sys.executable).parent / "kalshi-streams"), "up", "--feed", f"replay:{capture}", "--speed", SPEED,
        "--until-drained", "--data-dir", str(data_dir), "--port-base", str(free_port_base(UP_PORTS)),
    ]  # fmt: skip
    with (tmp_path / "up.log").open("wb") as log:
        up = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    rnd = random.Random(int(os.environ.get("CHAOS_SEED", "1")))
    kills = 0
    try:
        _wait_for_quotes(data_dir, up, tmp_path)
        while kills < KILLS and up.poll() is None:
            time.sleep(rnd.uniform(1.0, 4.0))
            kills += _kill(_children(up.pid, ROLES[kills % len(ROLES)]))
            if kills == KILLS // 2:
                _freeze(_children(up.pid, "kafka.Kafka"), 5.0)
        assert up.wait(600) == 0, (tmp_path / "up.log").read_text()[-4_000:]
    finally:
        if up.poll() is None:
            up.terminate()
            up.wait(60)
    print(f"{kills} kills")

    assert kills >= KILLS // 2, "the feed ended before the kills could hit"
    _judge(data_dir, capture)


def _judge(data_dir: Path, capture: Path) -> None:
    market = capture.name.removesuffix(".ndjson.gz")
    facts = expected()[market]
    assert quote_facts(data_dir / "parquet")[market] == [(facts["bbo_changes"], facts["bbo_sha256_noseq"])]
    assert trade_facts(data_dir / "parquet")[market] == (facts["trades"], facts["trade_volume_1e2"])
    quotes = list(iter_records(data_dir / "parquet", "market.quote_updates", drop_repeated=True))
    assert _postgres_quotes(data_dir) == len(quotes)


def _postgres_quotes(data_dir: Path) -> int:
    from ops.engines.postgres import PostgresEngine

    engine = PostgresEngine(data_dir / "postgres")
    engine.start()
    try:
        with psycopg.connect(engine.dsn) as connection:
            row = connection.execute(
                "select count(*), count(distinct idempotency_key) from events_quote_updates"
            ).fetchone()
    finally:
        engine.stop()
    assert row is not None
    assert row[0] == row[1], "the same quote stands in Postgres twice"
    return int(row[0])


def _wait_for_quotes(data_dir: Path, up: subprocess.Popen[bytes], folder: Path) -> None:
    """Until the state worker has folded something."""
    deadline_s = time.monotonic() + 120
    log = data_dir / "logs" / "state.log"
    while time.monotonic() < deadline_s:
        if up.poll() is not None:
            raise AssertionError((folder / "up.log").read_text()[-4_000:])
        if log.exists() and b"restored order_books" in log.read_bytes():
            return
        time.sleep(0.2)
    raise AssertionError("the state worker did not start within 120 s")


def _children(parent: int, mark: str) -> list[int]:
    """Processes started by `up` whose command line or environment holds the mark."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
            text = (folder / "cmdline").read_bytes() + b"\0" + (folder / "environ").read_bytes()
        except OSError:
            continue
        wanted = mark.encode() if mark == "kafka.Kafka" else f"WORKER_ROLE={mark}".encode()
        if int(stat.rsplit(")", 1)[1].split()[1]) == parent and wanted in text.split(b"\0"):
            found.append(int(folder.name))
    return found


def _kill(pids: list[int]) -> int:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return len(pids)


def _freeze(pids: list[int], seconds: float) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)  # the outage itself, not synchronisation
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
