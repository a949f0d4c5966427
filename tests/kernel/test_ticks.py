"""Ticks against a model: whatever arrives when, whoever is killed, the log alone says what a tick's result is."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tick_desk import SOURCES, TickDesk, model

from domain.errors import Fatal
from schemas.registry import MARKET_TICKS
from tables.tick_log import SharedTickLog
from tables.ticks import Pace, Ticks

STEPS = st.one_of(
    st.tuples(st.just("produce"), st.sampled_from(SOURCES), st.integers(1, 9)),
    st.tuples(st.just("take"), st.sampled_from(SOURCES), st.integers(1, 4)),
    st.tuples(st.just("tick"), st.just(""), st.integers(1, 3)),
    st.tuples(st.just("checkpoint"), st.just(""), st.just(0)),
    st.tuples(st.just("kill"), st.just(""), st.just(0)),
    st.tuples(st.just("zombie_ticks"), st.just(""), st.just(1)),
)


async def play(desk: TickDesk, steps: list[tuple[str, str, int]]) -> None:
    """Play the steps; a kill is a take-over by an owner that has what the last checkpoint wrote."""
    owner = await desk.take_over()
    for what, topic, number in steps:
        if what == "produce":
            desk.produce(topic, number)
        elif what == "take":
            owner.take(topic, number)
        elif what == "tick":
            desk.now_ms += number
            await owner.tick()
        elif what == "checkpoint":
            await owner.checkpoint()
        elif what == "kill":
            owner = await desk.take_over()
        elif desk.zombies and not desk.zombies[-1].ticks.pending:
            desk.now_ms += number
            with pytest.raises(Fatal, match="another worker ticks here"):
                await desk.zombies[-1].tick()
            desk.zombies.pop()
    await desk.catch_up()


@given(st.lists(STEPS, max_size=40))
def test_results_are_those_of_the_log_whatever_came_when_and_whoever_was_killed(steps: list[Any]) -> None:
    """Every valid tick has one result under its key, the model's, to the byte however often it was computed."""
    desk = TickDesk()
    asyncio.run(play(desk, steps))
    told = desk.told()
    assert {key: len(results) for key, results in told.items() if len(results) != 1} == {}, "two results under one key"
    assert {key: json.loads(next(iter(r)))["sums"] for key, r in told.items()} == model(desk.ticks.rows, desk.logs)


async def test_tick_of_a_zombie_behind_the_new_epoch_is_void_and_ends_it() -> None:
    """It learns from the log before it publishes: what it would have said is nobody's."""
    desk = TickDesk()
    first = await desk.take_over()
    desk.produce("left", 5)
    await desk.take_over()
    desk.now_ms = 7
    with pytest.raises(Fatal, match="toy-0: another worker ticks here"):
        await first.tick()
    await desk.catch_up()
    assert desk.told() == {}
    assert desk.owner is not None
    assert desk.owner.ticks.void_total == 1


async def test_tick_written_before_a_kill_is_computed_by_the_next_owner() -> None:
    """Folded up to its cut exactly: what came after it is not in it."""
    desk = TickDesk()
    owner = await desk.take_over()
    for value in (1, 2, 4):
        desk.produce("left", value)
    owner.take("left", 2)
    desk.now_ms = 5
    publish = owner._publish
    owner._publish = lambda outputs: None  # type: ignore[method-assign] - killed between acknowledgement and output
    await owner.tick()
    owner._publish = publish  # type: ignore[method-assign]
    await desk.catch_up()
    assert json.loads(desk.published[0])["sums"] == {"left": 3, "right": 0}


async def test_thousands_of_pending_ticks_are_computed_in_order_before_a_new_one_is_made() -> None:
    """A long time without a checkpoint: the log has them all."""
    desk = TickDesk()
    owner = await desk.take_over()
    for n in range(3_000):
        desk.produce(SOURCES[n % 2], n)
        owner.take(SOURCES[n % 2], 1)
        desk.now_ms += 1
        await owner.tick()
    first, desk.published = desk.published, []
    desk.owner = None
    await desk.catch_up()
    assert desk.published == first
    assert len(first) == 3_000


async def test_foreign_records_between_ours_are_read_before_an_append_counts() -> None:
    """Another processor's ticks stand there too, and are nobody's epoch."""
    desk = TickDesk()
    owner = await desk.take_over()
    other = SharedTickLog(MARKET_TICKS, 0, desk.ticks.append, desk.ticks.read)
    epoch = desk.ticks.rows[0].value.replace(b'"toy"', b'"other"')
    await other.append("other", epoch)
    desk.now_ms = 3
    await owner.tick()
    assert len(desk.published) == 1


async def test_record_of_the_ticks_topic_that_cannot_be_read_is_no_tick() -> None:
    """Somebody wrote it by hand: it is void, and ends nobody."""
    desk = TickDesk()
    owner = await desk.take_over()
    await desk.ticks.append(b"0", b"nonsense")
    desk.now_ms = 3
    await owner.tick()
    await desk.catch_up()
    assert len(desk.told()) == 1


def grid(now_ms: int, asof_ms: int, pace: Pace, wanted: bool = False) -> int | None:
    """The slot that is due."""
    ticks = Ticks("toy", "t", SimpleNamespace(), pace, lambda *_: {}, lambda: now_ms)  # type: ignore[arg-type]
    if wanted:
        ticks.want()
    return ticks._slot(SimpleNamespace(asof_ms=asof_ms))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now_ms", "asof_ms", "pace", "wanted", "due"),
    [
        (12_345, 0, Pace(1_000), False, 12_000),
        (12_345, 12_000, Pace(1_000), False, None),
        (15_999, 12_000, Pace(1_000), False, 15_000),  # slots missed meanwhile stay missing
        (11_500, 12_000, Pace(1_000), False, None),  # the clock was set back: times rise
        (12_345, 12_000, Pace(1_000), True, 12_345),
        (12_345, 12_300, Pace(None, 50), True, None),
        (12_350, 12_300, Pace(None, 50), True, 12_350),
        (12_345, 0, Pace(None), False, None),
    ],
)
def test_ticks_lie_on_the_grid_or_where_a_fold_wants_them(
    now_ms: int, asof_ms: int, pace: Pace, wanted: bool, due: int | None
) -> None:
    """Never twice, never back, never closer than the gap."""
    assert grid(now_ms, asof_ms, pace, wanted) == due
