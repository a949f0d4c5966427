"""The Parquet sink: batches become Arrow tables in memory, tables become one file per run of consecutive offsets.

Row groups are written in the background while their run fills. A run is closed by rows, bytes or age, whichever first,
and its file is finished in the background while the next run fills. What may be acknowledged (`durable_next_offset`)
moves when the file has its final name. The names on disk are the truth: whatever died, `assign` lists them and `write`
skips what they hold.
"""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from schemas.registry import TOPICS, Topic, topic_named
from sinks.columns import take_records
from sinks.contract import DeadLetterNote, SinkUnavailable, SourceBatch, SourceRecord, for_each
from sinks.parquet import files
from sinks.parquet.run import Run, Step, finish_run, write_whole_groups
from sinks.stats import SinkStats

HELD_BYTES_MAX = 256 << 20  # all open and sealed runs together; beyond it the largest is closed early
LOOP_RECORDS_MAX = 500  # a batch up to this is decoded on the event loop (about 1 ms); larger ones in a thread


class ParquetSettings(Protocol):
    """The settings the sink reads (app.settings.Settings)."""

    @property
    def parquet_dir(self) -> Path | None: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def parquet_rotate_rows(self) -> int: ...
    @property
    def parquet_rotate_mb(self) -> int: ...
    @property
    def parquet_rotate_age_s(self) -> int: ...


@dataclass(frozen=True)
class Rotation:
    """When a run is closed: rows, bytes in memory, seconds since its first record."""

    rows: int
    size_bytes: int
    age_s: float


@dataclass
class _Partition:
    """`next` is the offset after what we hold, `durable` the one after what is final on disk."""

    topic: Topic
    number: int
    next: int
    durable: int
    open: Run | None = None
    sealed: Run | None = None  # closed: its file is being finished, or waits for another try
    writing: "asyncio.Task[None] | None" = None  # under way, or done: it failed
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def held_bytes(self) -> int:
        return sum(run.size_bytes for run in self.runs)

    @property
    def runs(self) -> list[Run]:
        return [run for run in (self.sealed, self.open) if run]

    @property
    def to_write(self) -> Run | None:
        """The run that can be written on now."""
        return next((run for run in self.runs if run is self.sealed or run.has_unwritten_group), None)


def _no_step(_name: str) -> None:
    """Tests put a kill here."""


class ParquetSink:
    """See the module. Topics: all of them. Safe for concurrent calls of different partitions."""

    name = "parquet"

    def __init__(self, root: Path, rotation: Rotation, on_step: Step = _no_step) -> None:
        self.root = root
        self.rotation = rotation
        self.topics: tuple[str, ...] = tuple(topic.name for topic in TOPICS)
        self.stats = SinkStats()
        self._on_step = on_step
        self._partitions: dict[tuple[str, int], _Partition] = {}

    @classmethod
    def from_settings(cls, settings: ParquetSettings) -> "ParquetSink":
        """The sink the settings describe; files go to PARQUET_DIR, else to `parquet` in the data dir."""
        rotation = Rotation(
            settings.parquet_rotate_rows, settings.parquet_rotate_mb << 20, float(settings.parquet_rotate_age_s)
        )
        return cls(settings.parquet_dir or settings.data_dir / "parquet", rotation)

    async def start(self) -> None:
        """Create the folder. Raises SinkUnavailable."""
        try:
            await asyncio.to_thread(files.make_folders, self.root.absolute())
        except OSError as wrong:
            raise SinkUnavailable(f"parquet: {self.root}: {wrong.strerror or wrong}") from wrong

    async def assign(self, topic: str, partition: int) -> int | None:
        """List what is on disk, remove leftovers, forget what we held.

        Raises:
            UserMistake: the archive has a gap or an overlap; the files are named.
        """
        old = self._partitions.get((topic, partition))  # until it is replaced: this may be cancelled, and come again
        if old is not None:
            async with old.lock:  # a file still being written would make the listing wrong
                await _ended(old.writing)
                for run in old.runs:
                    await asyncio.to_thread(run.forget_file)
                old.open = old.sealed = old.writing = None
        await asyncio.to_thread(files.remove_leftovers, self.root, topic, partition)
        found = await asyncio.to_thread(files.next_offset_on_disk, self.root, topic, partition)
        self._partitions[topic, partition] = _Partition(topic_named(topic), partition, found or 0, found or 0)
        return found

    async def write(self, batch: SourceBatch) -> list[DeadLetterNote]:
        """Take the batch into the open run. Once taken it is kept until durable, so a second call skips it.

        Raises:
            SinkUnavailable: an earlier file could still not be written; all of this batch was taken, or nothing.
        """
        if (batch.topic, batch.partition) not in self._partitions:
            await self.assign(batch.topic, batch.partition)
        held = self._partitions[batch.topic, batch.partition]
        async with held.lock:
            await self._retry_failed(held)  # a write under way is not waited for
            notes = await self._take(held, batch.records)
            if held.open is not None and self._is_full(held.open):
                await self._seal(held)
            self._go_on(held)
        await self._bound_memory()
        return notes

    async def _take(self, held: _Partition, records: list[SourceRecord]) -> list[DeadLetterNote]:
        """Append the records from `held.next` on, cut where the log has holes.

        Records below are decoded too: a crash may have come between their file and their dead letters.
        """
        if len(records) <= LOOP_RECORDS_MAX:
            table, notes = take_records(held.topic, held.number, records)
        else:
            table, notes = await asyncio.to_thread(take_records, held.topic, held.number, records)
        start = next((row for row, record in enumerate(records) if record.offset >= held.next), len(records))
        self.stats.happened("skipped", start)
        while start < len(records):
            first = records[start].offset
            date = files.date_folder(table["ts_ingest"][start].as_py())
            if first > held.next:
                await self._hole(held, first, date)
            end = _run_end(records, start)
            if held.open is None:
                held.open = Run(held.topic, held.number, date, first, first)
            held.open.append(table.slice(start, end - start), records[end - 1].offset)
            held.next = records[end - 1].offset + 1
            start = end
        return notes

    async def _hole(self, held: _Partition, first: int, date: str) -> None:
        """Offsets `held.next`..`first - 1` are gone: close the run before them and write the hole down."""
        await self._close(held)
        folder = self.root / held.topic.name / date / f"p={held.number}"
        try:
            await asyncio.to_thread(files.record_hole, folder, held.next, first - 1, self._on_step)
            self.stats.happened("hole_offsets", first - held.next)
        except OSError as wrong:
            raise SinkUnavailable(f"parquet: {folder}: {wrong.strerror or wrong}") from wrong
        held.next = held.durable = first

    def _is_full(self, run: Run) -> bool:
        bounds = self.rotation
        return (
            run.rows >= bounds.rows
            or run.size_bytes >= bounds.size_bytes
            or time.monotonic() - run.opened_s >= bounds.age_s
        )

    async def _seal(self, held: _Partition) -> None:
        """Close the open run and let its file be finished; the one closed before must be final."""
        if held.sealed is not None:
            await self._settle(held)
        held.sealed, held.open = held.open, None
        self._go_on(held)

    def _go_on(self, held: _Partition) -> None:
        """Write in the background what can be written, unless that is under way or failed."""
        if held.writing is None and held.to_write is not None:
            held.writing = asyncio.create_task(self._write_held(held))

    async def _write_held(self, held: _Partition) -> None:
        """The only writer of the partition: finishes the closed run, then brings the open one up to date."""
        while run := held.to_write:
            if run is held.open:
                await asyncio.to_thread(write_whole_groups, self.root, run, self._on_step)
                continue
            size = await asyncio.to_thread(finish_run, self.root, run, self._on_step)
            self.stats.flushed(run.written_s)
            self.stats.landed(run.topic.name, run.rows, size)
            held.durable, held.sealed = run.last + 1, None
        held.writing = None

    async def _settle(self, held: _Partition) -> None:
        """Wait until nothing is being written. Raises SinkUnavailable."""
        await _ended(held.writing)
        await self._retry_failed(held)

    async def _retry_failed(self, held: _Partition) -> None:
        """Where the write in the background failed, try once more here, and say so when it fails again."""
        if held.writing is not None and held.writing.done():
            self.stats.happened("rewritten")
            again = held.writing = asyncio.create_task(self._write_held(held))
            await _ended(again)
            again.result()

    async def _close(self, held: _Partition) -> None:
        if held.open is not None:
            await self._seal(held)
        await self._settle(held)

    async def _bound_memory(self) -> None:
        """Close the largest open runs while all of them together hold more than the bound."""
        while sum(held.held_bytes for held in self._partitions.values()) > HELD_BYTES_MAX:
            largest = max(self._partitions.values(), key=lambda held: held.held_bytes)
            async with largest.lock:
                await self._close(largest)

    async def tick(self) -> None:
        """Close runs that are old enough. To be called about once a second. Raises SinkUnavailable."""
        await for_each(self._partitions.values(), self._close_old)

    async def _close_old(self, held: _Partition) -> None:
        await self._retry_failed(held)
        if held.open is not None and self._is_full(held.open):
            await self._seal(held)

    async def flush(self) -> None:
        """Make everything held final on disk. Raises SinkUnavailable; what failed is kept for the next try."""
        await for_each(self._partitions.values(), self._close)

    async def stop(self) -> None:
        """Flush and forget."""
        await self.flush()
        self._partitions.clear()

    def durable_next_offset(self, topic: str, partition: int) -> int | None:
        """One past the highest offset that has its final name on disk; None before `assign`."""
        held = self._partitions.get((topic, partition))
        return None if held is None else held.durable


async def _ended(task: "asyncio.Task[None] | None") -> None:
    """Wait for the task, which goes on when the caller is cancelled, and look at its exception: a retry tells it."""
    if task is not None:
        await asyncio.wait([task])
        task.exception()


def _run_end(records: list[SourceRecord], start: int) -> int:
    """The index after the last record that continues `start` without a hole."""
    count = len(records)
    if records[-1].offset - records[start].offset == count - 1 - start:
        return count
    end = start + 1
    while end < count and records[end].offset == records[end - 1].offset + 1:
        end += 1
    return end
