"""Row groups that are written while their run fills: the same file, whatever goes wrong in between."""

import asyncio
import errno
import io
import os
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from book_topic import PARTITION, TOPIC, batch, make_book_topic
from parquet_archive import BIG, GROUP_ROWS, assert_archive_equals, assert_nothing_half_written, names, opened

from domain.errors import Fatal
from sinks.contract import SinkUnavailable, SourceBatch
from sinks.parquet import files, run
from sinks.parquet.sink import ParquetSink

WRITTEN = "row group written"


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a few hundred rows have several."""
    monkeypatch.setattr(run, "ROW_GROUP_ROWS", GROUP_ROWS)


class Gate:
    """Holds the writer after its first row group until it is opened."""

    def __init__(self) -> None:
        self._reached, self._opened = threading.Event(), threading.Event()

    def __call__(self, name: str) -> None:
        if name == WRITTEN:
            self._reached.set()
            assert self._opened.wait(60)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 60), "expected a row group to be written"

    def open(self) -> None:
        self._opened.set()


class Disk:
    """Is full after the n-th step of a name, for what is written to temp files (`step`: what the sink tells)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str, times: int, is_freed: bool = False) -> None:
        self.is_full, self.is_freed, self.refused = False, is_freed, 0
        self._step, self._left = step, times
        disk = self

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                if disk.is_full:
                    disk.refused += 1
                    disk.is_full = not disk.is_freed
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return super().write(data)

        monkeypatch.setattr(run.pa, "OSFile", lambda path, mode: pa.PythonFile(File(path, mode), mode))

    def step(self, name: str) -> None:
        if name == self._step:
            self._left -= 1
            self.is_full = self.is_full or self._left == 0


async def test_whole_row_groups_are_written_while_the_run_fills(tmp_path: Path) -> None:
    """The file has no name before the run is closed; then it has whole row groups, and one of what was left."""
    records = make_book_topic(21, 250)
    gate = Gate()
    sink = await opened(tmp_path, BIG, gate)
    await sink.write(batch(records[:150]))
    await gate.reached()
    await sink.write(batch(records[150:]))  # taken while the first row group is being written
    assert (names(tmp_path), sink.durable_next_offset(TOPIC, PARTITION)) == ([], 0)
    flushing = asyncio.create_task(sink.flush())
    gate.open()
    await flushing

    (span,) = files.list_spans(tmp_path, TOPIC, PARTITION)
    footer = pq.read_metadata(span.path)
    assert [footer.row_group(number).num_rows for number in range(footer.num_row_groups)] == [100, 100, 50]
    assert (span.path.name, footer.metadata[b"kalshi_streams.last_offset"]) == ("0-249.parquet", b"249")
    assert sink.durable_next_offset(TOPIC, PARTITION) == 250
    assert_nothing_half_written(tmp_path)
    assert_archive_equals(tmp_path, records)


async def test_a_small_run_is_written_when_it_is_closed(tmp_path: Path) -> None:
    """Below a row group nothing is written ahead, and the file has one."""
    records = make_book_topic(22, GROUP_ROWS - 1)
    steps: list[str] = []
    sink = await opened(tmp_path, BIG, steps.append)
    for at in range(0, len(records), 20):
        await sink.write(batch(records[at : at + 20]))
    assert steps == []
    await sink.stop()

    assert steps.count(WRITTEN) == 1
    assert_archive_equals(tmp_path, records)


@pytest.mark.parametrize(
    ("step", "times"),
    [("folder made", 1), (WRITTEN, 1), (WRITTEN, 2), (WRITTEN, 3), ("file written", 1)],
    ids=["at the beginning", "in the second row group", "in the third", "in the footer", "at the sync"],
)
async def test_a_disk_that_gets_full_on_the_way_costs_time_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, times: int
) -> None:
    """Wherever it refuses, the half of a file goes away, closed; all records are written when there is room."""
    records = make_book_topic(23, 250)
    disk = Disk(monkeypatch, step, times)
    sync = os.fsync

    def sync_unless_full(descriptor: int) -> None:
        if disk.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(run.os, "fsync", sync_unless_full)
    sink = await opened(tmp_path, BIG, disk.step)
    with pytest.raises(SinkUnavailable, match="No space left"):
        for at in range(0, 250, 50):
            await sink.write(batch(records[at : at + 50]))
        await sink.flush()
    assert (names(tmp_path), sink.durable_next_offset(TOPIC, PARTITION)) == ([], 0)
    assert_nothing_half_written(tmp_path)
    disk.is_full = False
    await sink.write(batch(records))
    await sink.stop()

    assert_archive_equals(tmp_path, records)
    assert_nothing_half_written(tmp_path)


async def test_a_row_group_that_was_refused_once_is_written_again_unnoticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second try begins the file anew, with the row groups that were in it."""
    records = make_book_topic(24, 450)
    disk = Disk(monkeypatch, WRITTEN, 2, is_freed=True)
    sink = await opened(tmp_path, BIG, disk.step)
    for at in range(0, 450, 50):
        await sink.write(batch(records[at : at + 50]))
    await sink.stop()

    assert (disk.refused, sink.stats.events["rewritten"], names(tmp_path)) == (1, 1, ["0-449.parquet"])
    assert_archive_equals(tmp_path, records)
    assert_nothing_half_written(tmp_path)


async def test_an_assignment_waits_for_the_row_group_under_way_and_forgets_it(tmp_path: Path) -> None:
    """The partition comes again while its run is being written: it begins where the disk ends."""
    records = make_book_topic(25, 250)
    gate = Gate()
    sink = await opened(tmp_path, BIG, gate)
    await sink.write(batch(records[:150]))
    await gate.reached()
    assigning = asyncio.create_task(sink.assign(TOPIC, PARTITION))
    _, waiting = await asyncio.wait({assigning}, timeout=0.1)
    assert waiting, "expected the assignment to wait for the write under way"
    gate.open()

    assert await assigning is None
    assert_nothing_half_written(tmp_path)
    await sink.write(batch(records))
    await sink.stop()
    assert_archive_equals(tmp_path, records)


async def streaming(root: Path, records: list[Any]) -> ParquetSink:
    """A sink that holds the records and has their whole row groups in its temp file."""
    gate = Gate()
    sink = await opened(root, BIG, gate)
    await sink.write(batch(records))
    await gate.reached()
    gate.open()
    return sink


async def test_a_zombie_does_not_publish_the_half_written_file_of_its_successor(tmp_path: Path) -> None:
    """Both write the run from offset 0, the zombie closes its own first: who comes second is refused."""
    records = make_book_topic(26, 400)
    zombie = await streaming(tmp_path, records[:250])
    successor = await streaming(tmp_path, records)
    await zombie.flush()
    assert_archive_equals(tmp_path, records[:250])
    with pytest.raises(Fatal, match="another worker"):
        await successor.flush()

    assert_archive_equals(tmp_path, records[:250])
    assert_nothing_half_written(tmp_path)


async def test_a_zombie_is_refused_after_row_groups_of_its_own(tmp_path: Path) -> None:
    """The successor closes first; nothing of the zombie's stays."""
    records = make_book_topic(27, 400)
    zombie = await streaming(tmp_path, records[:250])
    successor = await streaming(tmp_path, records[:150])
    await successor.flush()
    with pytest.raises(Fatal, match="another worker"):
        await zombie.flush()
    await successor.write(batch(records[150:]))
    await successor.stop()

    assert_archive_equals(tmp_path, records)
    assert_nothing_half_written(tmp_path)


async def test_a_partition_that_cannot_be_written_does_not_keep_others_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two is refused at the rename: the second's file is finished all the same."""
    records = make_book_topic(10, 300)
    sink = await opened(tmp_path)
    await sink.write(batch(records))
    await sink.write(SourceBatch(TOPIC, PARTITION + 1, records, len(records)))
    publish = files.publish

    def picky(temporary: Path, final: Path, on_step: Any) -> None:
        if final.parent.name == f"p={PARTITION}":
            raise OSError(errno.EIO, "Input/output error")
        publish(temporary, final, on_step)

    monkeypatch.setattr(files, "publish", picky)
    with pytest.raises(SinkUnavailable, match="Input/output error"):
        await sink.flush()
    assert sink.durable_next_offset(TOPIC, PARTITION) == 0
    assert sink.durable_next_offset(TOPIC, PARTITION + 1) == 300
