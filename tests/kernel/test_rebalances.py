"""Workers that join, leave, die, and come back from a stop: no partition is worked on by two with effect."""

import os
import signal

import pytest
from kernel_input import BookInput
from kernel_world import CHANGELOG, PARTITIONS, SHORT_SESSION, World, assert_right

from schemas.registry import BOOK_UPDATES
from tables.store import MARK_KEY

pytestmark = pytest.mark.engines


def test_second_worker_joins_and_leaves_under_load(world: World) -> None:
    """Twice: once it leaves cleanly, once it is killed; the first one takes over where it stood."""
    feed = BookInput(40, seed=11, faults=True)
    first = world.start(SESSION_TIMEOUT_S="10")  # a fifth of it is how late it hears of a rebalance
    with world.load(feed):
        first.wait_progress()
        for leave in ("stop", "kill"):
            second = world.start(instance="1", **SHORT_SESSION)
            second.wait_owning(PARTITIONS // 2)
            second.wait_progress()
            first.wait_progress()
            if leave == "stop":
                assert second.stop() == 0, second.tail()
            else:
                second.process.kill()
                second.process.wait()
            first.wait_owning(PARTITIONS)
            first.wait_progress()
    first.wait_committed(world.ends(BOOK_UPDATES.name))
    assert first.stop() == 0, first.tail()
    assert_right(world)


def test_zombie_that_wakes_after_its_session_ends_itself_and_changes_nothing(world: World) -> None:
    """Stopped in the middle of its work for longer than the session: another worker owns its partitions by then."""
    feed = BookInput(40, seed=12, faults=True)
    zombie = world.start(**SHORT_SESSION)
    with world.load(feed):
        zombie.wait_progress()
        os.kill(zombie.process.pid, signal.SIGSTOP)
        owner = world.start(instance="1", SESSION_TIMEOUT_S="10")  # it outlives its end by this, in later tests' way
        owner.wait_owning(PARTITIONS)
        owner.wait_progress()
        os.kill(zombie.process.pid, signal.SIGCONT)
        assert zombie.wait_end() == 70, zombie.tail()
        assert "event loop: expected a turn each" in zombie.tail()
        owner.wait_progress()
    owner.wait_committed(world.ends(BOOK_UPDATES.name))
    assert owner.stop() == 0, owner.tail()
    assert_right(world)


def test_word_of_a_foreign_writer_in_the_changelog_does_not_last(world: World) -> None:
    """Old values of all keys are appended, once behind the owner's back and once while nobody owns them."""
    feed = BookInput(40, seed=13)
    world.produce(feed.take(400))
    worker = world.start()
    worker.wait_committed(world.ends(BOOK_UPDATES.name))
    world.produce(_first_values(world), topic=CHANGELOG)
    world.produce(feed.take(200))
    worker.wait_committed(world.ends(BOOK_UPDATES.name))
    assert worker.stop() == 0, worker.tail()
    assert "has a foreign writer" in worker.log.read_text()
    assert_right(world)

    world.produce(_first_values(world), topic=CHANGELOG)
    world.forget_local_state("0")
    world.produce(feed.take(200))
    worker = world.start()
    worker.wait_committed(world.ends(BOOK_UPDATES.name))
    assert worker.stop() == 0, worker.tail()
    assert_right(world)


def _first_values(world: World) -> list[tuple[bytes, bytes]]:
    first: dict[bytes, bytes] = {}
    for rows in world.read(CHANGELOG).values():
        for row in rows:
            if row.value is not None and row.key != MARK_KEY:
                first.setdefault(row.key, row.value)
    return list(first.items())
