"""What a producer asks of Kafka before its first record. Its absence is waited out, whatever was asked."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from domain.errors import UserMistake
from producers.publisher import Publisher
from producers.topic_reader import START_S_MAX
from schemas.registry import Topic

log = logging.getLogger(__name__)

KAFKA_RETRY_S = 1.0


async def once_kafka_answers(
    ask: Callable[[], Awaitable[None]], stop: asyncio.Event, tell: Callable[[str], None]
) -> bool:
    """Ask until Kafka answers, and `tell` why it did not. False when told to stop meanwhile.

    Raises:
        UserMistake: what `ask` raises of it.
    """
    while not stop.is_set():
        try:
            return await _unless_stopped(ask, stop)
        except (KafkaError, OSError) as wrong:
            problem = f"Kafka not reachable: {type(wrong).__name__}"
            tell(problem)
            log.warning("%s", problem)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), KAFKA_RETRY_S)
    return False


async def _unless_stopped(ask: Callable[[], Awaitable[None]], stop: asyncio.Event) -> bool:
    asking, stopped = asyncio.ensure_future(ask()), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((asking, stopped), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((asking,), timeout=START_S_MAX)  # cancelled at once, a start would leave its connection
        if asking.done():
            asking.result()
        return asking.done()
    finally:
        for task in (asking, stopped):
            task.cancel()
        await asyncio.gather(asking, stopped, return_exceptions=True)


async def check_topics(publisher: Publisher, topics: list[Topic], partitions: int) -> None:
    """Raises UserMistake: a topic is missing, or has another number of partitions than TOPIC_PARTITIONS."""
    try:
        counts = await publisher.partition_counts(topics)
    except (UnknownTopicOrPartitionError, TopicAuthorizationFailedError) as wrong:
        raise UserMistake(f"topics are missing, run `kalshi-streams topics apply` ({wrong!r})"[:200]) from None
    for topic, count in counts.items():
        if count != partitions:
            raise UserMistake(f"TOPIC_PARTITIONS: expected {partitions} partitions in {topic}, was {count}")
