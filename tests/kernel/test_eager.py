"""A coroutine run to its first wait without a task behaves as if it had been awaited."""

import asyncio

import pytest

from app.eager import Done, step


async def test_a_coroutine_without_a_wait_is_done_at_the_first_step() -> None:
    """Its value comes back at once; nothing was scheduled."""

    async def compute() -> int:
        return 7

    assert step(compute()) == Done(7)


async def test_a_coroutine_that_waits_goes_on_in_the_task_of_whoever_awaits_the_rest() -> None:
    """Futures, bare yields to the loop and nested tasks: as under a plain await, in order."""
    gate, seen = asyncio.Event(), list[str]()

    async def work() -> str:
        seen.append("begun")
        await gate.wait()
        seen.append("through")
        await asyncio.sleep(0)
        return "end"

    rest = step(work())
    assert seen == ["begun"]
    assert not isinstance(rest, Done)
    waiting = asyncio.create_task(rest)
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set()
    assert await waiting == "end"
    assert seen == ["begun", "through"]


async def test_errors_come_out_where_they_would() -> None:
    """At the first step from `step`, later from the rest."""

    async def fail(first: asyncio.Event | None) -> None:
        if first is not None:
            await first.wait()
        raise ValueError("expected here")

    with pytest.raises(ValueError, match="expected here"):
        step(fail(None))
    gate = asyncio.Event()
    rest = step(fail(gate))
    assert not isinstance(rest, Done)
    gate.set()
    with pytest.raises(ValueError, match="expected here"):
        await rest


async def test_a_cancelled_rest_runs_the_coroutines_own_clean_up() -> None:
    """Whoever waits on a full queue while partitions are revoked lets go of it."""
    cleaned = False

    async def wait_for_ever() -> None:
        nonlocal cleaned
        try:
            await asyncio.Event().wait()
        finally:
            cleaned = True

    rest = step(wait_for_ever())
    assert not isinstance(rest, Done)
    waiting = asyncio.create_task(rest)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert cleaned
