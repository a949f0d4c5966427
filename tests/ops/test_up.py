"""`up` as a whole: the real command and the real engines, with small fake children in place of feed and workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ops.plan import UP_PORTS
from ops.ports import LOOPBACK, free_port_base

pytestmark = pytest.mark.engines

#: Runs `kalshi-streams` with children that serve one page, and note in a journal when they start and stop.
LAUNCHER = '''
import os, sys, ops.plan as plan
from ops.child import Child
CODE = """
import http.server, os, pathlib, signal, sys
name, port, journal = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
def note(what):
    with journal.open("a") as file: file.write(f"{name} {what}\\\\n")
def end(*_):
    note("stop"); os._exit(0)
if os.environ.get("FAKE_MISTAKE") == name:
    print("PROD_KEYID: expected a key"); sys.exit(2)
signal.signal(15, end); note("start")
class Page(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{"ready": true}')
http.server.HTTPServer(("127.0.0.1", port), Page).serve_forever()
"""
def fake(self, name):
    argv = [sys.executable, "-c", CODE, name, str(self._port(name)), os.environ["JOURNAL"]]
    return Child(name, argv, self.environment(name), self.data.log_file(name))
plan.Plan.worker = fake
plan.Plan.producer = lambda self: fake(self, plan.PRODUCER)
plan.Plan.account_producer = lambda self: fake(self, plan.ACCOUNT)
plan.Plan.simulator = lambda self: fake(self, plan.SIMULATOR)
from ops.cli import main
main()
'''
WAIT_S = 120.0


class UpRun:
    """One `up` under test; output in `out`, its children's journal in `journal`."""

    def __init__(self, folder: Path, name: str, *arguments: str, **environment: str) -> None:
        self.out = folder / f"{name}.out"
        self.journal = folder / f"{name}.journal"
        self.data = folder / "data"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("BUS_", "PG_", "KALSHI_", "MARKET_"))}
        if "--port-base" not in arguments:  # the default ports are those of another suite on this machine
            arguments += ("--port-base", str(free_port_base(UP_PORTS)))
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, "up", "--data-dir", str(self.data), *arguments],
                stdout=out,
                stderr=out,
                cwd=folder,
                env=clean | {"JOURNAL": str(self.journal)} | environment,
            )

    def until(self, check: Callable[[], bool]) -> None:
        """Wait for a condition, while the process lives."""
        end = time.monotonic() + WAIT_S
        while not check():
            assert self.process.poll() is None, self.out.read_text()
            assert time.monotonic() < end, self.out.read_text()
            time.sleep(0.05)

    def until_up(self) -> dict[str, Any]:
        """Wait for its last start-up line; the endpoints."""
        self.until(lambda: "Ctrl-C stops" in self.out.read_text())
        answer: dict[str, Any] = json.loads((self.data / "run" / "endpoints.json").read_text())
        return answer

    def stopped(self) -> list[str]:
        """Names of the children in the order in which they stopped."""
        return [line.split()[0] for line in self.journal.read_text().splitlines() if line.endswith(" stop")]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., UpRun]]:
    """Start an `up` in this test's folder; whatever is left of it is ended after the test."""
    runs: list[UpRun] = []

    def begin(name: str, *arguments: str, **environment: str) -> UpRun:
        runs.append(UpRun(tmp_path, name, *arguments, **environment))
        return runs[-1]

    yield begin
    from ops.data_dir import DataDir
    from ops.stack import stop_stack

    for run in runs:
        run.process.kill()
        run.process.wait()
    stop_stack(DataDir(tmp_path / "data"))


def test_up_runs_stops_in_order_and_resumes_even_after_kill9(start: Callable[..., UpRun], tmp_path: Path) -> None:
    """First run: clean, in order. Second: on the same data, refused to a rival, killed. Third: cleans up after it."""
    first = start("first")
    endpoints = first.until_up()
    _send(endpoints["bus_url"], b"kept")
    first.process.send_signal(signal.SIGTERM)

    assert first.process.wait(WAIT_S) == 0, first.out.read_text()
    order = first.stopped()
    order = [name for name in order if name != "producer-account"]
    assert order[:3] == ["producer-market", "simulator", "state"]
    assert set(order[3:]) == {"sink-clickhouse", "sink-postgres", "sink-parquet"}
    assert not (first.data / "run" / "endpoints.json").exists()
    assert "created, 0 changed" in first.out.read_text()

    second = start("second")
    endpoints = second.until_up()
    rival = start("rival")

    assert rival.process.wait(WAIT_S) == 2
    assert rival.out.read_text().count("\n") == 1
    assert f"in use by `kalshi-streams up` (pid {second.process.pid})" in rival.out.read_text()
    assert _first_value(endpoints["bus_url"]) == b"kept"
    assert "topics: as declared" in second.out.read_text()
    assert "migrations: up to date" in second.out.read_text()

    orphans = [p for p in psutil.process_iter() if _belongs(p, second.data)]
    second.process.kill()
    second.process.wait()
    third = start("third", "--duration", "0.1")

    assert third.process.wait(WAIT_S) == 0, third.out.read_text()
    assert third.out.read_text().count("ended what an earlier run left") == len(orphans) > 5
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in orphans)


def test_user_mistake_of_a_child_is_the_last_line_and_the_code(start: Callable[..., UpRun]) -> None:
    """A producer that refuses its key ends `up` with that line and 2; everything else was stopped."""
    run = start("mistake", FAKE_MISTAKE="producer-market")

    assert run.process.wait(WAIT_S) == 2
    assert run.out.read_text().splitlines()[-1] == "PROD_KEYID: expected a key"
    assert "Traceback" not in run.out.read_text()
    assert not [p for p in psutil.process_iter() if _belongs(p, run.data)]


def test_named_port_in_use_ends_before_anything_starts(start: Callable[..., UpRun]) -> None:
    """--port-base on a port of somebody else: one line, 2, no engine was started."""
    port = free_port_base(UP_PORTS)
    with socket.create_server((LOOPBACK, port)):
        run = start("port", "--port-base", str(port))

        assert run.process.wait(WAIT_S) == 2
    assert f"expected port {port} to be free" in run.out.read_text()
    assert not list((run.data / "kafka").iterdir())


def _belongs(process: psutil.Process, data: Path) -> bool:
    try:
        return process.environ().get("KALSHI_STREAMS_RUN_DIR") == str(data)
    except psutil.Error:
        return False


def _send(bus_url: str, value: bytes) -> None:
    import asyncio

    from aiokafka import AIOKafkaProducer

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=bus_url, acks="all") as producer:
            await producer.send_and_wait("market.trades", value, partition=0)

    asyncio.run(send())


def _first_value(bus_url: str) -> bytes:
    import asyncio

    from aiokafka import AIOKafkaConsumer

    async def read() -> bytes:
        async with (
            asyncio.timeout(WAIT_S),
            AIOKafkaConsumer("market.trades", bootstrap_servers=bus_url, auto_offset_reset="earliest") as consumer,
        ):
            return bytes((await consumer.getone()).value)

    return asyncio.run(read())
