"""kill -9 of the state worker: between every two steps of a checkpoint, and while the broker stands still."""

import time

import pytest
from kernel_input import BookInput
from kernel_world import CHECKPOINT_STEPS, World, assert_right

from schemas.registry import BOOK_UPDATES

pytestmark = pytest.mark.engines


def test_kill_between_every_two_steps_of_a_checkpoint_loses_and_doubles_nothing(world: World) -> None:
    """Each step once, with the local state kept or not; the long form is in tests/chaos."""
    feed = BookInput(40, seed=1, faults=True)
    for turn, step in enumerate(CHECKPOINT_STEPS):
        world.produce(feed.take(1_200))
        world.start(crash_at=f"{step}:{1 + turn % 3}").wait_killed()
        if turn % 2:
            world.forget_local_state("0")
    world.produce(feed.take(300))
    worker = world.start()
    worker.wait_committed(world.ends(BOOK_UPDATES.name))
    assert worker.stop() == 0, worker.tail()

    repeated = assert_right(world)
    assert repeated > 0, "no output was repeated: the kills did not hit what they should"


@pytest.mark.parametrize("stopped_s", [0.2, 1.0, pytest.param(30.0, marks=pytest.mark.slow)])
def test_broker_stops_during_checkpoints_and_then_the_worker_is_killed(world: World, stopped_s: float) -> None:
    """Requests are on their way and unanswered when the worker dies: the broker may or may not have taken them."""
    feed = BookInput(20, seed=int(stopped_s * 10), faults=True)
    worker = world.start()
    with world.load(feed):
        worker.wait_progress()
        world.kafka.pause()
        try:
            # Not a wait for something: the length of the stop is what is tried.
            time.sleep(stopped_s)
            worker.process.kill()
            worker.process.wait()
        finally:
            world.kafka.resume()
        worker = world.start()
        worker.wait_progress()
    worker.wait_committed(world.ends(BOOK_UPDATES.name))
    assert worker.stop() == 0, worker.tail()
    assert_right(world)


def test_restart_after_a_kill_works_again_without_waiting_for_the_session(world: World) -> None:
    """Static membership: the time to the first new commit is far below the session time-out, here 60 s."""
    feed = BookInput(20, seed=77)
    session_s = 60
    worker = world.start(SESSION_TIMEOUT_S=str(session_s))
    with world.load(feed):
        worker.wait_progress()
        worker.process.kill()
        worker.process.wait()
        killed_s = time.monotonic()
        worker = world.start(SESSION_TIMEOUT_S=str(session_s))
        worker.wait_progress()
        waited_s = time.monotonic() - killed_s
    worker.wait_committed(world.ends(BOOK_UPDATES.name))
    assert worker.stop() == 0, worker.tail()
    assert_right(world)
    assert waited_s < session_s / 2, f"processing again after {waited_s:.1f} s with a session of {session_s} s"


def test_end_is_not_waited_for_when_the_broker_does_not_answer(world: World) -> None:
    """SIGTERM while the broker stands still: the worker gives up after COMMIT_STALL_S, and the next one replays."""
    feed = BookInput(20, seed=78)
    worker = world.start(COMMIT_STALL_S="2")
    with world.load(feed):
        worker.wait_progress()
        world.kafka.pause()
        try:
            worker.process.terminate()
            status = worker.wait_end()
        finally:
            world.kafka.resume()
    # 0: everything taken was committed before the broker stopped; then there is nothing to wait for.
    assert status in (0, 70), worker.tail()
    assert status == 0 or "expected all batches to be done within 2 s" in worker.tail()
    worker = world.start()
    worker.wait_committed(world.ends(BOOK_UPDATES.name))
    assert worker.stop() == 0, worker.tail()
    assert_right(world)
