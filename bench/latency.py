"""`python -m bench latency`: from a frame's write to the simulator's socket to its quote in a consumer's hands.

The simulator keeps the time of each (sid, seq) it writes; a quote_update names the (sid, seq) that caused it. Beside
it, at the same rates, on the same broker, minutes apart at most: a bare aiokafka producer and consumer of records of
the same size, from `send()` to the consumer. Both are read by the same consumer loop, in the same process.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.engine import Bus, bus, kafka
from bench.environment import WORK, JobFailed, say
from bench.live import READY_S_MAX, child, get_json, pipeline, plain_environment, until_flowing
from bench.peers.ours import fresh_input
from schemas.registry import BOOK_UPDATES, QUOTE_UPDATES

RATES = (1_000, 5_000, 20_000)
MEASURE_S = float(os.environ.get("BENCH_LATENCY_S", "8"))
WARM_UP_S = 4.0
BARE_TOPIC = "bench.round_trip"
POLL_MS = 100

#: Part of the path -> which two of (frame sent, book record appended, quote appended, quote read) it lies between.
PARTS = {"frame to quote": (0, 3), "frame to Kafka": (0, 1), "Kafka to quote": (1, 2), "quote to reader": (2, 3)}

#: Called with (value, the broker's append time in ms, receive time in ns) of each record.
Read = Callable[[bytes, int, int], None]


class _Payload(msgspec.Struct, gc=False):
    sid: int | None
    seq: int | None


class _Quote(msgspec.Struct, gc=False):
    payload: _Payload


_decode = msgspec.json.Decoder(_Quote).decode


def quantiles(latencies_ms: list[float]) -> dict[str, float | int]:
    """p50, p99, p99.9 and the largest, in milliseconds."""
    ordered = sorted(latencies_ms)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)

    if not ordered:
        return {"p50": 0.0, "p99": 0.0, "p999": 0.0, "max": 0.0, "samples": 0}
    return {"p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1.0), "samples": len(ordered)}


async def consume(broker: str, topic: str, seconds: float, read: Read) -> None:
    """Read a topic from its present end for a while."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=broker, auto_offset_reset="latest", enable_auto_commit=False)
    await consumer.start()
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                now_ns = time.time_ns()
                for record in records:
                    read(record.value, record.timestamp, now_ns)
    finally:
        await consumer.stop()


async def frame_to_quote(view: Bus, rate: int) -> list[dict[str, Any]]:
    """The whole path at one rate, and its parts by the broker's append times (of 1 ms resolution)."""
    await fresh_input(view)
    received: list[tuple[bytes, int, int]] = []
    with pipeline(f"latency-{rate}", view.broker, rate, "--stamp-us") as (sim, status_url):
        await until_flowing(status_url)
        await until_quoted(view)
        await asyncio.sleep(WARM_UP_S)
        before = (await get_json(status_url))["frames_in"], time.monotonic()
        starts = await view.ends(BOOK_UPDATES.name)
        await consume(view.broker, QUOTE_UPDATES.name, MEASURE_S, lambda *row: received.append(row))
        after = (await get_json(status_url))["frames_in"], time.monotonic()
        rows = (await get_json(sim.admin_url("sent")))["sent"]
    appended = await append_times(view, starts)
    sent = {(sid, seq): sent_ns / 1e6 for _connection, sid, seq, sent_ns in rows}
    parts: dict[str, list[float]] = {name: [] for name in PARTS}
    for value, quoted_ms, now_ns in received:
        cause = _decode(value).payload
        frame = (cause.sid or 0, cause.seq or 0)
        if frame in sent and frame in appended:
            at = sent[frame], appended[frame], quoted_ms, now_ns / 1e6
            for name, (i, j) in PARTS.items():
                parts[name].append(max(0.0, at[j] - at[i]))
    achieved = round((after[0] - before[0]) / (after[1] - before[1]))
    return [{"rate": rate, "path": name, "achieved": achieved} | quantiles(ms) for name, ms in parts.items()]


async def until_quoted(view: Bus) -> None:
    """Wait until the worker publishes. Raises JobFailed."""
    deadline = time.monotonic() + READY_S_MAX
    while not sum((await view.ends(QUOTE_UPDATES.name)).values()):
        if time.monotonic() > deadline:
            raise JobFailed(f"worker: no quote in {READY_S_MAX:.0f} s; see its log in bench/.work/live")
        await asyncio.sleep(0.2)


async def append_times(view: Bus, starts: dict[int, int]) -> dict[tuple[int, int], int]:
    """(sid, seq) -> ms at which the broker appended that book record, from these offsets to the present end."""
    ends = await view.ends(BOOK_UPDATES.name)
    consumer = AIOKafkaConsumer(bootstrap_servers=view.broker, enable_auto_commit=False)
    await consumer.start()
    found: dict[tuple[int, int], int] = {}
    try:
        tps = {TopicPartition(BOOK_UPDATES.name, p): end for p, end in ends.items()}
        consumer.assign(list(tps))
        for tp in tps:
            consumer.seek(tp, starts[tp.partition])
        while any([await consumer.position(tp) < end for tp, end in tps.items()]):
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    payload = _decode(record.value).payload
                    found[(payload.sid or 0, payload.seq or 0)] = record.timestamp
    finally:
        await consumer.stop()
    return found


async def bare_round_trip(view: Bus, rate: int) -> list[dict[str, Any]]:
    """aiokafka alone at one rate."""
    latencies: list[float] = []
    command = [sys.executable, "-m", "bench.bare_sender", view.broker, BARE_TOPIC, str(rate)]
    with child(command, WORK / "live" / f"bare-{rate}", "sender", plain_environment()):
        await asyncio.sleep(WARM_UP_S)
        began = time.monotonic()
        await consume(
            view.broker, BARE_TOPIC, MEASURE_S, lambda value, _ms, now: latencies.append((now - int(value[:19])) / 1e6)
        )
        achieved = round(len(latencies) / (time.monotonic() - began))
    return [{"rate": rate, "path": "bare Kafka", "achieved": achieved} | quantiles(latencies)]


async def run() -> dict[str, Any]:
    """All rates, both paths."""
    rows = []
    with kafka() as engine:
        async with bus(engine.bus_url) as view:
            await view.create(BARE_TOPIC)
            for rate in RATES:
                for measure in (bare_round_trip, frame_to_quote):
                    for row in await measure(view, rate):
                        say(f"{row['path']:16} {rate:>6}/s ({row['achieved']}): p50 {row['p50']}, p99 {row['p99']} ms")
                        rows.append(row)
    return {"rows": rows, "seconds": MEASURE_S}
