"""The Parquet sink on real files: lossless, contiguous, and right after a full disk, a hole, and a kill."""

import asyncio
import errno
import os
import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from book_chaos import assert_refusals_told, run_with_kills
from book_topic import PARTITION, TOPIC, batch, make_book_topic
from parquet_archive import GROUP_ROWS, assert_archive_equals, names, opened

from domain.errors import Fatal, UserMistake
from schemas.registry import TOPICS
from sinks.columns import UNDECODABLE, topic_columns
from sinks.contract import SinkUnavailable
from sinks.parquet import files, run
from sinks.parquet.reader import iter_records
from sinks.parquet.sink import ParquetSink, Rotation


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a few hundred rows have several, most of them written before the run is closed."""
    monkeypatch.setattr(run, "ROW_GROUP_ROWS", GROUP_ROWS)


async def test_every_record_comes_back_byte_for_byte(tmp_path: Path) -> None:
    """Values, keys and offsets are rebuilt from the files, records that are none included."""
    records = make_book_topic(1, 3_000)
    sink = await opened(tmp_path)
    notes = []
    for at in range(0, 3_000, 700):
        notes += await sink.write(batch(records[at : at + 700]))
    await sink.stop()

    assert_archive_equals(tmp_path, records)
    assert {note.reason for note in notes} == {"undecodable_record", "invalid_record"}
    assert (sink.stats.rows[TOPIC], sink.stats.flushes) == (3_000, len(names(tmp_path)))
    assert sink.stats.sent_bytes[TOPIC] == sum(
        span.path.stat().st_size for span in files.list_spans(tmp_path, TOPIC, PARTITION)
    )


async def test_pyarrow_and_duckdb_read_the_same(tmp_path: Path) -> None:
    """Two independent readers agree on counts, exact integers and levels."""
    records = make_book_topic(2, 2_000)
    sink = await opened(tmp_path)
    await sink.write(batch(records))
    await sink.stop()
    folder = tmp_path / TOPIC

    whole = pq.read_table(folder)
    (found,) = duckdb.sql(
        "select count(*), sum(delta_e2)::bigint, min(_offset), max(_offset), sum(len(yes)) "
        f"from read_parquet('{folder}/**/*.parquet')"
    ).fetchall()

    sums = (pa.compute.sum(whole["delta_e2"]).as_py(), sum(len(levels or []) for levels in whole["yes"].to_pylist()))
    assert found == (2_000, sums[0], 0, 1_999, sums[1])
    assert set(topic_columns(TOPICS[0]).schema.names) <= set(whole.column_names)


def test_no_topic_has_a_float_column() -> None:
    """Every field of every record has an exact column."""
    for topic in TOPICS:
        assert not any(pa.types.is_floating(field.type) for field in topic_columns(topic).schema)


async def test_nothing_may_be_acknowledged_before_the_rename(tmp_path: Path) -> None:
    """durable_next_offset lags behind what was taken until the file has its name."""
    records = make_book_topic(3, 500)
    sink = await opened(tmp_path)
    await sink.write(batch(records))

    assert sink.durable_next_offset(TOPIC, PARTITION) == 0
    await sink.flush()
    assert sink.durable_next_offset(TOPIC, PARTITION) == 500
    assert names(tmp_path) == ["0-499.parquet"]


async def test_rotation_by_rows_and_by_age(tmp_path: Path) -> None:
    """A full run is closed by the next write, an old one by a tick."""
    records = make_book_topic(4, 1_000)
    sink = await opened(tmp_path, Rotation(400, 1 << 30, 3_600.0))
    for at in range(0, 1_000, 100):
        await sink.write(batch(records[at : at + 100]))
    sink.rotation = Rotation(400, 1 << 30, 0.0)
    await sink.tick()
    await sink.flush()

    assert names(tmp_path) == ["0-399.parquet", "400-799.parquet", "800-999.parquet"]


async def test_the_same_batch_again_changes_nothing(tmp_path: Path) -> None:
    """After a restart what is on disk is skipped, whatever the cut."""
    records = make_book_topic(5, 1_000)
    sink = await opened(tmp_path)
    await sink.write(batch(records[:600]))
    await sink.stop()
    again = await opened(tmp_path)
    await again.write(batch(records[200:900]))
    await again.write(batch(records[850:]))
    await again.stop()

    assert names(tmp_path) == ["0-599.parquet", "600-999.parquet"]
    assert_archive_equals(tmp_path, records)


async def test_offsets_that_the_log_lost_are_a_hole_on_record(tmp_path: Path) -> None:
    """A log that starts later and a hole within a batch become marker files, and the proof of contiguity holds."""
    records = make_book_topic(6, 300)
    sink = await opened(tmp_path)
    await sink.write(batch(records[50:100] + records[120:]))
    await sink.stop()

    assert names(tmp_path) == ["_0-49.hole", "50-99.parquet", "_100-119.hole", "120-299.parquet"]
    assert_archive_equals(tmp_path, records[50:100] + records[120:])
    assert await (await opened(tmp_path)).assign(TOPIC, PARTITION) == 300


@pytest.mark.parametrize(("rename", "what"), [(("0-99", "0-119"), "overlap"), (("100-199", "110-199"), "gap")])
async def test_a_gap_or_an_overlap_names_the_file(tmp_path: Path, rename: tuple[str, str], what: str) -> None:
    """Files that do not follow each other stop the sink with one line that names them."""
    records = make_book_topic(7, 300)
    sink = await opened(tmp_path)
    for at in (0, 100, 200):
        await sink.write(batch(records[at : at + 100]))
        await sink.flush()
    (old,) = (tmp_path / TOPIC).rglob(f"{rename[0]}.parquet")
    old.rename(old.with_name(f"{rename[1]}.parquet"))

    with pytest.raises(UserMistake, match=rf"{what} in the archive.*\.parquet"):
        await opened(tmp_path)


async def test_the_widest_file_counts_where_ranges_nest(tmp_path: Path) -> None:
    """After a compaction that died between its rename and its removals, nothing is read twice."""
    records = make_book_topic(8, 300)
    sink = await opened(tmp_path)
    for at in (0, 100, 200):
        await sink.write(batch(records[at : at + 100]))
        await sink.flush()
    parts = [span.path for span in files.list_spans(tmp_path, TOPIC, PARTITION)]
    merged = pa.concat_tables(pq.ParquetFile(path).read() for path in parts[:2])
    pq.write_table(merged, parts[0].with_name("0-199.parquet"))

    assert names(tmp_path) == ["0-199.parquet", "200-299.parquet"]
    assert_archive_equals(tmp_path, records)


async def test_a_full_disk_costs_time_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC is SinkUnavailable with its reason; what was taken is kept, and written when there is room again."""
    records = make_book_topic(9, 600)
    sink = await opened(tmp_path, Rotation(200, 1 << 30, 3_600.0))
    await sink.write(batch(records[:100]))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(run.os, "fsync", full)
        with pytest.raises(SinkUnavailable, match="No space left"):
            for begin, end in ((100, 300), (300, 400), (400, 500)):  # at the latest where the next file is full
                await sink.write(batch(records[begin:end]))
        with pytest.raises(SinkUnavailable, match="No space left"):
            await sink.flush()
        assert sink.durable_next_offset(TOPIC, PARTITION) == 0
        assert not list((tmp_path / TOPIC).rglob("*.parquet"))
    await sink.write(batch(records[300:]))
    await sink.stop()

    assert_archive_equals(tmp_path, records)


async def test_a_file_that_has_its_name_is_finished_by_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refuses between the rename and the sync of the folder: the file is ours, not another worker's."""
    records = make_book_topic(9, 300)
    sink = await opened(tmp_path)
    await sink.write(batch(records[:200]))
    await sink.flush()
    await sink.write(batch(records[200:]))

    def refused(folder: Path) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(files, "fsync_folder", refused)
        with pytest.raises(SinkUnavailable, match="Too many open files"):
            await sink.flush()
    assert sink.durable_next_offset(TOPIC, PARTITION) == 200
    await sink.stop()

    assert names(tmp_path) == ["0-199.parquet", "200-299.parquet"]
    assert_archive_equals(tmp_path, records)


async def test_batches_are_taken_while_a_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run fills beside the file; only where it is full too, the file before is waited for."""
    records = make_book_topic(9, 600)
    sink = await opened(tmp_path, Rotation(200, 1 << 30, 3_600.0))
    may_sync, sync = threading.Event(), os.fsync

    def held_back(descriptor: int) -> None:
        may_sync.wait(60)
        sync(descriptor)

    monkeypatch.setattr(run.os, "fsync", held_back)
    await sink.write(batch(records[:200]))
    await sink.write(batch(records[200:300]))
    assert sink.durable_next_offset(TOPIC, PARTITION) == 0
    assert not list((tmp_path / TOPIC).rglob("*.parquet"))
    may_sync.set()
    await sink.write(batch(records[300:]))
    await sink.stop()

    assert_archive_equals(tmp_path, records)


async def test_a_zombie_does_not_write_beside_its_successor(tmp_path: Path) -> None:
    """A worker that lost the partition without noticing is refused at the rename."""
    records = make_book_topic(10, 400)
    zombie = await opened(tmp_path)
    await zombie.write(batch(records[:300]))
    successor = await opened(tmp_path)
    await successor.write(batch(records[:200]))
    await successor.flush()

    with pytest.raises(Fatal, match="another worker"):
        await zombie.flush()
    await successor.write(batch(records[200:]))
    await successor.stop()
    assert_archive_equals(tmp_path, records)


async def test_numbers_beyond_64_bits_are_kept_raw(tmp_path: Path) -> None:
    """A record whose number fits no column is refused alone; its neighbours have their columns."""
    records = make_book_topic(11, 50)
    at = next(i for i, record in enumerate(records) if b'"book_delta"' in (record.value or b""))
    wide = (records[at].value or b"").replace(b'"sid":1,', b'"sid":18446744073709551615,')
    records[at] = type(records[at])(at, records[at].key, wide, records[at].timestamp_ms)
    sink = await opened(tmp_path)
    notes = await sink.write(batch(records))
    await sink.stop()

    assert at in [note.record.offset for note in notes]
    (path,) = (tmp_path / TOPIC).rglob("*.parquet")
    assert pq.read_table(path)["event_type"][at].as_py() == UNDECODABLE
    assert_archive_equals(tmp_path, records)


async def test_partitions_are_written_at_once_without_mixing(tmp_path: Path) -> None:
    """Concurrent writes of several partitions end in their own folders."""
    records = make_book_topic(12, 800)
    sink = ParquetSink(tmp_path, Rotation(150, 1 << 30, 3_600.0))
    await sink.start()

    async def feed(partition: int) -> None:
        for at in range(0, 800, 90):
            await sink.write(batch(records[at : at + 90], partition=partition))

    await asyncio.gather(*(feed(partition) for partition in range(3)))
    await sink.stop()

    for partition in range(3):
        got = [archived.value for archived in iter_records(tmp_path, TOPIC, partition)]
        assert got == [record.value for record in records]


@pytest.mark.long
def test_kill_nine_between_every_two_steps_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """A short form of the chaos test: one kill at each of the first steps, then a clean end."""
    kills = run_with_kills("parquet", tmp_path, 13, 2_500, range(1, 11))

    assert kills == 10
    assert_archive_equals(tmp_path / "parquet", make_book_topic(13, 2_500))
    assert_refusals_told(tmp_path, 13, 2_500)
