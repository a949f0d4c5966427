"""The live path as processes: simulator, market producer, state worker, each as `up` starts it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bench.book_job import stop
from bench.environment import PROJECT, WORK, JobFailed
from bench.peers.catalogue import Job, child_environment
from bench.peers.ours import OURS, worker_command
from ops.ports import LOOPBACK, free_ports

READY_S_MAX = 60.0
#: Markets the simulator opens per hour series: enough that no sid is a bottleneck, few enough to subscribe at once.
STRIKES = 40


@dataclass(frozen=True)
class Simulator:
    """A running venue simulator."""

    process: subprocess.Popen[str]
    port: int
    ws_url: str
    rest_url: str
    markets: list[str]

    def admin_url(self, what: str) -> str:
        """Its admin endpoint of that name."""
        return f"http://{LOOPBACK}:{self.port}/admin/{what}"


@contextmanager
def child(command: list[str], folder: Path, name: str, env: dict[str, str], pipe: bool = False) -> Iterator[Any]:
    """A child process with its output in <folder>/<name>.log; stopped at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("ab") as log:
        out = subprocess.PIPE if pipe else log
        process = subprocess.Popen(
            command, cwd=PROJECT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=log, text=True
        )
        try:
            yield process
        finally:
            stop(process)
            if process.stdout is not None:
                process.stdout.close()


def plain_environment() -> dict[str, str]:
    """Nothing of the person's settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONPATH": str(PROJECT)}


@contextmanager
def simulator(folder: Path, rate: int, *more: str) -> Iterator[Simulator]:
    """The simulator at a rate (frames/s; 0: its maximum), listening."""
    command = [sys.executable, "-m", "venues.simulator", "--port", "0", "--rate", str(rate)]
    command += ["--strikes", str(STRIKES), *more]
    with child(command, folder, "simulator", plain_environment(), pipe=True) as process:
        line = process.stdout.readline()
        if not line:
            raise JobFailed(f"simulator: did not start; see {folder / 'simulator.log'}")
        said = json.loads(line)
        yield Simulator(process, said["port"], said["kalshi_ws_url"], said["kalshi_rest_url"], said["markets"])


@contextmanager
def producer(folder: Path, broker: str, sim: Simulator) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The market producer on the simulator; (process, its status URL)."""
    (port,) = free_ports(1)
    env = plain_environment() | {
        "KALSHI_ENV": "sim",
        "KALSHI_WS_URL": sim.ws_url,
        "KALSHI_REST_URL": sim.rest_url,
        "MARKET_TICKERS": ",".join(sim.markets),
        "BUS_URL": broker,
        "DATA_DIR": str(folder),
        "PRODUCER_PORT": str(port),
    }
    command = [str(Path(sys.executable).parent / "kalshi-streams"), "producer", "market"]
    with child(command, folder, "producer", env) as process:
        yield process, f"http://{LOOPBACK}:{port}/status"


@contextmanager
def worker(folder: Path, broker: str) -> Iterator[subprocess.Popen[str]]:
    """The state worker."""
    folder.mkdir(parents=True, exist_ok=True)
    job = Job(broker, "", "", "", folder)
    with child(OURS.command(job), folder, "worker", child_environment(OURS, job)) as process:
        yield process


def role_worker(folder: Path, data: Path, broker: str, dsn: str, group: str, **more: str) -> Any:
    """A worker of one role with its data in `data` and its log in `folder`; a context."""
    (port,) = free_ports(1)
    env = plain_environment() | {
        "BUS_URL": broker,
        "DATA_DIR": str(data),
        "PG_DSN": dsn,
        "WORKER_ROLE": group,
        "WEB_PORT": str(port),
        "LOG_LEVEL": "warning",
    }
    return child(worker_command(data / "faust", port, "warn"), folder, group, env | more)


@contextmanager
def pipeline(name: str, broker: str, rate: int, *more: str) -> Iterator[tuple[Simulator, str]]:
    """Worker, simulator and producer; (simulator, the producer's status URL)."""
    folder = WORK / "live" / name
    with ExitStack() as parts:
        parts.enter_context(worker(folder, broker))
        sim = parts.enter_context(simulator(folder, rate, *more))
        _process, status_url = parts.enter_context(producer(folder, broker, sim))
        yield sim, status_url


async def get_json(url: str) -> Any:
    """GET; raises what aiohttp raises."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.json()


async def until_flowing(status_url: str, frames: int = 1_000) -> None:
    """Wait until the producer has taken so many frames. Raises JobFailed."""
    deadline = asyncio.get_running_loop().time() + READY_S_MAX
    while True:
        try:
            if (await get_json(status_url))["frames_in"] >= frames:
                return
        except (aiohttp.ClientError, OSError):
            pass
        if asyncio.get_running_loop().time() > deadline:
            raise JobFailed(f"producer: no {frames} frames in {READY_S_MAX:.0f} s")
        await asyncio.sleep(0.2)
