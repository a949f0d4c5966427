"""`replay --from-parquet`: the archive back onto Kafka byte for byte, and the same books and quotes come out of it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kernel_input import BookInput
from kernel_world import PARTITIONS, World, assert_right, partition_of

from domain.errors import UserMistake
from ops.engines.kafka import KafkaEngine
from ops.replay_parquet import Placement, inputs, plan
from schemas import records as r
from schemas.codec import encode_record
from schemas.registry import BOOK_UPDATES, DLQ, FEED_STATUS, QUOTE_UPDATES, TRADES
from sinks.contract import SourceBatch, SourceRecord
from sinks.parquet.reader import ArchivedRecord, iter_records
from sinks.parquet.sink import ParquetSink, Rotation

#: (topic, partition) -> records in offset order.
Log = dict[tuple[str, int], list[SourceRecord]]


@pytest.fixture
def world(own_kafka: KafkaEngine, tmp_path: Path) -> Iterator[World]:
    """An empty Kafka with the catalogue's topics."""
    world = World(own_kafka, tmp_path / "world")
    yield world
    world.stop_all()


def source_log(records: int) -> Log:
    """Book updates with faults and poison, a heartbeat for each partition, the dead letter of a record, a null."""
    log: Log = {}
    for key, value in BookInput(12, seed=31, faults=True).take(records):
        _append(log, BOOK_UPDATES.name, partition_of(key), key, value)
    for partition in range(PARTITIONS):
        beat = r.FeedHeartbeatPayload(
            partition=partition, session_id="s", connected=True, last_frame_ms=None, markets=12
        )
        record = r.FeedHeartbeat(**_head(f"beat:{partition}"), payload=beat)
        _append(log, FEED_STATUS.name, partition, str(partition).encode(), encode_record(record))
    _append(log, DLQ.name, 2, None, encode_record(dead_letter(BOOK_UPDATES.name)))
    _append(log, TRADES.name, 1, None, None)
    return log


def dead_letter(topic: str | None) -> r.DeadLetter:
    """Of a record of that topic; of a frame without one."""
    payload = r.DeadLetterPayload(
        topic=topic, partition=None, offset=None, session_id="s", frame_no=1, market_ticker=None, reason="not_json",
        detail="", raw_base64="",
    )  # fmt: skip
    return r.DeadLetter(**_head(f"letter:{topic}"), payload=payload)


def _head(key: str) -> dict[str, Any]:
    return {
        "ts_event": 1_795_000_000_000, "ts_ingest": 1_795_000_000_005, "source": "test", "idempotency_key": key,
        "cause": None,
    }  # fmt: skip


def _append(log: Log, topic: str, partition: int, key: bytes | None, value: bytes | None) -> None:
    rows = log.setdefault((topic, partition), [])
    rows.append(SourceRecord(len(rows), key, value, 1_795_000_000_007))


def archived(log: Log, root: Path, from_offset: int = 0) -> Path:
    """The archive that the sink makes of it."""

    async def write() -> None:
        sink = ParquetSink(root, Rotation(200, 1 << 30, 3_600.0))
        await sink.start()
        for (topic, partition), rows in log.items():
            kept = [row for row in rows if row.offset >= from_offset]
            for at in range(0, len(kept), 90):
                part = kept[at : at + 90]
                await sink.write(SourceBatch(topic, partition, part, part[-1].offset + 1))
        await sink.stop()

    asyncio.run(write())
    return root


def run_replay(world: World, archive: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The command, on this Kafka."""
    command = [sys.executable, "-m", "ops.cli", "replay", "--from-parquet", str(archive), *more]
    environment = os.environ | {"BUS_URL": world.kafka.bus_url, "NO_COLOR": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.engines
@pytest.mark.timeout(180)
def test_an_archive_becomes_the_same_log_and_the_same_books_and_quotes(world: World, tmp_path: Path) -> None:
    """Partition, offset, key and value of every input record; then a worker's quotes and books are those of the fold of
    the original; a second replay onto the same topics is refused."""
    log = source_log(1_500)
    archive = archived(log, tmp_path / "parquet")

    done = run_replay(world, archive)
    assert done.returncode == 0, done.stdout + done.stderr

    for topic in (BOOK_UPDATES, FEED_STATUS, TRADES):
        for partition, rows in world.read(topic.name).items():
            got = [(row.offset, row.key, row.value) for row in rows]
            assert got == [(row.offset, row.key, row.value) for row in log.get((topic.name, partition), [])]
    assert not any(world.ends(DLQ.name).values()), "a record's letter is written again by its agent"

    worker = world.start()
    worker.wait_committed(world.ends(BOOK_UPDATES.name))
    assert worker.stop() == 0, worker.tail()
    assert_right(world)
    assert sum(world.ends(QUOTE_UPDATES.name).values()) > 0

    again = run_replay(world, archive)
    assert again.returncode == 2
    assert "expected empty topics, was market.book_updates (1500 records)" in again.stderr
    assert len(again.stderr.splitlines()) == 1


def test_lost_offsets_within_the_archive_are_refused_or_left_behind(tmp_path: Path) -> None:
    """Books must not be folded over a hole; one at the start harms nothing."""
    log = source_log(400)
    at_start = archived(log, tmp_path / "a", from_offset=20)
    assert {part.first for part in plan(at_start, [BOOK_UPDATES.name], after_holes=False)} == {20}

    (topic, partition), rows = next(iter(log.items()))
    holed = archived({(topic, partition): rows[:30] + rows[50:]}, tmp_path / "b")
    with pytest.raises(UserMistake, match="lacks offsets 30 to 49"):
        plan(holed, [], after_holes=False)
    (part,) = plan(holed, [], after_holes=True)
    assert (part.first, part.records) == (50, len(rows) - 50)
    values = [row.value for row in iter_records(holed, topic, partition, first_offset=part.first)]
    assert values == [row.value for row in rows[50:]]


def test_another_partition_count_places_records_by_their_keys(tmp_path: Path) -> None:
    """Heartbeats tell the archive's count: with the same one nothing moves, with another keys decide."""
    log = source_log(200)
    archive = archived(log, tmp_path)
    parts = plan(archive, [], after_holes=False)
    same, more = Placement.of(archive, parts, PARTITIONS), Placement.of(archive, parts, 7)
    records = list(iter_records(archive, BOOK_UPDATES.name))

    assert [same.partition(BOOK_UPDATES, row) for row in records] == [row.partition for row in records]
    homes = {row.key: more.partition(BOOK_UPDATES, row) for row in records}
    assert all(more.partition(BOOK_UPDATES, row) == homes[row.key] for row in records)
    assert max(homes.values()) >= PARTITIONS
    assert (same.skips(FEED_STATUS), more.skips(FEED_STATUS), more.skips(BOOK_UPDATES)) == (False, True, False)


def test_letters_of_frames_are_input_and_letters_of_records_are_not() -> None:
    """What an agent refused it refuses again; a frame that a producer refused is nowhere else."""
    letters = [ArchivedRecord(0, n, None, b"", dead_letter(t)) for n, t in enumerate((None, BOOK_UPDATES.name))]

    assert [row.offset for row in inputs(DLQ, letters)] == [0]
    assert list(inputs(BOOK_UPDATES, letters)) == letters


@pytest.mark.parametrize(
    ("names", "message"), [(["no.topic"], "--topic: expected one of"), ([TRADES.name], "were none")]
)
def test_wrong_names_are_one_line(tmp_path: Path, names: list[str], message: str) -> None:
    """Topics that do not exist, or are not in the archive."""
    with pytest.raises(UserMistake, match=message):
        plan(tmp_path, names, after_holes=False)
