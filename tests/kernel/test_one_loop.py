"""Faust's consumer as a task of the worker's own loop."""

import asyncio

from mode.threads import ServiceThread

from app.one_loop import LoopWorker


class Unclosable(ServiceThread):  # type: ignore[misc]
    """Its broker is gone when it closes."""

    Worker = LoopWorker
    abstract = False

    async def on_thread_stop(self) -> None:
        raise ConnectionError("broker gone")

    async def _gather_remaining_tasks(self) -> None:
        """Leave the tasks of the test's own loop alone."""


async def test_a_consumer_that_cannot_close_does_not_hold_up_the_end() -> None:
    """Its stop returns, instead of the time-out of a minute that the others of the worker would wait for."""
    loop = asyncio.get_running_loop()
    service = Unclosable(loop=loop, thread_loop=loop)
    await service.start()
    async with asyncio.timeout(30):
        await service.stop()
    assert service._shutdown.is_set()
