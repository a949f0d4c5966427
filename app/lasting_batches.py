"""Batches of an idempotent producer do not grow too old, and may be the first of their topic.

aiokafka says of idempotence "we never expire batches, but retry until we succeed" and keeps to it for answers of the
broker, but not for partitions without a leader (`MessageAccumulator.drain_by_nodes`): a batch that is older than the
request time-out fails there at once with NotLeaderForPartitionError, its sequence number spent. A broker that was away
longer than that and just came back shows no leader for a moment, and so ended whoever waited for it.

The first batch of a topic waits until a broker has told of the topic, for one request time-out. A broker that is away
for longer looks to aiokafka like a topic that does not exist.
"""

import math

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError


def keep_batches(producer: AIOKafkaProducer) -> AIOKafkaProducer:
    """The same producer, whose batches wait for a broker and a leader as long as it takes. Bound what you give it
    (`unacked`)."""
    accumulator = producer._message_accumulator
    assert accumulator._txn_manager is not None, "without idempotence a repeated batch is a second one"
    assert isinstance(accumulator._batch_ttl, float | int)
    accumulator._batch_ttl = math.inf
    _await_topics(producer)
    return producer


def _await_topics(producer: AIOKafkaProducer) -> None:
    client = producer.client
    wait_once = client._wait_on_metadata

    async def wait(topic: str) -> set[int]:
        """Raises UnknownTopicOrPartitionError where brokers answered before and after a time-out without the topic."""
        known: set[int] | None = client.cluster.partitions_for_topic(topic)
        while known is None:
            answered = await client.force_metadata_update()
            try:
                known = await wait_once(topic)
            except UnknownTopicOrPartitionError:
                if answered and await client.force_metadata_update():
                    raise
        return known

    client._wait_on_metadata = wait
