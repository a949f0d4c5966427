"""`python -m bench sinks`: rows/s of each sink beside the bare ceiling of its store, on the same rows in the same run.

A sink is driven as its agent drives it under a backlog (`assign`, `write` in batches of the agent's largest size,
`flush`), from records in memory. The ceiling takes the very rows that the sink stored: `COPY` into tables with the same
columns and indexes, `insert_arrow` into a table like the sink's, one `pyarrow` write of the same table. Both are taken
warm: the first records of a process pay for loading libraries and for memory that the machine hands out for the first
time, and a worker runs for days.
"""

import asyncio
import gc
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.settings import Settings, load_settings
from app.worker import GC_THRESHOLD
from bench import sinks_together, store_bytes
from bench.environment import WORK, say
from bench.input import Feed
from bench.peers.python_book import fold
from ops.engines.postgres import PostgresEngine
from ops.migrate import migrate_clickhouse, migrate_postgres
from schemas.registry import BOOK_UPDATES, QUOTE_UPDATES
from sinks.clickhouse.partition import EVENTS
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Sink, SourceBatch, SourceRecord
from sinks.parquet.sink import ParquetSink
from sinks.postgres.sink import PostgresSink

# Runs of a second or more: in shorter ones the last, not overlapped, write and one sync are a tenth of the time.
RECORDS = int(os.environ.get("BENCH_SINK_RECORDS", "1200000"))
TOGETHER_RECORDS = int(os.environ.get("BENCH_SINK_TOGETHER_RECORDS", "300000"))
RUNS = int(os.environ.get("BENCH_RUNS", "3"))
WARM_PART = 4  # one record in so many is written before the clock starts: the first ones
MARKETS = 500
# What the agent hands over at once when it is behind (app.assembly).
BATCH_RECORDS = {"postgres": 20_000, "clickhouse": 50_000, "parquet": 20_000}
ROWS_THAT_MATTER = 1_000  # smaller tables (offsets, migrations) are no ceiling
TARGETS = {"postgres": (0.5, 0.5), "clickhouse": (0.7, 0.7), "parquet": (0.7, 0.7)}
INCARNATION = "bench"


def records() -> tuple[list[SourceRecord], list[SourceRecord]]:
    """Book updates, and the quotes that follow from them."""
    updates: list[SourceRecord] = []
    quotes: list[SourceRecord] = []
    stored: dict[str, bytes] = {}
    now_ms = time.time_ns() // 1_000_000
    for offset, (ticker, value) in enumerate(Feed(RECORDS, MARKETS)):
        updates.append(SourceRecord(offset, ticker.encode(), value, now_ms))
        state, quote = fold(stored.get(ticker), value, BOOK_UPDATES.name, 0, offset)
        if state is not None:
            stored[ticker] = state
        if quote is not None:
            quotes.append(SourceRecord(len(quotes), ticker.encode(), quote, now_ms))
    return updates, quotes


@dataclass(frozen=True)
class Driven:
    """What was timed: records from offset `first` on, and their seconds until everything was final."""

    first: int
    records: int
    seconds: float

    @property
    def records_per_s(self) -> float:
        return self.records / self.seconds


async def drive(sink: Sink, topic: str, rows: list[SourceRecord]) -> Driven:
    """Write a first part to get warm, then the rest with the clock running."""
    await sink.assign(topic, 0)
    warm = len(rows) // WARM_PART
    await _write_all(sink, topic, rows[:warm])
    began = time.monotonic()
    await _write_all(sink, topic, rows[warm:])
    return Driven(warm, len(rows) - warm, time.monotonic() - began)


async def _write_all(sink: Sink, topic: str, rows: list[SourceRecord]) -> None:
    batch = BATCH_RECORDS[sink.name]
    for first in range(0, len(rows), batch):
        part = rows[first : first + batch]
        refused = await sink.write(SourceBatch(topic, 0, part, part[-1].offset + 1))
        if refused:
            raise RuntimeError(f"{sink.name}: refused {refused[0].reason}: {refused[0].detail}")
    await sink.flush()


async def postgres(folder: Path, quotes: list[SourceRecord]) -> dict[str, Any]:
    """Quotes to Postgres, and `COPY` of what came of them."""
    engine = PostgresEngine(folder / "postgres")
    await asyncio.to_thread(engine.start)
    try:
        migrate_postgres(engine.dsn)
        sink = PostgresSink.from_settings(_settings(folder, pg_dsn=engine.dsn))
        sink.expect_incarnations({QUOTE_UPDATES.name: INCARNATION})
        await sink.start()
        driven = await drive(sink, QUOTE_UPDATES.name, quotes)
        await sink.stop()
        rows, copied_s = await asyncio.to_thread(_copy_again, engine.dsn, driven.first)
    finally:
        await asyncio.to_thread(engine.stop)
    return _row("postgres", driven, rows, copied_s)


def _copy_again(dsn: str, first: int) -> tuple[int, float]:
    """COPY the rows of offsets from `first` on, of each big table, into one like it: (rows, seconds of the copies)."""
    import psycopg
    from psycopg import sql

    find = """select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
              join pg_attribute a on a.attrelid = c.oid and a.attname = '_offset'
              where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence = 'p'
              and n.nspname not in ('pg_catalog', 'information_schema')"""
    total, seconds = 0, 0.0
    with psycopg.connect(dsn, autocommit=True) as connection:
        for schema, name in connection.execute(find).fetchall():
            table = sql.Identifier(schema, name)
            timed = sql.SQL("(select * from {} where _offset >= {})").format(table, sql.Literal(first))
            counted = connection.execute(sql.SQL("select count(*) from {} as timed").format(timed)).fetchone()
            rows = int(counted[0]) if counted else 0
            if rows < ROWS_THAT_MATTER:
                continue
            twin = sql.Identifier(f"ceiling_{name}")
            connection.execute(sql.SQL("create table {} (like {} including all)").format(twin, table))
            with connection.cursor() as cursor:
                with cursor.copy(sql.SQL("copy {} to stdout (format binary)").format(timed)) as out:
                    data = [bytes(block) for block in out]
                began = time.monotonic()
                with cursor.copy(sql.SQL("copy {} from stdin (format binary)").format(twin)) as into:
                    for block in data:
                        into.write(block)
            seconds += time.monotonic() - began
            total += rows
    return total, seconds


async def clickhouse(folder: Path, updates: list[SourceRecord]) -> dict[str, Any]:
    """Book updates to ClickHouse (chDB), and one `insert_arrow` of the table they made."""
    sink = ClickHouseSink.from_settings(_settings(folder), migrate_clickhouse)
    sink.incarnations = {BOOK_UPDATES.name: INCARNATION}
    await sink.start()
    driven = await drive(sink, BOOK_UPDATES.name, updates)
    client = sink.store.client
    name = f"{sink.store.database}.{EVENTS}"
    table = await asyncio.to_thread(client.query_arrow, f"select * from {name} where _offset >= {driven.first}")
    client.command(f"create table {sink.store.database}.ceiling as {name}")
    began = time.monotonic()
    await asyncio.to_thread(client.insert_arrow, f"{sink.store.database}.ceiling", table)
    inserted_s = time.monotonic() - began
    await sink.stop()
    return _row("clickhouse", driven, table.num_rows, inserted_s)


async def parquet(folder: Path, updates: list[SourceRecord]) -> dict[str, Any]:
    """Book updates to Parquet files, and pyarrow writing the same table once."""
    import pyarrow.parquet as pq

    sink = ParquetSink.from_settings(_settings(folder))
    await sink.start()
    driven = await drive(sink, BOOK_UPDATES.name, updates)
    await sink.stop()
    found = [path for path in sorted(sink.root.rglob("*.parquet")) if int(path.stem.split("-")[0]) >= driven.first]
    compression = pq.ParquetFile(found[0]).metadata.row_group(0).column(0).compression.lower()
    tables = [pq.ParquetFile(path).read() for path in found]
    began = time.monotonic()
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"ceiling-{number}.parquet", compression=compression)
    return _row("parquet", driven, sum(table.num_rows for table in tables), time.monotonic() - began)


def _settings(folder: Path, **more: Any) -> Settings:
    return load_settings(_env_file=None, data_dir=folder, **more)


def _row(name: str, driven: Driven, ceiling_rows: int, ceiling_s: float) -> dict[str, Any]:
    return {
        "sink": name,
        "records": driven.records,
        "records_per_s": round(driven.records_per_s),
        "ceiling_rows": ceiling_rows,
        "ceiling_rows_per_s": round(ceiling_rows / ceiling_s),
        # The same data both times, so that a sink that stores two rows a record is not counted twice.
        "ratio": round(ceiling_s / driven.seconds, 2),
    }


async def run() -> dict[str, Any]:
    """Each sink alone, then all three beside the book agent, then what an event takes on disk."""
    folder = _fresh(WORK / "sinks")
    updates, quotes = records()
    gc.set_threshold(*GC_THRESHOLD)  # as the worker has it
    gc.freeze()  # the records in memory are the bench's, no worker holds that many
    measures = [(parquet, updates), (clickhouse, updates), (postgres, quotes)]
    rows = [await _median_of_runs(measure, folder, records) for measure, records in measures]
    targets = [[f"{row['sink']} against its bare ceiling", row["ratio"], ">=", *TARGETS[row["sink"]]] for row in rows]
    together = await sinks_together.run(TOGETHER_RECORDS)
    sizes = await store_bytes.run(_fresh(WORK / "store_bytes"))
    return {"rows": rows, "targets": targets, "together": together, "bytes": sizes}


async def _median_of_runs(measure: Callable[..., Any], folder: Path, records: list[SourceRecord]) -> dict[str, Any]:
    """The run with the median ratio, and all ratios: a run takes a second or less, and one that met a sync of something
    else says nothing."""
    runs = []
    for _ in range(RUNS):
        row = await measure(_fresh(folder), records)
        say(f"{row['sink']:11} {row['records_per_s']:>9,} records/s of {row['ceiling_rows_per_s']:,}: {row['ratio']}")
        runs.append(row)
    runs.sort(key=lambda row: float(row["ratio"]))
    return runs[len(runs) // 2] | {"ratios": ", ".join(str(row["ratio"]) for row in runs)}


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
