"""Proof 2 in its long form: kill -9 of the state worker at every step of a checkpoint and at any other time.

CHAOS_KILLS (200) kills, CHAOS_SEED (1) for the choices; every 20 kills a worker runs to the end and all is compared.
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel_input import BookInput
from kernel_world import CHECKPOINT_STEPS, WorkerProcess, World, assert_right

from ops.engines.kafka import KafkaEngine
from schemas.registry import BOOK_UPDATES

pytestmark = [pytest.mark.engines, pytest.mark.slow, pytest.mark.timeout(7_200)]

KILLS = int(os.environ.get("CHAOS_KILLS", "200"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
#: A judgement reads all topics from their start and needs one clean run: about 8 s.
JUDGE_EVERY = 20


@pytest.fixture
def world(own_kafka: KafkaEngine, tmp_path: Path) -> Iterator[World]:
    """A Kafka of this test's own with the catalogue's topics."""
    world = World(own_kafka, tmp_path / "world")
    yield world
    world.stop_all()


def test_many_kills_lose_and_double_nothing(world: World) -> None:
    """At random steps and times, with and without local state, over inputs with poison, gaps and impossible deltas."""
    choose = random.Random(SEED)
    counts: Counter[str] = Counter()
    done = 0
    while done < KILLS:
        feed = BookInput(choose.choice([5, 40, 200]), seed=choose.randrange(10**9), faults=True)
        for _ in range(min(JUDGE_EVERY, KILLS - done)):
            counts[_one_kill(world, feed, choose)] += 1
            done += 1
            if choose.random() < 0.3:
                world.forget_local_state("0")
                counts["local state removed"] += 1
        world.produce(feed.take(300))
        worker = world.start()
        worker.wait_committed(world.ends(BOOK_UPDATES.name))
        assert worker.stop() == 0, worker.tail()
        counts["outputs repeated"] = assert_right(world)
        counts["judgements"] += 1
        print(f"seed {SEED}: {done} kills, all right so far: {dict(sorted(counts.items()))}", flush=True)
    records = sum(world.ends(BOOK_UPDATES.name).values())
    print(f"seed {SEED}: {done} kills over {records} records")
    assert counts["outputs repeated"] > 0, "no output was repeated: the kills did not hit what they should"


def _one_kill(world: World, feed: BookInput, choose: random.Random) -> str:
    """Start a worker under load and have it killed; where it was killed."""
    load = threading.Thread(target=world.produce, args=(feed.take(choose.randrange(200, 3_000)),))
    load.start()
    try:
        if choose.random() < 0.6:
            step = choose.choice(CHECKPOINT_STEPS)
            worker = world.start(crash_at=f"{step}:{choose.randrange(1, 5)}")
            worker.wait_killed(lambda: world.produce(feed.take(50)) if not load.is_alive() else None)
            return step
        worker = world.start()
        return _kill_at_any_time(worker, choose)
    finally:
        load.join()


def _kill_at_any_time(worker: WorkerProcess, choose: random.Random) -> str:
    if choose.random() < 0.3:
        time.sleep(choose.uniform(0, 3))
        where = "while it starts"
    else:
        worker.wait_answering()
        time.sleep(choose.uniform(0, 1.5))
        where = "while it works"
    worker.process.kill()
    worker.process.wait()
    return where
