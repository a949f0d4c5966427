"""`python -m bench producer`: the market producer from socket to acked in Kafka, beside a bare WebSocket receive loop.

Both read the simulator at its maximum, one after the other. The simulator shares the machine, and may be what limits
the rate; both readers are one thread each, so what compares is frames per CPU second of the reader (that is its rate
once it has a core and a source that is quick enough). Both numbers are shown; the ratio is that of the CPU.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any

from bench.engine import Bus, bus, kafka
from bench.environment import PROJECT, WORK, say
from bench.live import get_json, plain_environment, producer, simulator, until_flowing
from bench.meter import tree_usage
from bench.peers.ours import fresh_input

SECONDS = float(os.environ.get("BENCH_PRODUCER_S", "8"))
WARM_UP_S = 3.0


async def run() -> dict[str, Any]:
    """Both readers."""
    with kafka() as engine:
        async with bus(engine.bus_url) as view:
            rows = [await _bare(), await _ours(view)]
    for row in rows:
        say(f"{row['reader']:24} {row['frames_per_s']:>9,.0f} frames/s, {row['frames_per_cpu_s']:,.0f} per CPU second")
    bare, ours = rows
    by_cpu = round(ours["frames_per_cpu_s"] / bare["frames_per_cpu_s"], 2)
    return {
        "rows": rows,
        "targets": [
            ["market producer, frames/s against a bare WebSocket loop (per CPU second)", by_cpu, ">=", 0.4, 0.7]
        ],
        "note": f"By the clock the ratio is {ours['frames_per_s'] / bare['frames_per_s']:.2f}.",
    }


async def _bare() -> dict[str, Any]:
    with simulator(WORK / "live" / "producer-bare", 0) as sim:
        arguments = [sys.executable, "-m", "bench.bare_receiver", sim.ws_url, str(SECONDS), ",".join(sim.markets)]
        process = await asyncio.create_subprocess_exec(
            *arguments, cwd=PROJECT, env=plain_environment(), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
    found = json.loads(said)
    return _row("bare websockets", found["frames"], found["seconds"], found["cpu_s"])


async def _ours(view: Bus) -> dict[str, Any]:
    await fresh_input(view)
    folder = WORK / "live" / "producer-ours"
    with simulator(folder, 0) as sim, producer(folder, view.broker, sim) as (process, status_url):
        await until_flowing(status_url)
        await asyncio.sleep(WARM_UP_S)
        first, began, cpu = await _acked(status_url), time.monotonic(), tree_usage(process.pid)[0]
        await asyncio.sleep(SECONDS)
        last, ended, cpu_end = await _acked(status_url), time.monotonic(), tree_usage(process.pid)[0]
    return _row("ours, acked in Kafka", last - first, ended - began, cpu_end - cpu)


async def _acked(status_url: str) -> int:
    """Frames whose records are in Kafka: each book or trade frame causes one record."""
    acked = (await get_json(status_url))["records_acked"]
    return int(sum(count for topic, count in acked.items() if topic.startswith("market.") and "status" not in topic))


def _row(reader: str, frames: float, seconds: float, cpu_s: float) -> dict[str, Any]:
    return {
        "reader": reader,
        "frames_per_s": round(frames / seconds),
        "frames_per_cpu_s": round(frames / cpu_s),
        "cpu_us_per_frame": round(cpu_s / frames * 1e6, 1),
    }
