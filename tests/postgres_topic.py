"""A topic of quote records as tests need it, what Postgres must hold after it, and a writer process that can be killed.

Imported by the tests, and run as a script: `postgres_topic.py DSN SEED RECORDS FOLDER KILL_AT`.
"""

import asyncio
import json
import os
import random
import signal
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from schemas import records as r
from schemas.codec import encode_record, numbered_key
from sinks.contract import DeadLetterNote, SourceBatch, SourceRecord
from sinks.postgres.pool import PoolConfig
from sinks.postgres.sink import PostgresSink

TOPIC = "market.quote_updates"
T0_MS = 1_769_126_400_000  # 2026-01-23
DAY_MS = 86_400_000


def quote(
    ticker: str = "KXBTC-A",
    revision: int = 1,
    ts_ms: int = T0_MS,
    cause_offset: int = 0,
    *,
    n: int = 0,
    partition: int = 0,
    session_id: str = "s1",
    price_e4: int | None = 4_200,
    sid: int | None = 3,
) -> r.QuoteUpdate:
    """One quote_update; its key is (ticker, revision)."""
    return r.QuoteUpdate(
        ts_event=ts_ms,
        ts_ingest=ts_ms + 7,
        source="test",
        idempotency_key=numbered_key("quote_update", ticker, f"{revision:012d}"),
        cause=r.Cause("market.book_updates", partition, cause_offset, n),
        payload=r.QuoteUpdatePayload(
            market_ticker=ticker,
            session_id=session_id,
            sid=sid,
            seq=cause_offset,
            revision=revision,
            status="live" if price_e4 is not None else "empty",
            yes_bb_px_e4=price_e4,
            yes_bb_sz_e2=None if price_e4 is None else 1_300,
            yes_ba_px_e4=None,
            yes_ba_sz_e2=None,
            no_bb_px_e4=None,
            no_bb_sz_e2=None,
            no_ba_px_e4=None if price_e4 is None else 10_000 - price_e4,
            no_ba_sz_e2=None if price_e4 is None else 1_300,
        ),
    )


def source(offset: int, value: bytes | r.Record) -> SourceRecord:
    """As it lies in the topic."""
    return SourceRecord(offset, b"k", value if isinstance(value, bytes) else encode_record(value), T0_MS)


def batch_of(records: list[SourceRecord], partition: int = 0, next_offset: int | None = None) -> SourceBatch:
    """These records as one batch."""
    return SourceBatch(TOPIC, partition, records, records[-1].offset + 1 if next_offset is None else next_offset)


def make_topic(seed: int, count: int, partition: int = 0) -> list[SourceRecord]:
    """A partition with what really happens: many markets, two days, equal times, runs repeated at new offsets after a
    kill of the agent, records that cannot be decoded, rows that Postgres refuses."""
    rng = random.Random(seed * 31 + partition)
    values: list[bytes] = []
    sent: list[bytes] = []
    revisions: dict[str, int] = {}
    times: dict[str, int] = {}
    cause_offset = 0
    while len(values) < count:
        roll = rng.random()
        if roll < 0.01:
            values.append(rng.choice([b"{}", b"not json", b'{"event_type":"quote_update"}', b""]))
        elif roll < 0.03 and sent:
            values.extend(sent[-rng.randint(1, 20) :])
        else:
            ticker = f"KXBTC-{partition}-{rng.randint(0, 9)}"
            revisions[ticker] = revisions.get(ticker, 0) + 1
            times[ticker] = times.get(ticker, T0_MS) + rng.choice([0, 0, 1, 1_000, 600_000])
            cause_offset += rng.choice([1, 1, 1, 5])
            session = "bad\x00session" if rng.random() < 0.005 else "s1"
            record = quote(
                ticker, revisions[ticker], times[ticker], cause_offset, partition=partition, session_id=session
            )
            values.append(encode_record(record))
            sent.append(values[-1])
    return [source(offset, value) for offset, value in enumerate(values[:count])]


@dataclass
class Expected:
    """What the store must hold: rows by offset, the latest per market, and the offsets refused."""

    rows: dict[int, tuple[str, int]] = field(default_factory=dict)
    latest: dict[str, tuple[int, str]] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)


def expected_of(records: list[SourceRecord]) -> Expected:
    """The plain fold over the topic; the first of equal keys counts."""
    result, keys = Expected(), set()
    for record in records:
        try:
            value = json.loads(record.value or b"")
            payload, key, ts_ms = value["payload"], value["idempotency_key"], value["ts_event"]
        except (ValueError, KeyError):
            result.refused.add(record.offset)
            continue
        if key in keys:
            continue
        keys.add(key)
        if "\x00" in payload["session_id"]:
            result.refused.add(record.offset)
            continue
        result.rows[record.offset] = (key, ts_ms)
        ticker = payload["market_ticker"]
        result.latest[ticker] = max(result.latest.get(ticker, (0, "")), (ts_ms, key))
    return result


def stored_of(dsn: str, partition: int) -> Expected:
    """What the store holds, in the same form (`refused`: the outbox)."""
    result = Expected()
    with psycopg.connect(dsn) as c:
        for offset, key, ts in c.execute(
            "select _offset, idempotency_key, extract(epoch from ts_event) * 1000 from events_quote_updates "
            "where _partition = %s",
            (partition,),
        ):
            if offset in result.rows:
                raise AssertionError(f"expected one row of offset {offset}, was two")
            result.rows[offset] = (key, _exact(ts))
        for ticker, key, ts in c.execute(
            "select market_ticker, idempotency_key, extract(epoch from ts_event) * 1000 from state_quote_latest "
            "where _partition = %s",
            (partition,),
        ):
            result.latest[ticker] = (_exact(ts), key)
    return result


def _exact(value: Decimal) -> int:
    if value != int(value):
        raise AssertionError(f"expected whole milliseconds, was {value}")
    return int(value)


def sink_for(dsn: str, **options: Any) -> PostgresSink:
    """A sink with short time-outs."""
    timeout_ms = options.pop("statement_timeout_ms", 5_000)
    return PostgresSink(PoolConfig(dsn, 1, 4, timeout_ms), retention_days=3_650, **options)


async def run_writer(dsn: str, seed: int, count: int, folder: Path, kill_at: int) -> None:
    """The agent's loop in small: assign, continue where the store says, write, send dead letters, then the next batch.
    The process kills itself at step number `kill_at` of all sink steps."""
    steps = 0

    def on_step(_step: str) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sink = sink_for(dsn, on_step=on_step)
    await sink.start()
    try:
        await asyncio.gather(*(_write_partition(sink, seed, count, folder, partition) for partition in (0, 1)))
    finally:
        await sink.stop()
    (folder / "finished").touch()


async def _write_partition(sink: PostgresSink, seed: int, count: int, folder: Path, partition: int) -> None:
    rng = random.Random()
    records = make_topic(seed, count, partition)
    position = await sink.assign(TOPIC, partition) or 0
    # Kafka's commit is a hint that lags: some records come again.
    position = max(0, position - rng.randint(0, 50))
    while position < count:
        size = rng.choice([1, 20, 100, 400])
        batch = batch_of(records[position : position + size], partition)
        for note in await sink.write(batch):
            send_dead_letter(folder, partition, note)
        position = batch.next_offset


def send_dead_letter(folder: Path, partition: int, note: DeadLetterNote) -> None:
    """A send that is acknowledged: on disk."""
    with (folder / f"dlq-{partition}").open("a") as out:
        out.write(f"{note.record.offset}\n")


def dead_letters(folder: Path, partition: int) -> set[int]:
    """Offsets sent, repeats aside."""
    path = folder / f"dlq-{partition}"
    return {int(line) for line in path.read_text().split()} if path.exists() else set()


if __name__ == "__main__":
    asyncio.run(run_writer(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5])))
