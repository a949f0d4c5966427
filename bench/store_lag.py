"""How long records take from the broker's append until a reader finds them in Postgres and in ClickHouse.

Both are asked without a pause worth naming, so the answer is late by at most one question; the append times are read
from the topics (1 ms resolution). Stores, broker and asker share a machine and its clock.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import psycopg
from aiokafka import AIOKafkaConsumer

from schemas.registry import BOOK_UPDATES, QUOTE_UPDATES

ASK_PAUSE_S = {"Postgres": 0.005, "ClickHouse": 0.05}  # the latter looks through the headers of all parts
SETTLE_S = 3.0  # after the window: what was appended within it becomes visible
CLICKHOUSE_ENDS = f"""
select _partition, max(_offset) + 1 from orderbook_events_raw where _topic = '{BOOK_UPDATES.name}'
group by _partition format JSONCompact"""

#: (topic, partition, offset) -> milliseconds of the wall clock.
Times = dict[tuple[str, int, int], float]
#: Asks a store: partition -> the first offset that it does not hold.
Ask = Callable[[], Awaitable[dict[int, int]]]


async def append_to_stored(endpoints: dict[str, Any], seconds: float) -> dict[str, list[float]]:
    """Store -> milliseconds of each record appended in the window: quotes in Postgres, book records in ClickHouse."""
    appended: Times = {}
    stop_s = time.monotonic() + seconds
    reading = asyncio.create_task(_read_appends(endpoints["bus_url"], stop_s, appended))
    async with (
        aiohttp.ClientSession() as session,
        await psycopg.AsyncConnection.connect(endpoints["pg_dsn"], autocommit=True) as connection,
    ):

        async def postgres() -> dict[int, int]:
            ask = "select partition, next_offset from sink_offsets where topic = %s"
            return dict(await (await connection.execute(ask, (QUOTE_UPDATES.name,))).fetchall())

        async def clickhouse() -> dict[int, int]:
            async with session.post(endpoints["clickhouse_url"], data=CLICKHOUSE_ENDS) as answer:
                rows = (await answer.json(content_type=None))["data"]
                return {int(partition): int(end) for partition, end in rows}

        stores = {"Postgres": (postgres, QUOTE_UPDATES.name), "ClickHouse": (clickhouse, BOOK_UPDATES.name)}
        found = await asyncio.gather(
            *(_watch(ask, topic, ASK_PAUSE_S[name], stop_s + SETTLE_S) for name, (ask, topic) in stores.items())
        )
    await reading
    # Only what was appended after the first question: how long older records waited nobody saw.
    return {
        name: [stored[at] - appended[at] for at in stored.keys() & appended.keys()]
        for name, stored in zip(stores, found, strict=True)
    }


async def _watch(ask: Ask, topic: str, pause_s: float, stop_s: float) -> Times:
    """When each record was first seen in the store."""
    seen: Times = {}
    ends = await ask()
    while time.monotonic() < stop_s:
        for partition, end in (await ask()).items():
            now_ms = time.time() * 1_000
            seen |= {(topic, partition, offset): now_ms for offset in range(ends.get(partition, end), end)}
            ends[partition] = end
        await asyncio.sleep(pause_s)
    return seen


async def _read_appends(broker: str, stop_s: float, appended: Times) -> None:
    """Append times of what is appended from now on, until `stop_s`."""
    topics = (BOOK_UPDATES.name, QUOTE_UPDATES.name)
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=broker, auto_offset_reset="latest", enable_auto_commit=False)
    await consumer.start()
    try:
        while time.monotonic() < stop_s:
            for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                for record in records:
                    appended[tp.topic, tp.partition, record.offset] = float(record.timestamp)
    finally:
        await consumer.stop()
