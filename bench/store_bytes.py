"""Bytes per order-book event in each store, on recorded Kalshi windows, and the disk of a year at 1,000 events/s.

Every record of the captures goes through the sinks themselves. Files are measured as they end up: Parquet closed,
ClickHouse merged into one part per table partition, Postgres vacuumed, indexes included. Postgres keeps quotes and not
book events: its bytes are per quote, and, over the share of events that make a quote, per book event.
"""

import asyncio
import gzip
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from app.settings import load_settings
from bench.environment import PROJECT, say
from bench.peers.python_book import fold
from ops.engines.postgres import PostgresEngine
from ops.migrate import migrate_clickhouse, migrate_postgres
from schemas.codec import encode_record
from schemas.registry import BOOK_UPDATES, QUOTE_UPDATES
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Sink, SourceBatch, SourceRecord
from sinks.parquet.sink import ParquetSink
from sinks.postgres.sink import PostgresSink
from venues.kalshi import translate
from venues.kalshi.frames import FrameParser
from venues.kalshi.messages import DeltaFrame, SnapshotFrame

CAPTURES = PROJECT.parent / "shared" / "data" / "kalshi_ws"
SESSION = "5f0c1a9e-1"  # as long as the ones our producer makes
YEAR_AT_1000_PER_S = 1_000 * 365 * 86_400
BATCH_RECORDS = 20_000
_CLICKHOUSE_BYTES = """
select sum(bytes_on_disk) from system.parts where database = {d:String} and active
and table in ('orderbook_events_raw', 'latest_levels')"""
_POSTGRES_BYTES = """
select coalesce(sum(pg_total_relation_size(c.oid)), 0) from pg_class c
where c.relkind = 'r' and c.relname ~ '^(events_quote_updates|state_quote_latest)'"""


def captured() -> list[SourceRecord]:
    """The book records of every capture as one partition; seq numbered anew, because the recordings were filtered."""
    records: list[SourceRecord] = []
    for path in sorted(CAPTURES.glob("*.ndjson.gz")):
        parser, seq, started = FrameParser(), 0, False
        with gzip.open(path) as lines:
            for line in lines:
                event = msgspec.json.decode(line)
                frame = parser.parse(msgspec.json.encode(event["event"]))
                if not isinstance(frame, DeltaFrame | SnapshotFrame):
                    continue
                seq += 1
                ticker, now_ms = frame.market_ticker, event["recv_ms"]
                if not started:
                    reset = translate.book_reset(ticker, SESSION, 0, None, None, "session_start", now_ms)
                    _append(records, ticker, reset, now_ms)
                    started = True
                make: Any = translate.book_delta if isinstance(frame, DeltaFrame) else translate.book_snapshot
                record = make(frame, SESSION, now_ms)
                record.payload.seq = seq
                _append(records, ticker, record, now_ms)
    return records


def _append(records: list[SourceRecord], ticker: str, record: Any, now_ms: int) -> None:
    records.append(SourceRecord(len(records), ticker.encode(), encode_record(record), now_ms))


def quotes_of(updates: list[SourceRecord]) -> list[SourceRecord]:
    """The quotes that follow from these book records."""
    quotes: list[SourceRecord] = []
    stored: dict[bytes, bytes] = {}
    for update in updates:
        key, value = update.key or b"", update.value or b""
        state, quote = fold(stored.get(key), value, BOOK_UPDATES.name, 0, update.offset)
        if state is not None:
            stored[key] = state
        if quote is not None:
            quotes.append(SourceRecord(len(quotes), key, quote, update.timestamp_ms))
    return quotes


async def run(folder: Path) -> list[dict[str, Any]]:
    """One row per store; none, with a notice, where the recordings are not beside the checkout."""
    updates = await asyncio.to_thread(captured)
    if not updates:
        say("bench: no recorded data beside the checkout: bytes per event are skipped")
        return []
    quotes = await asyncio.to_thread(quotes_of, updates)
    postgres = await _postgres_bytes(folder, quotes)
    rows = [
        _row("parquet", "book event", len(updates), await _parquet_bytes(folder, updates)),
        _row("clickhouse, with latest_levels", "book event", len(updates), await _clickhouse_bytes(folder, updates)),
        _row("postgres", "quote", len(quotes), postgres),
        _row("postgres", "book event", len(updates), postgres),
    ]
    for row in rows:
        say(
            f"{row['store']:30} {row['bytes_each']:>7} B a {row['per']}: {row['tb_a_year']} TB a year at 1,000 a second"
        )
    return rows


def _row(store: str, per: str, events: int, size_bytes: int) -> dict[str, Any]:
    each = size_bytes / events
    return {
        "store": store,
        "per": per,
        "events": events,
        "bytes_each": round(each, 1),
        "tb_a_year": round(each * YEAR_AT_1000_PER_S / 1e12, 2),
    }


async def _write(sink: Sink, topic: str, records: list[SourceRecord]) -> None:
    await sink.start()
    await sink.assign(topic, 0)
    for first in range(0, len(records), BATCH_RECORDS):
        part = records[first : first + BATCH_RECORDS]
        await sink.write(SourceBatch(topic, 0, part, part[-1].offset + 1))
    await sink.flush()


async def _parquet_bytes(folder: Path, updates: list[SourceRecord]) -> int:
    sink = ParquetSink.from_settings(load_settings(_env_file=None, data_dir=folder))
    await _write(sink, BOOK_UPDATES.name, updates)
    await sink.stop()
    return sum(path.stat().st_size for path in sink.root.rglob("*.parquet"))


async def _clickhouse_bytes(folder: Path, updates: list[SourceRecord]) -> int:
    sink = ClickHouseSink.from_settings(load_settings(_env_file=None, data_dir=folder), migrate_clickhouse)
    await _write(sink, BOOK_UPDATES.name, updates)
    for table in ("orderbook_events_raw", "latest_levels"):
        await asyncio.to_thread(sink.store.command, f"optimize table {{db}}.{table} final")
    size = sink.store.rows(_CLICKHOUSE_BYTES, {"d": sink.store.database})[0][0]
    await sink.stop()
    return int(size)


async def _postgres_bytes(folder: Path, quotes: list[SourceRecord]) -> int:
    engine = PostgresEngine(folder / "postgres")
    await asyncio.to_thread(engine.start)
    try:
        migrate_postgres(engine.dsn)
        sink = PostgresSink.from_settings(load_settings(_env_file=None, data_dir=folder, pg_dsn=engine.dsn))
        await _write(sink, QUOTE_UPDATES.name, quotes)
        await sink.stop()
        with psycopg.connect(engine.dsn, autocommit=True) as connection:
            connection.execute("vacuum")
            found = connection.execute(_POSTGRES_BYTES).fetchone()
            return int(found[0]) if found else 0
    finally:
        await asyncio.to_thread(engine.stop)
