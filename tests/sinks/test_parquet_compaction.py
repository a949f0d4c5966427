"""Compaction of closed hours: the same records in fewer files, whatever dies on the way."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from book_topic import PARTITION, START_MS, TOPIC, batch, make_book_topic

from domain.errors import UserMistake
from sinks.contract import SourceRecord
from sinks.parquet import files
from sinks.parquet.compact import CLOSED_AFTER_MS, HOUR_MS, Compactor
from sinks.parquet.reader import iter_records
from sinks.parquet.sink import ParquetSink, Rotation

#: The records of `make_book_topic` cross midnight, and so an hour and a folder.
RECORDS = 2_400
FILE_ROWS = 200
NEXT_HOUR_MS = (START_MS // HOUR_MS + 1) * HOUR_MS


class Died(BaseException):
    """The process is gone: nothing is tidied up."""


async def archive(root: Path, records: list[SourceRecord]) -> None:
    """Small files, one after the other, as a quiet sink leaves them."""
    sink = ParquetSink(root, Rotation(FILE_ROWS, 1 << 30, 3_600.0))
    await sink.start()
    for at in range(0, len(records), FILE_ROWS):
        await sink.write(batch(records[at : at + FILE_ROWS]))
    await sink.stop()


def compactor(root: Path, at_ms: int, on_step: Callable[[str], None] = lambda _: None) -> Compactor:
    """One that believes it is `at_ms`."""
    return Compactor(root, lambda: at_ms / 1_000, on_step)


def names(root: Path) -> list[str]:
    """Every file of the partition, nested ones too."""
    return [span.path.name for span in files.all_spans(root, TOPIC, PARTITION)]


def leftovers(root: Path) -> list[Path]:
    """Half-written files."""
    return list(root.rglob("*.tmp"))


def assert_same(root: Path, records: list[SourceRecord]) -> None:
    """Our reader gives the topic, byte for byte."""
    got = [(row.offset, row.key, row.value) for row in iter_records(root, TOPIC)]
    assert got == [(record.offset, record.key, record.value) for record in records]


async def test_an_hour_that_is_over_becomes_one_file_and_the_open_one_stays(tmp_path: Path) -> None:
    """Ten minutes after the hour its files are one, with the same records; the next hour's wait for theirs."""
    records = make_book_topic(1, RECORDS)
    await archive(tmp_path, records)
    before = names(tmp_path)
    compactor(tmp_path, NEXT_HOUR_MS + CLOSED_AFTER_MS - 1).compact()
    assert names(tmp_path) == before

    compactor(tmp_path, NEXT_HOUR_MS + CLOSED_AFTER_MS).compact()
    first, *rest = names(tmp_path)
    assert 1 < len(rest) < len(before) - 1
    assert rest == before[-len(rest) :]
    assert_same(tmp_path, records)

    beside = compactor(tmp_path, NEXT_HOUR_MS + HOUR_MS + CLOSED_AFTER_MS)
    await beside.start()
    async with asyncio.timeout(60):
        while len(names(tmp_path)) != 2:  # noqa: ASYNC110 - files of another thread
            await asyncio.sleep(0.01)
    await beside.stop()
    assert names(tmp_path)[0] == first, "a merged hour is left alone"
    assert_same(tmp_path, records)
    found = f"select count(*), count(distinct _offset), max(_offset) from '{tmp_path}/{TOPIC}/**/*.parquet'"
    assert duckdb.sql(found).fetchall() == [(RECORDS, RECORDS, RECORDS - 1)]

    sink = ParquetSink(tmp_path, Rotation(FILE_ROWS, 1 << 30, 3_600.0))
    assert await sink.assign(TOPIC, PARTITION) == RECORDS


async def test_a_crash_at_any_step_leaves_the_same_records_and_the_next_pass_finishes(tmp_path: Path) -> None:
    """Between write, sync, rename and each removal: readers see every record once, and so does the sink's restart."""
    records = make_book_topic(2, 1_000)
    reached: set[str] = set()
    for crash_at in range(1, 40):
        root = tmp_path / str(crash_at)
        await archive(root, records)
        left = crash_at

        def step(name: str) -> None:
            nonlocal left
            reached.add(name)
            left -= 1
            if left == 0:
                raise Died

        try:
            compactor(root, NEXT_HOUR_MS + 24 * HOUR_MS, step).compact()
            break
        except Died:
            pass
        assert_same(root, records)
        sink = ParquetSink(root, Rotation(FILE_ROWS, 1 << 30, 3_600.0))
        assert await sink.assign(TOPIC, PARTITION) == 1_000
        compactor(root, NEXT_HOUR_MS + 24 * HOUR_MS).compact()
        assert len(names(root)) == 2
        assert_same(root, records)
    assert left > 0, "expected a pass without a crash at the end"
    assert reached == {"merged written", "merged synced", "renamed", "folder synced", "covered removed"}


async def test_files_around_a_hole_stay_apart(tmp_path: Path) -> None:
    """One file is one run of offsets."""
    records = make_book_topic(3, RECORDS)
    kept = records[:600] + records[1_000:]
    await archive(tmp_path, kept)
    compactor(tmp_path, NEXT_HOUR_MS + 24 * HOUR_MS).compact()

    assert names(tmp_path) == ["0-399.parquet", "400-599.parquet", "_600-999.hole", "1000-2399.parquet"]
    assert_same(tmp_path, kept)


async def test_a_reader_on_its_way_follows_the_records_into_the_merged_file(tmp_path: Path) -> None:
    """What it listed is gone when it gets there."""
    records = make_book_topic(4, RECORDS)
    await archive(tmp_path, records)
    reading = iter_records(tmp_path, TOPIC)
    got = [next(reading).value for _ in range(FILE_ROWS + 10)]
    compactor(tmp_path, NEXT_HOUR_MS + 24 * HOUR_MS).compact()

    assert got + [row.value for row in reading] == [record.value for record in records]


async def test_two_compactors_at_once_keep_every_record(tmp_path: Path) -> None:
    """The second one merges what the first has merged already, and throws it away."""
    records = make_book_topic(5, RECORDS)
    await archive(tmp_path, records)
    other = compactor(tmp_path, NEXT_HOUR_MS + 24 * HOUR_MS)

    def step(name: str) -> None:
        if name == "merged synced":
            other.compact()

    compactor(tmp_path, NEXT_HOUR_MS + 24 * HOUR_MS, step).compact()
    assert len(names(tmp_path)) == 2
    assert leftovers(tmp_path) == []
    assert_same(tmp_path, records)


async def test_a_merge_that_cannot_be_written_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: the small files stay, nothing half-written is left."""
    records = make_book_topic(6, 1_000)
    await archive(tmp_path, records)
    before = names(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("sinks.parquet.compact.os.fsync", full)
        compactor(tmp_path, NEXT_HOUR_MS + 24 * HOUR_MS).compact()
    assert names(tmp_path) == before
    assert leftovers(tmp_path) == []
    assert_same(tmp_path, records)


async def test_a_listing_that_missed_a_file_while_it_was_merged_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder read while files come and go may show neither the merged one nor the last it took the place of."""
    records = make_book_topic(3, RECORDS)
    await archive(tmp_path, records)
    whole = files.list_spans(tmp_path, TOPIC, PARTITION)
    listings = iter([[*whole[:2], *whole[3:]], whole])
    monkeypatch.setattr(files, "list_spans", lambda *_: next(listings))
    assert files.next_offset_on_disk(tmp_path, TOPIC, PARTITION) == len(records)

    monkeypatch.setattr(files, "list_spans", lambda *_: [*whole[:2], *whole[3:]])
    with pytest.raises(UserMistake, match="gap in the archive"):
        files.next_offset_on_disk(tmp_path, TOPIC, PARTITION)
