"""`python -m bench rest`: what the whole default stack takes while little happens: cores and memory by process.

`up` as a person starts it, on the simulator, at each of RATES frames a second. After a warm-up the CPU seconds of every
process of the run are read from /proc at both ends of a window in which nobody asks the stack anything; then its
memory, each page divided by those who share it (PSS). In a second window the stores are asked what they hold, because
quietness must not be paid for with latency. The simulator stands for the venue and is left out of the sums.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench.environment import PROJECT, WORK, JobFailed, say
from bench.latency import quantiles
from bench.live import get_json, plain_environment
from bench.meter import cpu_and_children_s
from bench.store_lag import append_to_stored
from ops.data_dir import DataDir
from ops.plan import SIMULATOR, UP_PORTS
from ops.ports import free_port_base

RATES = tuple(int(rate) for rate in os.environ.get("BENCH_REST_RATES", "200,2000").split(","))
WINDOW_S = float(os.environ.get("BENCH_REST_S", "60"))  # a file of the archive is closed each minute
WARM_UP_S = float(os.environ.get("BENCH_REST_WARM_UP_S", "20"))  # code is compiled, here and in the broker
STORED_S = float(os.environ.get("BENCH_REST_STORED_S", "15"))
START_S_MAX = 180.0
STOP_S_MAX = 120.0
#: What it must be, and what we aim at: cores by rate, MiB.
CORES = {200: (0.5, 0.25), 2_000: (1.0, 0.6)}
MEMORY_MIB = (1.2 * 1_024, 0.8 * 1_024)
#: p99 in seconds of append to stored, at the highest rate.
STORED_P99_S = {"Postgres": (0.3, 0.3), "ClickHouse": (2.0, 2.0)}


@dataclass(frozen=True)
class Usage:
    """Of one process, now."""

    component: str
    cpu_s: float
    pss_mib: float


def usages(data: DataDir, up_pid: int) -> list[Usage]:
    """Every process of the run: `up`, its children by their marks, Postgres by its data directory."""
    found = data.children() | {up_pid: "up"} | dict.fromkeys(_postgres(data), "postgres")
    rows = []
    for pid, name in found.items():
        try:
            rows.append(Usage(name, cpu_and_children_s(pid), pss_mib(pid)))
        except OSError:  # it ended meanwhile; a parent has reaped its CPU
            continue
    return rows


def _postgres(data: DataDir) -> list[int]:
    """Its postmaster and everything below it: they carry no mark of ours."""
    try:
        postmaster = psutil.Process(int((data / "postgres" / "postmaster.pid").read_text().split()[0]))
        return [postmaster.pid, *(child.pid for child in postmaster.children(recursive=True))]
    except (OSError, ValueError, psutil.Error):
        return []


def pss_mib(pid: int) -> float:
    """Proportional set size: what is shared counts by its share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1_024
    return 0.0


def by_component(rows: list[Usage]) -> dict[str, tuple[float, float]]:
    """(CPU seconds, MiB) summed over the processes of each component."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in rows:
        sums[row.component][0] += row.cpu_s
        sums[row.component][1] += row.pss_mib
    return {name: (cpu_s, mib) for name, (cpu_s, mib) in sums.items()}


@dataclass(frozen=True)
class Rest:
    """One rate: component -> (cores, MiB); store -> milliseconds from append to stored."""

    records_per_s: float
    components: dict[str, tuple[float, float]]
    stored_ms: dict[str, list[float]]

    @property
    def cores(self) -> float:
        """Of everything but the simulator."""
        return sum(cores for name, (cores, _) in self.components.items() if name != SIMULATOR)

    @property
    def memory_mib(self) -> float:
        """Of everything but the simulator."""
        return sum(mib for name, (_, mib) in self.components.items() if name != SIMULATOR)


async def measure(rate: int) -> Rest:
    """Start, warm up, measure, stop. Raises JobFailed."""
    folder = WORK / "rest"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    process = _up(folder, free_port_base(UP_PORTS), rate)
    try:
        data = DataDir(folder)
        endpoints = await _until_ready(process, data)
        await asyncio.sleep(WARM_UP_S)
        before, frames, began_s = by_component(usages(data, process.pid)), await _frames(endpoints), time.monotonic()
        await asyncio.sleep(WINDOW_S)
        seconds, after = time.monotonic() - began_s, by_component(usages(data, process.pid))
        frames = await _frames(endpoints) - frames
        components = {
            name: ((cpu_s - before.get(name, (0.0, 0.0))[0]) / seconds, mib) for name, (cpu_s, mib) in after.items()
        }
        return Rest(frames / seconds, components, await append_to_stored(endpoints, STORED_S) if STORED_S else {})
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S_MAX)


def _up(folder: Path, port_base: int, rate: int) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).parent / "kalshi-streams"), "up", "--data-dir", str(folder)]
    command += ["--port-base", str(port_base), "--rate", str(rate)]
    with (folder / "up.log").open("ab") as log:
        return subprocess.Popen(command, cwd=PROJECT, env=plain_environment(), stdout=log, stderr=log)


async def _until_ready(process: subprocess.Popen[bytes], data: DataDir) -> dict[str, Any]:
    """The addresses, once every component is ready."""
    deadline_s = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline_s and process.poll() is None:
        await asyncio.sleep(1.0)
        endpoints = data.read_endpoints()
        urls = [url for name, url in endpoints.items() if name.startswith(("state", "sink", "producer")) and url]
        try:
            if urls and all([(await get_json(f"{url}/readyz"))["ready"] for url in urls]):
                return endpoints
        except (aiohttp.ClientError, OSError, KeyError):
            continue
    raise JobFailed(f"up: not ready in {START_S_MAX:.0f} s; see {data / 'up.log'}")


async def _frames(endpoints: dict[str, Any]) -> int:
    """Frames that the market producer has taken."""
    return int((await get_json(f"{endpoints['producer_market_url']}/status"))["frames_in"])


async def run() -> dict[str, Any]:
    """All rates; one row per component."""
    rests = {rate: await measure(rate) for rate in RATES}
    names = sorted({name for rest in rests.values() for name in rest.components}, key=lambda name: name == SIMULATOR)
    rows: list[dict[str, Any]] = []
    for name in [*names, "all without simulator"]:
        row: dict[str, Any] = {"component": name}
        for rate, rest in rests.items():
            cores, mib = rest.components.get(name, (rest.cores, rest.memory_mib))
            row |= {f"cores at {rate:,}/s": round(cores, 3), f"PSS MiB at {rate:,}/s": round(mib, 1)}
        rows.append(row)
        say(f"{name:24}" + "".join(f" {value:>9}" for value in list(row.values())[1:]))
    return {"rows": rows, "targets": _targets(rests), "stored": _stored_rows(rests), "note": _note(rests)}


def _stored_rows(rests: dict[int, Rest]) -> list[dict[str, Any]]:
    rows = []
    for rate, rest in rests.items():
        for store, latencies_ms in rest.stored_ms.items():
            rows.append({"rate": rate, "store": store} | quantiles(latencies_ms))
            say(f"{store} at {rate:,}/s, append to stored: p50 {rows[-1]['p50']}, p99 {rows[-1]['p99']} ms")
    return rows


def _targets(rests: dict[int, Rest]) -> list[list[Any]]:
    found: list[list[Any]] = []
    for rate, rest in rests.items():
        if rate in CORES:
            found.append([f"whole stack, cores at {rate:,} records/s", round(rest.cores, 2), "<=", *CORES[rate]])
    largest = max(rest.memory_mib for rest in rests.values())
    found.append(["whole stack, memory (PSS), MiB", round(largest), "<=", *MEMORY_MIB])
    fastest = rests[max(rests)]
    for store, latencies_ms in fastest.stored_ms.items():
        p99_s = round(float(quantiles(latencies_ms)["p99"]) / 1_000, 3)
        found.append([f"{store}, append to stored, p99 at {max(rests):,}/s, s", p99_s, "<=", *STORED_P99_S[store]])
    return found


def _note(rests: dict[int, Rest]) -> str:
    frames = ", ".join(f"{rest.records_per_s:,.0f}" for rest in rests.values())
    return (
        f"{WINDOW_S:.0f} s after {WARM_UP_S:.0f} s of warm-up; {frames} frames/s came. Load average {os.getloadavg()}."
    )
