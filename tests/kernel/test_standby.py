"""A standby takes over what another worker owned by reading the tail of the changelog, not the whole of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel_world import DEADLINE_S, PARTITIONS, SHORT_SESSION, BookInput, World, assert_right

from ops.engines.kafka import KafkaEngine
from schemas.registry import BOOK_UPDATES

pytestmark = [pytest.mark.engines, pytest.mark.timeout(240)]


@pytest.fixture
def world(own_kafka: KafkaEngine, tmp_path: Path) -> Iterator[World]:
    """A log without foreign writers: with one in it, a store keeps to what must be read again."""
    world = World(own_kafka, tmp_path / "world")
    yield world
    world.stop_all()


def test_take_over_by_a_standby_reads_only_the_tail(world: World) -> None:
    """Two workers; the one with a replica follows the other's partitions; the other is killed."""
    feed = BookInput(60, seed=77)
    world.produce(feed.take(3_000))
    first = world.start(instance="first", **SHORT_SESSION)
    second = world.start(instance="second", TABLE_STANDBY_REPLICAS="1")
    second.wait_owning(PARTITIONS // 2)
    first.wait_owning(PARTITIONS // 2)
    second._wait(lambda: _followed(second) == PARTITIONS // 2, DEADLINE_S)

    first.process.kill()
    first.process.wait()
    world.produce(feed.take(200))
    second.wait_owning(PARTITIONS)
    second.wait_committed(world.ends(BOOK_UPDATES.name))

    total = sum(world.ends("kalshi-streams.order_books-changelog").values())
    read = sum(job["records"] for name, job in second.get("/readyz")["restored"].items() if "order_books" in name)
    assert read < total / 4, f"the take-over read {read} of {total} changelog records"
    assert second.stop() == 0
    assert_right(world)


def _followed(worker: object) -> int:
    """Partitions of order_books that it follows and is at the end of."""
    answer = worker.get("/readyz") or {}  # type: ignore[attr-defined]
    return len([name for name, lag in answer.get("standby", {}).items() if "order_books" in name and lag == 0])
