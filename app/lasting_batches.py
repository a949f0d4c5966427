"""Batches of an idempotent producer do not grow too old.

aiokafka says of idempotence "we never expire batches, but retry until we succeed" and keeps to it for answers of the
broker, but not for partitions without a leader (`MessageAccumulator.drain_by_nodes`): a batch that is older than the
request time-out fails there at once with NotLeaderForPartitionError, its sequence number spent. A broker that was away
longer than that and just came back shows no leader for a moment, and so ended whoever waited for it.
"""

import math

from aiokafka import AIOKafkaProducer


def keep_batches(producer: AIOKafkaProducer) -> AIOKafkaProducer:
    """The same producer, whose batches wait for a leader as long as it takes. Bound what you give it (`unacked`)."""
    accumulator = producer._message_accumulator
    assert accumulator._txn_manager is not None, "without idempotence a repeated batch is a second one"
    assert isinstance(accumulator._batch_ttl, float | int)
    accumulator._batch_ttl = math.inf
    return producer
