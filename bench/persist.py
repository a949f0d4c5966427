"""`python -m bench persist`: from the publishing of a quote to the moment when anybody can read it in Postgres.

The real sink worker, started as `up` starts it, on an embedded Postgres; quotes of many markets, at RATE, from `send()`
on. A second connection asks `sink_offsets` without a pause: a record counts as persisted when an answer shows an offset
beyond it, so the committed transaction is what is seen. Publisher and asker share one process beside the worker.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import psycopg
from aiokafka import AIOKafkaProducer

from app.bus import aiokafka_options
from app.topics import GROUP_SINK_POSTGRES
from bench.engine import PARTITIONS, kafka
from bench.environment import WORK, JobFailed, say
from bench.latency import quantiles
from bench.live import role_worker
from bench.peers.ours import settings
from ops.engines.postgres import PostgresEngine
from ops.migrate import migrate_postgres
from ops.topics import apply_topics
from schemas import records as r
from schemas.codec import encode_record, numbered_key
from schemas.registry import BOOK_UPDATES, QUOTE_UPDATES

RATE = int(os.environ.get("BENCH_PERSIST_RATE", "2000"))
MEASURE_S = float(os.environ.get("BENCH_PERSIST_S", "30"))
START_S_MAX = 60.0  # of the worker
WARM_UP_S = 5.0  # after the first record is stored: what came while the worker started is worked off
MARKETS = 500
TICK_S = 0.005  # ten records at a time, as a feed brings them
ASK_PAUSE_S = 0.002  # of an answer's age at most; the rest is the measured path
DRAIN_S_MAX = 60.0
#: p99 in seconds: what it must be, and what we aim at.
MUST_S, AIM_S = 2.0, 0.3

#: (partition, offset) -> monotonic time in s, of this process for both ends.
Times = dict[tuple[int, int], float]


def quotes() -> Iterator[tuple[int, bytes]]:
    """(partition, value) for ever: the next quote of each market in turn."""
    now_ms = time.time_ns() // 1_000_000
    for number in count():
        market, revision = number % MARKETS, number // MARKETS + 1
        partition, ticker = market % PARTITIONS, f"KXBENCH-{market:03d}"
        price_e4 = 4_000 + number % 500
        payload = r.QuoteUpdatePayload(
            market_ticker=ticker, session_id="bench", sid=1, seq=number, revision=revision, status="live",
            yes_bb_px_e4=price_e4, yes_bb_sz_e2=1_300, yes_ba_px_e4=price_e4 + 100, yes_ba_sz_e2=900,
            no_bb_px_e4=9_900 - price_e4, no_bb_sz_e2=900, no_ba_px_e4=10_000 - price_e4, no_ba_sz_e2=1_300,
        )  # fmt: skip
        yield (
            partition,
            encode_record(
                r.QuoteUpdate(
                    ts_event=now_ms + number,
                    ts_ingest=now_ms + number,
                    source="maintain_books",
                    idempotency_key=numbered_key("quote_update", ticker, f"{revision:012d}"),
                    cause=r.Cause(BOOK_UPDATES.name, partition, number, 0),
                    payload=payload,
                )
            ),
        )


async def publish(broker: str, sent: Times, persisted: Times) -> None:
    """At RATE, until the worker has stored for long enough; notes when each record was handed to the producer."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, enable_idempotence=True, compression_type="lz4", linger_ms=0)
    await producer.start()
    offsets, source, done = [0] * PARTITIONS, quotes(), 0
    began = time.monotonic()
    end, is_started = began + START_S_MAX, False
    try:
        while (now := time.monotonic()) < end:
            if persisted and not is_started:
                end, is_started = now + WARM_UP_S + MEASURE_S, True
            for partition, value in islice(source, int((now - began) * RATE) - done):
                sent[partition, offsets[partition]] = time.monotonic()
                offsets[partition] += 1
                done += 1
                await producer.send(QUOTE_UPDATES.name, value, partition=partition)
            await asyncio.sleep(TICK_S)
        await producer.flush()
    finally:
        await producer.stop()


async def watch_store(dsn: str, publishing: "asyncio.Task[None]", sent: Times, persisted: Times) -> None:
    """Note when each record became readable, until all are. Raises JobFailed."""
    ends = [0] * PARTITIONS
    ask = "select partition, next_offset from sink_offsets where topic = %s"
    deadline = float("inf")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        while not publishing.done() or len(persisted) < len(sent):
            rows = await (await connection.execute(ask, (QUOTE_UPDATES.name,))).fetchall()
            now = time.monotonic()
            for partition, next_offset in rows:
                for offset in range(ends[partition], next_offset):
                    persisted[partition, offset] = now
                ends[partition] = max(ends[partition], next_offset)
            if publishing.done():
                deadline = min(deadline, now + DRAIN_S_MAX)
            if now > deadline:
                raise JobFailed(f"sink-postgres: {len(sent) - len(persisted)} records not stored; see its log")
            await asyncio.sleep(ASK_PAUSE_S)


async def measure(broker: str, dsn: str) -> tuple[Times, Times]:
    """Publish and watch side by side."""
    sent: Times = {}
    persisted: Times = {}
    publishing = asyncio.create_task(publish(broker, sent, persisted))
    await asyncio.gather(publishing, watch_store(dsn, publishing, sent, persisted))
    return sent, persisted


async def run() -> dict[str, Any]:
    """One rate, one row."""
    folder = WORK / "persist"
    shutil.rmtree(folder, ignore_errors=True)
    postgres = PostgresEngine(folder / "postgres")
    await asyncio.to_thread(postgres.start)
    try:
        migrate_postgres(postgres.dsn)
        with kafka() as engine:
            conf = settings(engine.bus_url)
            await apply_topics(aiokafka_options(conf), conf)
            with role_worker(folder, folder, engine.bus_url, postgres.dsn, GROUP_SINK_POSTGRES):
                sent, persisted = await measure(engine.bus_url, postgres.dsn)
    finally:
        await asyncio.to_thread(postgres.stop)
    since = min(persisted.values()) + WARM_UP_S
    latencies = [1_000 * (persisted[at] - began) for at, began in sent.items() if began >= since]
    row = {"rate": RATE, "achieved": round(len(latencies) / MEASURE_S)} | quantiles(latencies)
    say(f"Postgres, publish to persist, {row['achieved']}/s: p50 {row['p50']}, p99 {row['p99']} ms")
    target = [f"Postgres publish to persist, p99 at {RATE:,}/s, s", round(float(row["p99"]) / 1_000, 3)]
    return {
        "rows": [row],
        "targets": [[*target, "<=", MUST_S, AIM_S]],
        "note": "Milliseconds; `sink_offsets` read back.",
    }
