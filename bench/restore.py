"""`python -m bench restore`: a worker without local state reads 1 million changelog records, ours beside Kafka Streams.

Same number of records, keys and bytes a value for both. The time is each one's own account of its restore (from the
first partition's begin to the last one's end: `/readyz` of ours, the restore listener of Kafka Streams); the start of
the process is apart, as in the book job.
"""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from bench.book_job import spawn, stop
from bench.engine import PARTITIONS, Bus, bus, kafka, now_ms
from bench.environment import WORK, JobFailed, kafka_streams, run_in_peers, say
from bench.live import get_json
from bench.meter import Meter
from bench.peers.catalogue import KAFKA_STREAMS, Job, Peer
from bench.peers.ours import OURS, fresh_input, web_port
from ops.ports import LOOPBACK
from schemas.registry import changelog_topic
from tables.order_books import TABLE

RECORDS = int(os.environ.get("BENCH_RESTORE_RECORDS", "1000000"))
KEYS = 10_000
RUNS = int(os.environ.get("BENCH_RUNS", "1"))
RESTORE_S_MAX = 120.0
STREAMS_GROUP = "bench-restore"
STREAMS_INPUT = "bench.restore.input"
POLL_S = 0.1

#: (records, seconds) when the restore is done, else None.
Restored = Callable[[Job], Awaitable[tuple[int, float] | None]]


async def run() -> dict[str, Any]:
    """Both peers, on changelogs of the same content."""
    rows: list[dict[str, Any]] = []
    with kafka() as engine:
        async with bus(engine.bus_url) as view:
            await fresh_input(view)
            size = await _fill(view, changelog_topic(TABLE))
            jobs: list[tuple[Peer, Callable[[Path], Job], Restored]] = [
                (OURS, lambda folder: Job(view.broker, "", "", "", folder), _ours_restored)
            ]
            if kafka_streams() is not None:
                await _streams_topics(view)
                jobs.append((KAFKA_STREAMS, lambda f: _streams_job(view, f), _streams_restored))
            for number in range(RUNS):
                for peer, job, restored in jobs:
                    rows.append(await _measure(peer, job(_folder(f"restore-{len(rows)}-{number}")), restored))
    return _summary(rows, size)


async def _fill(view: Bus, topic: str) -> int:
    size = await asyncio.to_thread(run_in_peers, "bench.changelog", view.broker, topic, str(RECORDS), str(KEYS))
    return int(size)


async def _streams_topics(view: Bus) -> None:
    await view.create(STREAMS_INPUT)
    await view.create("bench.restore.output")
    name = f"{STREAMS_GROUP}-books-changelog"
    await view.create(name, compacted=True)
    await _fill(view, name)


def _streams_job(view: Bus, folder: Path) -> Job:
    return Job(view.broker, STREAMS_INPUT, "bench.restore.output", STREAMS_GROUP, folder)


def _folder(name: str) -> Path:
    folder = WORK / "jobs" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


async def _measure(peer: Peer, job: Job, restored: Restored) -> dict[str, Any]:
    """One cold restore."""
    spawned_ms = now_ms()
    process = spawn(peer, job)
    meter = Meter(process.pid).start()
    try:
        records, seconds = await _wait(peer, job, process, restored)
        ended_ms = now_ms()
        meter.stop()
    finally:
        stop(process)
    row = {
        "peer": peer.name,
        "records": records,
        "records_per_s": round(records / seconds),
        "restore_s": round(seconds, 2),
        "from_spawn_s": round((ended_ms - spawned_ms) / 1_000, 2),
        "cpu_s": round(meter.cpu_s(spawned_ms, ended_ms), 2),
        "rss_peak_mib": round(meter.rss_peak_mib(), 1),
    }
    say(f"{peer.name:26} restored {records:,} records in {seconds:.2f} s: {row['records_per_s']:,}/s")
    return row


async def _wait(peer: Peer, job: Job, process: subprocess.Popen[bytes], restored: Restored) -> tuple[int, float]:
    deadline = time.monotonic() + RESTORE_S_MAX
    while time.monotonic() < deadline:
        await asyncio.sleep(POLL_S)
        if process.poll() is not None:
            break
        found = await restored(job)
        if found is not None:
            return found
    raise JobFailed(f"{peer.name}: did not restore; see {job.folder / 'log'}")


async def _ours_restored(job: Job) -> tuple[int, float] | None:
    try:
        parts = (await get_json(f"http://{LOOPBACK}:{web_port(job)}/readyz"))["restored"].values()
    except (aiohttp.ClientError, OSError):
        return None
    # A restore that has not begun shows 100 % of nothing: the records decide.
    records = int(sum(part["records"] for part in parts))
    if len(parts) < PARTITIONS or records < RECORDS or any(part["percent"] < 100 for part in parts):
        return None
    return records, max(part["seconds"] for part in parts)


async def _streams_restored(job: Job) -> tuple[int, float] | None:
    said = [line.split() for line in (job.folder / "log").read_text().splitlines()]
    begins = [int(words[3]) for words in said if words[:1] == ["RESTORING"]]
    ends = [words for words in said if words[:1] == ["RESTORED"]]
    if len(ends) < PARTITIONS:
        return None
    return sum(int(words[2]) for words in ends), (max(int(words[3]) for words in ends) - min(begins)) / 1_000


def _summary(rows: list[dict[str, Any]], size: int) -> dict[str, Any]:
    rates = {
        name: [row["records_per_s"] for row in rows if row["peer"] == name] for name in (OURS.name, KAFKA_STREAMS.name)
    }
    ours, streams = rates[OURS.name], rates[KAFKA_STREAMS.name]
    ratio = round(median(ours) / median(streams), 2) if ours and streams else None
    return {
        "rows": rows,
        "targets": [["cold restore, records/s against Kafka Streams", ratio, ">=", 0.5, 1.0]],
        "note": f"{RECORDS:,} records, {KEYS:,} keys, values of {size} B.",
    }
