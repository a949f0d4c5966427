"""Compaction of closed hours: the many small files of an hour that is over become one.

The merged file gets its name first, then the files that it covers go. A crash in between leaves both: ranges nest, our
readers take the widest (`files.list_spans`), and the next pass removes what is covered. Records are copied, never
changed; files on both sides of a hole or of midnight stay apart.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from domain.errors import UserMistake
from schemas.registry import TOPICS, Topic
from sinks.contract import SinkUnavailable
from sinks.parquet import files
from sinks.parquet.files import Span
from sinks.parquet.run import ROW_GROUP_ROWS, origin, parquet_writer

log = logging.getLogger(__name__)

HOUR_MS = 3_600_000
CLOSED_AFTER_MS = 600_000  # an hour's last file is finished by age soon after; stragglers only mean one more merge
PASS_EVERY_S = 600.0  # looking costs one listing of folders and the footers of files not looked at before
MERGED_ROWS_MAX = 5_000_000  # rows of one merged file: some 150 MB of book updates, which readers still like
DAYS_BACK = 2  # folders that are looked at: older ones were compacted when they were new
Step = Callable[[str], None]


class Stopped(Exception):
    """The worker ends: the half-written merge is thrown away."""


def _no_step(_name: str) -> None:
    """Tests put a crash here."""


class Compactor:
    """Merges the closed hours of an archive, one pass each ten minutes, beside the sink that writes it.

    Any number of them may run on one archive: what is renamed or removed is looked at again under the partition's lock.
    """

    def __init__(self, root: Path, now_s: Callable[[], float] = time.time, on_step: Step = _no_step) -> None:
        self.root = root
        self.files_merged = 0
        self._now_s = now_s
        self._on_step = on_step
        self._hours: dict[Path, int] = {}
        self._stopping = threading.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin with a pass now."""
        self._task = asyncio.create_task(self._run(), name="compact parquet")

    async def stop(self) -> None:
        """End within a row group."""
        self._stopping.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.to_thread(self.compact)
            await asyncio.sleep(PASS_EVERY_S)

    def compact(self) -> None:
        """One pass over every partition. Blocking. A partition that cannot be merged now is left for the next pass."""
        for topic in TOPICS:
            for partition in files.partitions_of(self.root, topic.name):
                try:
                    self._compact_partition(topic, partition)
                except Stopped:
                    return
                except (OSError, SinkUnavailable, UserMistake, pa.ArrowInvalid) as wrong:
                    log.error("compaction of %s-%d: %s", topic.name, partition, wrong)
                except Exception:
                    # A bug of ours must not end the merging of the others, nor the sink beside it, and not be silent.
                    log.exception("compaction of %s-%d", topic.name, partition)
        since = int(self._now_s() * 1_000) // HOUR_MS - (DAYS_BACK + 1) * 24
        self._hours = {path: hour for path, hour in self._hours.items() if hour >= since}

    def _compact_partition(self, topic: Topic, partition: int) -> None:
        remove_covered(self.root, topic.name, partition, self._on_step)
        spans = files.contiguous_spans(self.root, topic.name, partition)
        for group in self._groups(spans):
            self._merge(topic, partition, group)
            remove_covered(self.root, topic.name, partition, self._on_step)

    def _groups(self, spans: list[Span]) -> Iterator[list[Span]]:
        """Runs of two files and more of one closed hour."""
        oldest = files.date_folder(int(self._now_s() * 1_000) - DAYS_BACK * 24 * HOUR_MS)
        group: list[Span] = []
        rows, last_hour = 0, None
        for span in spans:
            date = span.path.parent.parent.name
            hour = None if span.is_hole or date < oldest else self._closed_hour(span)
            size = span.last - span.first + 1
            fits = group and (hour, date) == last_hour and rows + size <= MERGED_ROWS_MAX
            if not fits:
                if len(group) > 1:
                    yield group
                group, rows = [], 0
            if hour is not None:
                group.append(span)
                rows += size
            last_hour = (hour, date)
        if len(group) > 1:
            yield group

    def _closed_hour(self, span: Span) -> int | None:
        """The hour of the file's first row group, counted since 1970; None while it is not over."""
        hour = self._hours.get(span.path)
        if hour is None:
            hour = self._hours[span.path] = _hour_of(span.path)
        return hour if (hour + 1) * HOUR_MS + CLOSED_AFTER_MS <= self._now_s() * 1_000 else None

    def _merge(self, topic: Topic, partition: int, group: list[Span]) -> None:
        first, last, folder = group[0].first, group[-1].last, group[0].path.parent
        # Ours alone: two workers may merge the same hour, and the sink removes every `.*.tmp` when it starts.
        temporary = folder / f".{first}-{last}.{os.getpid()}.tmp"
        try:
            with temporary.open("wb") as file:
                with parquet_writer(file, topic) as writer:
                    writer.add_key_value_metadata(origin(topic, partition, first, last))
                    rows = sum(self._write(writer, table) for table in _row_groups(group))
                self._on_step("merged written")
                file.flush()
                os.fsync(file.fileno())
            self._on_step("merged synced")
            if rows != last - first + 1:
                raise UserMistake(
                    f"expected {last - first + 1} records in {group[0].path} to {group[-1].path}, was {rows}"
                )
            with files.partition_lock(self.root, topic.name, partition):
                if all(span.path.exists() for span in group):
                    files.publish(temporary, folder / f"{first}-{last}.parquet", self._on_step)
                    self.files_merged += len(group)
        finally:
            temporary.unlink(missing_ok=True)
        for span in group:
            self._hours.pop(span.path, None)

    def _write(self, writer: pq.ParquetWriter, table: pa.Table) -> int:
        if self._stopping.is_set():
            raise Stopped
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        return int(table.num_rows)


def remove_covered(root: Path, topic: str, partition: int, on_step: Step = _no_step) -> None:
    """Remove the files whose records lie in a wider file, and make that durable. Raises OSError, SinkUnavailable."""
    with files.partition_lock(root, topic, partition):
        covers = [span for span in files.list_spans(root, topic, partition) if not span.is_hole]
        covered = [
            span
            for span in files.all_spans(root, topic, partition)
            if any(c.first <= span.first and span.last <= c.last and c.path != span.path for c in covers)
        ]
        for span in covered:
            span.path.unlink()
            on_step("covered removed")
        for folder in {span.path.parent for span in covered}:
            files.fsync_folder(folder)


def _hour_of(path: Path) -> int:
    group = pq.read_metadata(path).row_group(0)
    columns = (group.column(number) for number in range(group.num_columns))
    statistics = next(column for column in columns if column.path_in_schema == "ts_ingest").statistics
    return int(statistics.min) // HOUR_MS


def _row_groups(group: list[Span]) -> Iterator[pa.Table]:
    """The records of the files in order, put together to whole row groups."""
    held: list[pa.Table] = []
    for span in group:
        with pq.ParquetFile(span.path) as file:
            for number in range(file.num_row_groups):
                held.append(file.read_row_group(number))
                if sum(table.num_rows for table in held) >= ROW_GROUP_ROWS:
                    yield pa.concat_tables(held)
                    held = []
    if held:
        yield pa.concat_tables(held)
