"""Many kills of a worker that acts by the clock: at every step of epoch, tick and checkpoint, and at any time.

CHAOS_KILLS (200) kills, CHAOS_SEED (1) for the choices; every 25 kills all that was said is compared with the logs.
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel_world import CHECKPOINT_STEPS
from toy_world import TICK_STEPS, ToyWorld, assert_replayable

from ops.engines.kafka import KafkaEngine

pytestmark = [pytest.mark.slow, pytest.mark.engines]

KILLS = int(os.environ.get("CHAOS_KILLS", "200"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
STEPS = (*TICK_STEPS, *CHECKPOINT_STEPS)


@pytest.fixture
def toys(own_kafka: KafkaEngine, tmp_path: Path) -> Iterator[ToyWorld]:
    """A broker of its own."""
    world = ToyWorld(own_kafka, tmp_path / "world")
    yield world
    world.stop_all()


@pytest.mark.timeout(60 + 10 * KILLS)
def test_no_tick_has_two_results_or_none_over_many_kills(toys: ToyWorld) -> None:
    """Three of four at a named step, the rest at any time; the local state is lost now and then."""
    dice, steps = random.Random(SEED), 0
    for kill in range(1, KILLS + 1):
        toys.feed(dice.randrange(5, 60))
        if dice.random() < 0.75:
            step = STEPS[kill % len(STEPS)]
            first = 1 if "epoch" in step else dice.randrange(1, 12)
            toys.start_toys(crash_at=f"{step}:{first}").wait_killed()
            steps += 1
        else:
            worker = toys.start_toys()
            toys.wait_told(8, worker)
            time.sleep(dice.uniform(0, 0.3))  # not a wait for something: when it is killed is what is tried
            worker.process.kill()
            worker.process.wait()
        if dice.random() < 0.3:
            toys.forget_local_state("0")
        if kill % 25 == 0 or kill == KILLS:
            worker = toys.start_toys()
            toys.wait_told(40, worker)
            assert worker.stop() == 0, worker.tail()
            ticks, repeats = assert_replayable(toys)
            print(f"{kill} kills, {steps} at steps: {ticks} ticks, {repeats} outputs came twice, none differed")
