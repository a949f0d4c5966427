"""`python -m bench fills`: the table of seen fills with BENCH_FILLS_IDS ids (10,000,000): speed, disk, memory, restart.

The agent's fold, its table in RocksDB, its checkpoints (each in its order, acknowledged at once: no broker takes part),
in four partitions of one process, each with the same quarter of the ids: no partition sees another's. They come in as a
restore from the changelog brings them, which is timed too; then fills known from long ago, new fills, and the newest
again (a poll's pages) beside all those ids.
"""

import os
import shutil
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import psutil

from agents.dedup_fills import FillFold, Horizon
from bench.environment import WORK, JobFailed, say
from domain.fills import judge
from schemas.account_records import FillReport, FillReportPayload
from schemas.codec import encode_record
from schemas.registry import DLQ, FILL_REPORTS, FILLS
from tables.changelog import Restore
from tables.checkpointed import PartitionTable
from tables.headers import Headers, header
from tables.outbox import Outbox, Row
from tables.seen_fills import SEEN_FILLS, SeenValue, table_key
from tables.store import MARK_KEY, StoreOptions, open_store
from tables.task import Mark, Task

IDS = int(os.environ.get("BENCH_FILLS_IDS", "10000000"))
PARTITIONS = 4
BATCH = 1_000
CHECKPOINT_RECORDS = 20_000
SAMPLE = 50_000  # reports of each kind, per partition
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


def payload_of(n: int) -> FillReportPayload:
    """The nth fill as reported."""
    fill_id = str(uuid.UUID(int=n * MIXER & (1 << 128) - 1))
    return FillReportPayload(
        market_ticker=f"KXBTCD-26JAN{n % 28 + 1:02d}-T{n % 500}", fill_id=fill_id,
        order_id=f"0000-{n // 3}", client_order_id=None, side="yes", action="buy", price_e4=n % 9_900 + 50,
        count_e2=n % 4_000 + 1, is_taker=True, fee_e6=n % 70_000, ts_ms=T0_MS + n * 50, ts_source="created_time",
        synthetic_ordinal=None,
    )  # fmt: skip


def reports(numbers: range, offset: int) -> list[Any]:
    """Reports of these fills as the producer writes them, at the offsets from `offset`."""
    rows = []
    for n in numbers:
        payload = payload_of(n)
        record = FillReport(
            ts_event=payload.ts_ms, ts_ingest=payload.ts_ms + 20, source="kalshi_rest",
            idempotency_key=f"fill_report:v1:{payload.fill_id}", cause=None, payload=payload,
        )  # fmt: skip
        key, value = payload.market_ticker.encode(), encode_record(record)
        rows.append(SimpleNamespace(offset=offset + len(rows), key=key, value=value, timestamp=0))
    return rows


class Spent:
    """Time spent inside `with`: by the clock, and by this thread on the processor, which other work lengthens less."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def __enter__(self) -> None:
        self.wall_s -= time.perf_counter()
        self.cpu_s -= time.thread_time()

    def __exit__(self, *wrong: object) -> None:
        self.wall_s += time.perf_counter()
        self.cpu_s += time.thread_time()

    def rates(self, what: str, count: int) -> dict[str, float]:
        """Per second of both."""
        return {f"{what}_per_s": count / self.wall_s, f"{what}_per_cpu_s": count / self.cpu_s}


class Partition:
    """One partition of the agent, on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        store, _ = open_store(folder, StoreOptions())
        job = Restore(0, store, Headers())
        job.finish()
        table: PartitionTable[SeenValue] = PartitionTable(SEEN_FILLS, store, VALUE_MAX_BYTES)
        outboxes: dict[str, Outbox] = {FILLS.name: Nowhere(), DLQ.name: Nowhere()}
        self.changelog = Nowhere()
        self.task = Task(0, (FILL_REPORTS.name,), table, outboxes, self.changelog, (100, 100), 1 << 30)
        self.task.load(job)

    async def feed(self, fold: FillFold, numbers: range, spent: Spent) -> None:
        """Fold and checkpoint the reports of these fills; making the reports is not counted."""
        since = 0
        for start in range(0, len(numbers), BATCH):
            rows = reports(numbers[start : start + BATCH], self.task.vector[0])
            with spent:
                rows = self.task.admit(FILL_REPORTS.name, rows)
                self.task.publish(fold(self.task, FILL_REPORTS.name, rows), lambda: None)
                since += len(rows)
                if since >= CHECKPOINT_RECORDS:
                    since = 0
                    await self.task.checkpoint()
        with spent:
            await self.task.checkpoint()


async def run() -> dict[str, Any]:
    """All of it; every number is of this process."""
    folder = WORK / "fills"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    process, each = psutil.Process(), IDS // PARTITIONS
    before_bytes = process.memory_info().rss
    paths = [folder / f"seen-{n}.rocksdb" for n in range(PARTITIONS)]
    restored = _restore(paths, each)
    disk_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    begun_s = time.perf_counter()
    partitions = [Partition(path) for path in paths]
    warm_s = time.perf_counter() - begun_s
    rates = await _rates(partitions, each)
    memory_bytes = process.memory_info().rss - before_bytes
    for partition in partitions:
        partition.task.table.store.close()
    row = {
        "ids": each * PARTITIONS,
        **rates,
        "disk_bytes_per_id": disk_bytes / (each * PARTITIONS),
        "changelog_bytes_per_new_id": sum(p.changelog.sent_bytes for p in partitions) / (SAMPLE * PARTITIONS),
        "memory_mb": memory_bytes / (1 << 20),
        "memory_bytes_per_id": memory_bytes / (each * PARTITIONS),
        "warm_restart_s": warm_s,
        "cold_restore_s": restored.wall_s,
        "cold_restore_cpu_s": restored.cpu_s,
    }
    note = "Table and fold alone: acknowledged at once, no broker takes part. Memory: after all of it."
    return {"rows": [row], "note": note}


async def _rates(partitions: list[Partition], each: int) -> dict[str, float]:
    """Reports/s beside all the ids: known ones from all over the table, new ones, and those just heard again."""
    fold = FillFold(Horizon(90 * 86_400_000 * 100, IDS))
    known_anywhere, new, known_newest = Spent(), Spent(), Spent()
    step = max(1, each // SAMPLE)
    known, fresh = range(0, step * SAMPLE, step), range(each, each + SAMPLE)
    for partition in partitions:
        await partition.feed(fold, known, known_anywhere)
        await partition.feed(fold, fresh, new)
        await partition.feed(fold, fresh, known_newest)
    count = SAMPLE * PARTITIONS
    if fold.counts["new"] != count or fold.counts["duplicate"] != 2 * count:
        raise JobFailed(f"expected {count} new and {2 * count} repeated, was {dict(fold.counts)}")
    return {
        **known_anywhere.rates("known_anywhere", count),
        **new.rates("new", count),
        **known_newest.rates("known_newest", count),
    }


def _restore(paths: list[Path], each: int) -> Spent:
    """Fill partitions as a restore from their changelogs does. Time of the restore, without making the values."""
    jobs = [Restore(0, open_store(path, StoreOptions())[0], Headers()) for path in paths]
    spent = Spent()
    for start in range(0, each, BATCH):
        rows = changelog_values(range(start, min(start + BATCH, each)), start, jobs[0].position)
        with spent:
            for job in jobs:
                job.apply(rows)
        if start % (each // 5) < BATCH:
            say(f"fills: {start * len(jobs):,} ids restored")
    for job in jobs:
        job.finish()
        job.store.close()
    return spent


def changelog_values(numbers: range, next_report: int, next_offset: int) -> list[Any]:
    """What a checkpoint writes after the first reports of these fills, its mark last."""
    head = header({FILL_REPORTS.name: next_report + len(numbers)})
    rows: list[tuple[bytes, bytes]] = []
    for n in numbers:
        for name, entry in judge(payload_of(n), lambda _: None, 0).writes:
            rows.append((table_key(name), head + SEEN_FILLS.encode(entry)))
    mark = Mark({FILL_REPORTS.name: next_report + len(numbers)}, {})
    rows.append((MARK_KEY, head + msgspec.msgpack.encode(mark)))
    return [
        SimpleNamespace(offset=next_offset + n, key=key, value=value, timestamp=0)
        for n, (key, value) in enumerate(rows)
    ]
