"""Faust's consumer on the worker's own event loop, instead of in a thread with a loop of its own.

Each fetch passed through the two loops four times, and each time waited for the interpreter lock: nearly half of the
time from the broker to the fold (docs/decisions/0014-one-event-loop.md). What the thread was for, heartbeats while a
synchronous agent blocks the loop, `Kernel.refuse_after_stall` answers by ending the process: such a worker must not go
on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from faust.transport.drivers import aiokafka as driver
from mode.threads import WorkerThread
from mode.utils.futures import maybe_async

log = logging.getLogger(__name__)


class LoopWorker(WorkerThread):
    """Runs the service as a task of the running loop. Never starts the thread that it is."""

    def start(self) -> None:
        self._serving = asyncio.get_running_loop().create_task(self.service._serve(), name="consumer")
        self._serving.add_done_callback(self._ended)

    def _ended(self, serving: asyncio.Task[None]) -> None:
        """However it ended: `ServiceThread.stop` would wait a minute for a service that could not close its sockets."""
        if not serving.cancelled() and (wrong := serving.exception()) is not None:
            log.error("the consumer ended with %r", wrong)
        self.service.set_shutdown()

    def stop(self) -> None:
        """`ServiceThread.stop` has waited for the end of the service."""


class LoopConsumer(driver.AIOKafkaConsumerThread):
    """The "consumer thread" of a BatchConsumer, without a thread. Calls between the two are plain awaits."""

    Worker = LoopWorker

    def __init__(self, consumer: Any, *, loop: asyncio.AbstractEventLoop, **kwargs: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, **kwargs)

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust has no setting for either.
        consumer._fetch_min_bytes, consumer._fetch_max_wait_ms = transport.pace.min_bytes, transport.pace.wait_ms
        return consumer

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        return await maybe_async(fun(*args, **kwargs))

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        await self.consumer.on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        await self.consumer.on_partitions_assigned(assigned, generation_id)

    async def _gather_remaining_tasks(self) -> None:
        # Ends every task of the thread's loop: here those of the whole worker.
        pass
