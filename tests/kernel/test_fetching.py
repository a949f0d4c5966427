"""A busy partition is read to its end although another one has nothing."""

import asyncio
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.consumer import consumer as aiokafka_consumer
from aiokafka.consumer import fetcher as aiokafka_fetcher

from app.fetching import fetch_in_sessions
from ops.engines.kafka import KafkaEngine

pytestmark = pytest.mark.engines
RECORDS = 60
#: Longer than the test may take: with one such wait in it, the test fails.
EMPTY_WAIT_MS = 300_000
#: Past aiokafka's own back-off (0.1 s), after which it asks for the other partitions.
AFTER_BACKOFF_S = 0.2


@pytest.mark.timeout(120)
async def test_a_fold_that_takes_its_time_does_not_wait_for_an_empty_partition(
    kafka: KafkaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small fetches, a pause after each: the request that goes out in the pause holds the busy partition up."""
    monkeypatch.setattr(aiokafka_consumer, "Fetcher", aiokafka_fetcher.Fetcher)
    fetch_in_sessions()
    busy, empty = await _topic(kafka.bus_url)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bus_url, enable_auto_commit=False, auto_offset_reset="earliest",
        max_partition_fetch_bytes=2_000, fetch_max_wait_ms=EMPTY_WAIT_MS, request_timeout_ms=2 * EMPTY_WAIT_MS,
    )  # fmt: skip
    await consumer.start()
    try:
        consumer.assign([busy, empty])
        seen = 0
        while seen < RECORDS:
            seen += len((await consumer.getmany(busy, timeout_ms=1_000, max_records=1)).get(busy, []))
            if seen % 20 == 0:
                await asyncio.sleep(AFTER_BACKOFF_S)
        assert seen == RECORDS
    finally:
        await consumer.stop()


async def _topic(bus_url: str) -> tuple[TopicPartition, TopicPartition]:
    """A topic with RECORDS records in partition 0, in batches of one, and none in partition 1."""
    name = f"fetching-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bus_url)
    await admin.start()
    await admin.create_topics([NewTopic(name, 2, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bus_url, linger_ms=0)
    await producer.start()
    try:
        for _ in range(RECORDS):
            await producer.send_and_wait(name, b"x" * 500, partition=0)
    finally:
        await producer.stop()
    return TopicPartition(name, 0), TopicPartition(name, 1)
