"""Damaged local state, logs deleted or made anew: a working state, or one line that says what to do."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel_input import BookInput
from kernel_judge import judge, table_of
from kernel_world import CHANGELOG, DEADLINE_S, PARTITIONS, WorkerProcess, World, assert_right

from ops.engines.kafka import KafkaEngine
from schemas.registry import BOOK_UPDATES, QUOTE_UPDATES

pytestmark = pytest.mark.engines
SOURCE = BOOK_UPDATES.name


@pytest.fixture
def own_world(own_kafka: KafkaEngine, tmp_path: Path) -> Iterator[World]:
    """A Kafka of this test's own: what is deleted here would make the shared one wrong."""
    world = World(own_kafka, tmp_path / "world")
    yield world
    world.stop_all()


def run_to_end(world: World) -> WorkerProcess:
    """A worker takes all input and stops cleanly."""
    worker = world.start()
    worker.wait_committed(world.ends(SOURCE))
    assert worker.stop() == 0, worker.tail()
    return worker


def test_damaged_local_store_is_rebuilt_from_the_changelog(world: World) -> None:
    """A file of RocksDB is gone, another one is garbage: the log says so, and everything is right."""
    feed = BookInput(20, seed=21)
    world.produce(feed.take(500))
    worker = run_to_end(world)
    stores = sorted(worker.datadir.rglob("order_books-*.rocksdb"))
    assert len(stores) == PARTITIONS
    (stores[0] / "CURRENT").unlink()
    next(stores[1].glob("MANIFEST-*")).write_bytes(b"garbage")
    world.produce(feed.take(200))
    worker = run_to_end(world)
    text = worker.log.read_text()
    assert text.count("the local store was damaged") >= 2, worker.tail()
    assert_right(world)


def test_hole_makes_books_stale_until_their_snapshot(own_world: World) -> None:
    """Retention deleted records before they were read: every book of the partition is stale, and the quotes say so."""
    world, feed = own_world, BookInput(20, seed=22)
    world.produce(feed.take(400))
    run_to_end(world)
    world.produce(feed.take(400))
    ends = world.ends(SOURCE)
    world.delete_records(SOURCE, ends)
    worker = world.start()
    worker.wait_owning(PARTITIONS)
    until = time.monotonic() + DEADLINE_S
    while {status for status, _ in _last_quotes(world).values()} != {"stale"}:
        assert time.monotonic() < until, worker.tail()
        time.sleep(0.2)
    for _, cause in _last_quotes(world).values():
        assert cause["offset"] == ends[cause["partition"]] - 1
    assert "were deleted before they were read" in worker.log.read_text()
    world.produce([feed._snapshot(ticker) for ticker in feed._tickers])
    worker.wait_committed(world.ends(SOURCE))
    assert {status for status, _ in _last_quotes(world).values()} == {"live"}
    assert worker.stop() == 0, worker.tail()


def _last_quotes(world: World) -> dict[str, tuple[str, dict[str, int]]]:
    quotes = [json.loads(row.value) for rows in world.read(QUOTE_UPDATES.name).values() for row in rows]
    return {quote["payload"]["market_ticker"]: (quote["payload"]["status"], quote["cause"]) for quote in quotes}


def test_changelog_made_anew_is_rebuilt_from_the_source(own_world: World) -> None:
    """The local state is ahead of the new changelog and the commit is ahead of the state: both are given up, and the
    input is replayed from its start."""
    world, feed = own_world, BookInput(20, seed=23, faults=True)
    world.produce(feed.take(600))
    run_to_end(world)
    world.delete_topic(CHANGELOG)
    world.apply_topics()
    world.produce(feed.take(200))
    ended = []
    while len(ended) < PARTITIONS + 1:
        worker = world.start()
        try:
            worker.wait_committed(world.ends(SOURCE))
            break
        except AssertionError:
            ended.append(worker.process.returncode)
            assert worker.process.returncode == 70, worker.tail()
            assert "the commit was ahead of table order_books" in worker.tail(), worker.tail()
    assert ended, "expected the worker to notice"
    assert worker.stop() == 0, worker.tail()
    assert "the local store is ahead of its changelog" in worker.log.read_text()
    expected = judge(world.read(SOURCE))
    assert table_of(world.read(CHANGELOG)) == expected.table


def test_source_made_anew_ends_with_one_line_that_says_what_to_do(own_world: World) -> None:
    """The state is longer than its source: no replay can mend that, and status 2 keeps the supervisor from trying."""
    world, feed = own_world, BookInput(20, seed=24)
    world.produce(feed.take(400))
    run_to_end(world)
    world.delete_topic(SOURCE)
    world.apply_topics()
    world.produce(feed.take(20))
    worker = world.start()
    assert worker.wait_end() == 2, worker.tail()
    (line,) = [line for line in worker.tail().splitlines() if "not the one this state was built from" in line]
    assert "start with a new --data-dir, or rebuild by `replay --from-parquet`" in line
