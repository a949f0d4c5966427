"""`python -m bench soak`: `up` for SOAK_S seconds; memory and lag of every process, and how they slope.

A slope is the least-squares line through the second half of the samples: the first half is warm-up (caches fill,
memtables grow). It starts nothing of its own: what a person gets with `make run` is what is watched.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import aiohttp

from bench.environment import PROJECT, WORK, JobFailed, say
from bench.live import get_json, plain_environment
from ops.plan import UP_PORTS
from ops.ports import free_port_base

SECONDS = float(os.environ.get("SOAK_S", "1800"))
SAMPLE_S = 5.0
STOP_S_MAX = 90.0
START_S_MAX = 180.0  # of a loaded machine; 20 s are normal
_PAGE = os.sysconf("SC_PAGE_SIZE")


def processes(root: int) -> dict[str, int]:
    """Resident bytes by component, of everything below `root` and itself."""
    parents: dict[int, int] = {}
    found: dict[str, int] = defaultdict(int)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    for pid in parents:
        above = pid
        while above not in (root, 0, 1) and above in parents:
            above = parents[above]
        if above == root:
            try:
                resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
                found["up" if pid == root else component(pid)] += resident
            except OSError:
                continue
    return found


def component(pid: int) -> str:
    """What a child of `up` is, from its command line and role."""
    command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    text = " ".join(command)
    environment = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    roles = [entry.split("=", 1)[1] for entry in environment if entry.startswith("WORKER_ROLE=")]
    if "faust" in text and roles:
        return roles[0].removeprefix("kalshi-streams-")
    for mark, name in (("kafka.Kafka", "kafka"), ("venues.simulator", "simulator"), ("producer", "producer market")):
        if mark in text:
            return name
    return "postgres" if "postgres" in text else Path(command[0]).name


def slope_per_h(samples: list[tuple[float, float]]) -> float:
    """Least squares over the second half of (seconds, value)."""
    half = samples[len(samples) // 2 :]
    if len(half) < 2:
        return 0.0
    mean_t = sum(t for t, _ in half) / len(half)
    mean_v = sum(v for _, v in half) / len(half)
    spread = sum((t - mean_t) ** 2 for t, _ in half)
    return 3_600 * sum((t - mean_t) * (v - mean_v) for t, v in half) / spread if spread else 0.0


async def lags(data_dir: Path) -> dict[str, float]:
    """Records behind, per worker; a worker that does not answer is left out."""
    try:
        endpoints = json.loads((data_dir / "run" / "endpoints.json").read_text())
    except (OSError, ValueError):
        return {}
    found = {}
    for name in ("state", "sink_clickhouse", "sink_postgres", "sink_parquet"):
        url = endpoints.get(f"{name}_url")
        if url:
            try:
                rows = await get_json(f"{url}/lag")
                found[f"{name} lag"] = float(
                    sum(row.get("lag", row.get("lag_records", 0)) or 0 for row in rows.values())
                )
            except (aiohttp.ClientError, OSError, AttributeError):
                continue
    return found


async def run() -> dict[str, Any]:
    """Sample until the time is up, then stop `up` and see that it stops cleanly."""
    data_dir = WORK / "soak"
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir(parents=True)
    base = free_port_base(UP_PORTS)
    process = _up(data_dir, base)
    try:
        series = await _sample(process, data_dir)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(STOP_S_MAX)
    rows = [
        {
            "what": name,
            "first": round(samples[len(samples) // 4][1], 1),
            "last": round(samples[-1][1], 1),
            "max": round(max(value for _, value in samples), 1),
            "slope per hour": round(slope_per_h(samples), 1),
        }
        for name, samples in sorted(series.items())
    ]
    for row in rows:
        say(f"{row['what']:28} {row['first']:>9} -> {row['last']:>9}, {row['slope per hour']:+} per hour")
    return {
        "rows": rows,
        "note": f"{SECONDS:.0f} s; memory in MiB, lag in records; `first` is after a quarter. Exit {code}.",
    }


def _up(data_dir: Path, port_base: int) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).parent / "kalshi-streams"), "up", "--data-dir", str(data_dir)]
    command += ["--port-base", str(port_base)]
    with (data_dir / "up.log").open("ab") as log:
        return subprocess.Popen(command, cwd=PROJECT, env=plain_environment(), stdout=log, stderr=log)


async def _until_up(process: subprocess.Popen[bytes], data_dir: Path) -> None:
    """Wait until the state worker is ready: what is started before it is no growth. Raises JobFailed."""
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline and process.poll() is None:
        await asyncio.sleep(1)
        try:
            endpoints = json.loads((data_dir / "run" / "endpoints.json").read_text())
            if (await get_json(f"{endpoints['state_url']}/readyz"))["ready"]:
                return
        except (OSError, ValueError, KeyError, aiohttp.ClientError):
            continue
    raise JobFailed(f"up: not ready in {START_S_MAX:.0f} s; see {data_dir / 'up.log'}")


async def _sample(process: subprocess.Popen[bytes], data_dir: Path) -> dict[str, list[tuple[float, float]]]:
    await _until_up(process, data_dir)
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < SECONDS:
        await asyncio.sleep(SAMPLE_S)
        if process.poll() is not None:
            raise JobFailed(f"up ended with {process.returncode}; see {data_dir / 'up.log'}")
        for name, resident in processes(process.pid).items():
            series[f"{name} MiB"].append((elapsed, resident / (1 << 20)))
        for name, lag in (await lags(data_dir)).items():
            series[name].append((elapsed, lag))
    return series
