"""A Kafka consumer without a group, closed whatever happens: cancelled while it starts, it would leave a connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer

from app.bus import BusConfig

START_S_MAX = 5.0  # how long a stop waits for a start that is under way
FETCH_WAIT_MS = 100


@asynccontextmanager
async def topic_reader(bus: BusConfig) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer; assign and seek it yourself. Raises KafkaError where no broker answers."""
    consumer = AIOKafkaConsumer(**bus, enable_auto_commit=False, fetch_max_wait_ms=FETCH_WAIT_MS)
    starting = asyncio.ensure_future(consumer.start())
    try:
        await asyncio.shield(starting)
        yield consumer
    finally:
        await asyncio.wait({starting}, timeout=START_S_MAX)
        if starting.done() and not starting.cancelled():
            starting.exception()  # seen by whoever awaited it, or of no more interest
        await consumer.stop()
