"""`python -m bench fills`: the table of seen fills with BENCH_FILLS_IDS ids (10,000,000): speed, disk, memory, restart.

The agent's fold, its table in RocksDB, its checkpoints (each in its order, acknowledged at once: no broker takes part),
one partition of the four, which is what one fold ever sees; the ids are spread over four like this in one process.
New fills first, then a poll's pages again (all duplicates), then a restart from the local store and one from the
changelog's values.
"""

import os
import resource
import shutil
import time
import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agents.dedup_fills import FillFold, Horizon
from bench.environment import WORK, say
from schemas.account_records import FillReport, FillReportPayload
from schemas.codec import encode_record
from schemas.registry import DLQ, FILL_REPORTS, FILLS
from tables.changelog import Restore
from tables.checkpointed import PartitionTable
from tables.outbox import Outbox, Row
from tables.seen_fills import SEEN_FILLS, SeenValue
from tables.store import StoreOptions, open_store
from tables.task import Task

IDS = int(os.environ.get("BENCH_FILLS_IDS", "10000000"))
PARTITIONS = 4
BATCH = 1_000
CHECKPOINT_RECORDS = 20_000
DUPLICATES = 200_000
T0_MS = 1_768_000_000_000
VALUE_MAX_BYTES = 4 << 20
#: Odd and large: ids that come in no order, as the venue's do.
MIXER = 0x9E3779B97F4A7C15F39CC0605CEDC835


class Nowhere(Outbox):
    """Acknowledges at once; counts rows and bytes."""

    def __init__(self) -> None:
        super().__init__(None, "nowhere", 0, lambda: None, lambda why: None)  # type: ignore[arg-type]
        self.sent_bytes = 0

    def put(self, rows: list[Row]) -> None:
        self.sent_bytes += sum(len(key or b"") + len(value or b"") for key, value in rows)
        self.queued += len(rows)
        self.acked = self.queued
        self.next_offset = self.queued


def reports(first: int, count: int, offset: int) -> list[Any]:
    """Reports of the fills `first`.. as the producer writes them, at these offsets."""
    rows = []
    for n in range(first, first + count):
        fill_id = str(uuid.UUID(int=n * MIXER & (1 << 128) - 1))
        ticker = f"KXBTCD-26JAN{n % 28 + 1:02d}-T{n % 500}"
        payload = FillReportPayload(
            market_ticker=ticker, fill_id=fill_id,
            order_id=f"0000-{n // 3}", client_order_id=None, side="yes", action="buy", price_e4=n % 9_900 + 50,
            count_e2=n % 4_000 + 1, is_taker=True, fee_e6=n % 70_000, ts_ms=T0_MS + n * 50, ts_source="created_time",
            synthetic_ordinal=None,
        )  # fmt: skip
        record = FillReport(
            ts_event=payload.ts_ms, ts_ingest=payload.ts_ms + 20, source="kalshi_rest",
            idempotency_key=f"fill_report:v1:{fill_id}", cause=None, payload=payload,
        )  # fmt: skip
        rows.append(
            SimpleNamespace(offset=offset + n - first, key=ticker.encode(), value=encode_record(record), timestamp=0)
        )
    return rows


class Partition:
    """One partition of the agent, on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        store, _ = open_store(folder, StoreOptions())
        table: PartitionTable[SeenValue] = PartitionTable(SEEN_FILLS, store, 1, VALUE_MAX_BYTES)
        outboxes: dict[str, Outbox] = {FILLS.name: Nowhere(), DLQ.name: Nowhere()}
        self.changelog = Nowhere()
        self.task = Task(0, (FILL_REPORTS.name,), table, outboxes, self.changelog, (100, 100), 1 << 30)

    async def feed(self, fold: FillFold, first: int, count: int) -> float:
        """Seconds that the fold and the checkpoints of so many reports take; making the reports is not counted."""
        spent_s, since = 0.0, 0
        for start in range(first, first + count, BATCH):
            rows = reports(start, min(BATCH, first + count - start), self.task.vector[0])
            begun_s = time.perf_counter()
            rows = self.task.admit(FILL_REPORTS.name, rows)
            self.task.publish(fold(self.task, FILL_REPORTS.name, rows), lambda: None)
            since += len(rows)
            if since >= CHECKPOINT_RECORDS:
                since = 0
                await self.task.checkpoint()
            spent_s += time.perf_counter() - begun_s
        await self.task.checkpoint()
        return spent_s


async def run() -> dict[str, Any]:
    """All of it; every number is of this process."""
    folder = WORK / "fills"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    fold = FillFold(Horizon(90 * 86_400_000 * 100, IDS))
    before_mb = _memory_mb()
    partitions = [Partition(folder / f"seen-{n}.rocksdb") for n in range(PARTITIONS)]
    each, spent_s = IDS // PARTITIONS, 0.0
    for number, partition in enumerate(partitions):
        spent_s += await partition.feed(fold, number * each, each)
        say(f"fills: {(number + 1) * each:,} ids remembered, {(number + 1) * each / spent_s:,.0f}/s")
    repeated_s = await partitions[0].feed(fold, max(0, each - DUPLICATES), min(each, DUPLICATES))
    repeated = min(each, DUPLICATES)
    if fold.counts["new"] != each * PARTITIONS or fold.counts["duplicate"] != repeated:
        raise AssertionError(f"expected {each * PARTITIONS} new and {repeated} repeated, was {fold.counts}")
    memory_mb = _memory_mb() - before_mb
    changelog_bytes = sum(partition.changelog.sent_bytes for partition in partitions)
    for partition in partitions:
        partition.task.table.store.close()
    disk_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    warm_s, cold_s, values = _restart(partitions)
    row = {
        "ids": each * PARTITIONS,
        "new_fills_per_s": each * PARTITIONS / spent_s,
        "repeated_fills_per_s": repeated / repeated_s,
        "disk_bytes_per_id": disk_bytes / (each * PARTITIONS),
        "changelog_bytes_per_id": changelog_bytes / (each * PARTITIONS),
        "memory_mb": memory_mb,
        "memory_bytes_per_id": memory_mb * (1 << 20) / (each * PARTITIONS),
        "warm_restart_s": warm_s,
        "cold_restore_s": cold_s,
        "cold_restore_values": values,
    }
    note = "Table and fold alone: acknowledged at once, no broker takes part. Memory: the largest while it ran."
    return {"rows": [row], "note": note}


def _restart(partitions: list[Partition]) -> tuple[float, float, int]:
    """Opening the local stores again; writing everything into new ones as a restore from the changelog does."""
    begun_s = time.perf_counter()
    again = [Partition(partition.folder) for partition in partitions]
    for partition in again:
        partition.task.table.get(b"~watermark")
    warm_s, cold_s, values = time.perf_counter() - begun_s, 0.0, 0
    for partition in again:
        store, _ = open_store(partition.folder.with_suffix(".cold"), StoreOptions())
        job = Restore(0, store, 1)
        runs = _runs(partition.task.table.store.items())
        for rows in runs:
            begun_s = time.perf_counter()
            job.apply(rows)
            cold_s += time.perf_counter() - begun_s
            values += len(rows)
        store.close()
        partition.task.table.store.close()
    return warm_s, cold_s, values


def _runs(items: Iterator[tuple[bytes, bytes]]) -> Iterator[list[Any]]:
    offset = 0
    while chunk := list(islice(items, 5_000)):
        yield [
            SimpleNamespace(offset=offset + n, key=key, value=value, timestamp=0)
            for n, (key, value) in enumerate(chunk)
        ]
        offset += len(chunk)


def _memory_mb() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
