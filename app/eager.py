"""Run a coroutine until it has to wait, without a task (what Python 3.12 calls eager execution; we support 3.11)."""

import types
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Done:
    """The coroutine came to its end with this value."""

    value: Any


def step(coroutine: Coroutine[Any, Any, Any]) -> Done | Coroutine[Any, Any, Any]:
    """Its result if it had nothing to wait for, else a coroutine that goes on where it waits. Raises what it raises."""
    try:
        waits_for = coroutine.send(None)
    except StopIteration as end:
        return Done(end.value)
    return _go_on(coroutine, waits_for)


async def _go_on(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> Any:
    return await _pass_on(coroutine, waits_for)


@types.coroutine
def _pass_on(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    # The future that the first step waits for is handed to the task that runs the rest; then as `yield from` would.
    while True:
        thrown: BaseException | None = None
        sent = None
        try:
            sent = yield waits_for
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            thrown = error
        try:
            waits_for = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
        except StopIteration as end:
            return end.value
