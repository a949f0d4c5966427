"""kill -9 of workers that act by the clock, on a real broker: what they said is what the log says, to the byte."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_world import TICK_STEPS, ToyWorld, assert_replayable

from ops.engines.kafka import KafkaEngine

pytestmark = pytest.mark.engines


@pytest.fixture
def toys(own_kafka: KafkaEngine, tmp_path: Path) -> Iterator[ToyWorld]:
    """A broker of its own: workers join groups there."""
    world = ToyWorld(own_kafka, tmp_path / "world")
    yield world
    world.stop_all()


def finish(world: ToyWorld, **env: Any) -> None:
    """A last worker computes what waits, ticks some more, and stops cleanly."""
    worker = world.start_toys(**env)
    world.wait_told(40, worker)
    assert worker.stop() == 0, worker.tail()


def test_kill_at_every_step_of_a_tick_leaves_one_result_per_tick(toys: ToyWorld) -> None:
    """With the local state kept or not; `tests/chaos` has the long form."""
    for turn, step in enumerate((*TICK_STEPS, "checkpoint.encoded", "checkpoint.changelog_acked")):
        toys.feed(60)
        toys.start_toys(crash_at=f"{step}:{1 if 'epoch' in step else 7 + turn}").wait_killed()
        if turn % 2:
            toys.forget_local_state("0")
    toys.feed(10)
    finish(toys)
    ticks, repeats = assert_replayable(toys)
    assert ticks > 20
    assert repeats > 0, "no output was repeated: the kills did not hit what they should"


def test_worker_that_joins_and_one_that_is_killed_leave_one_result_per_tick(toys: ToyWorld) -> None:
    """Partitions move in the midst of ticks; the desk's one partition may move too."""
    first = toys.start_toys(instance="0", SESSION_TIMEOUT_S="6")
    toys.feed(100)
    toys.wait_told(40, first)
    second = toys.start_toys(instance="1", SESSION_TIMEOUT_S="6")
    toys.feed(100)
    toys.wait_told(80, second)
    first.process.kill()
    first.process.wait()
    toys.feed(100)
    toys.wait_told(80, second)
    assert second.stop() == 0, second.tail()
    finish(toys, instance="2", SESSION_TIMEOUT_S="6")
    assert_replayable(toys)


def test_worker_that_was_stopped_while_another_took_over_says_nothing_more(toys: ToyWorld) -> None:
    """A zombie: SIGSTOP beyond its session, then SIGCONT. What it would tick is void."""
    import signal

    zombie = toys.start_toys(instance="0", SESSION_TIMEOUT_S="6")
    toys.feed(100)
    toys.wait_told(40, zombie)
    zombie.process.send_signal(signal.SIGSTOP)
    heir = toys.start_toys(instance="1", SESSION_TIMEOUT_S="6")
    toys.wait_told(80, heir)
    zombie.process.send_signal(signal.SIGCONT)
    assert zombie.wait_end() != 0, "a worker that lost its partitions in its sleep must end"
    toys.feed(50)
    toys.wait_told(40, heir)
    assert heir.stop() == 0, heir.tail()
    finish(toys, instance="2", SESSION_TIMEOUT_S="6")
    assert_replayable(toys)
