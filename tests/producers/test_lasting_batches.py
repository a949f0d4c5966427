"""A batch that waits for a leader is kept: aiokafka alone gives it up when it is older than the request time-out."""

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import NotLeaderForPartitionError, UnknownTopicOrPartitionError

from app.bus import aiokafka_options
from app.lasting_batches import keep_batches
from app.settings import load_settings
from ops.engines.kafka import KafkaEngine
from ops.topics import apply_topics
from producers import publisher
from schemas.registry import DLQ, TRADES, Topic

WHERE = TopicPartition("market.book_updates", 0)


async def _drained_without_leader(producer: AIOKafkaProducer) -> BaseException | None:
    """What a batch got that is older than the time-out while no leader is known, as after a long outage."""
    accumulator = producer._message_accumulator
    accumulator._txn_manager.set_pid_and_epoch(1, 0)
    builder = accumulator.create_builder()
    builder.append(timestamp=1, key=b"k", value=b"v")
    acknowledged = await accumulator.add_batch(builder, WHERE, 1.0)
    accumulator._batches[WHERE][0]._ctime -= 3_600
    accumulator.drain_by_nodes(ignore_nodes=set())
    waits = accumulator._batches[WHERE][0].future if WHERE in accumulator._batches else None
    if waits is not None:
        waits.cancel()
        acknowledged.cancel()
        return None
    with pytest.raises(NotLeaderForPartitionError) as given_up:
        await acknowledged
    return given_up.value


async def test_upstream_gives_up_an_old_batch_without_a_leader() -> None:
    """The reason for `keep_batches`; when this fails, aiokafka keeps its word and the function can go."""
    producer = AIOKafkaProducer(enable_idempotence=True, acks="all")
    try:
        assert isinstance(await _drained_without_leader(producer), NotLeaderForPartitionError)
    finally:
        producer._closed = True  # it was never started: nothing else to close
        await producer.client.close()


async def test_kept_batch_waits_for_a_leader_however_old_it_is() -> None:
    """Nothing is failed, nothing is taken out of the queue."""
    producer = keep_batches(AIOKafkaProducer(enable_idempotence=True, acks="all"))
    try:
        assert await _drained_without_leader(producer) is None
    finally:
        producer._closed = True  # it was never started: nothing else to close
        await producer.client.close()


@pytest.mark.parametrize(
    ("answers", "exists"),
    [([False] * 4, True), ([True, False, False], True), ([False, True], True), ([True, True, True], False)],
)
async def test_a_broker_that_is_away_is_not_a_topic_that_is_missing(
    answers: list[bool], exists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only brokers that answer before and after the time-out, without the topic, say that there is none."""
    producer = keep_batches(AIOKafkaProducer(enable_idempotence=True, acks="all", request_timeout_ms=0))
    client, left = producer.client, list(answers)
    client._topics.add("t")

    async def update() -> bool:
        """Whether a broker answered; once `answers` are through one tells of the topic."""
        if not left:
            monkeypatch.setattr(client.cluster, "partitions_for_topic", lambda _: {0})
        return left.pop(0) if left else True

    monkeypatch.setattr(client, "force_metadata_update", update)
    try:
        if exists:
            assert await client._wait_on_metadata("t") == {0}
        else:
            with pytest.raises(UnknownTopicOrPartitionError):
                await client._wait_on_metadata("t")
    finally:
        producer._closed = True  # it was never started: nothing else to close
        await client.close()


@pytest.mark.engines
@pytest.mark.timeout(240)
async def test_broker_away_for_longer_than_the_time_out_gets_everything_once_and_in_order(
    empty_kafka: KafkaEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with records under way, started again after several request time-outs: nothing failed, nothing doubled."""
    monkeypatch.setattr(publisher, "REQUEST_TIMEOUT_MS", 1_000)
    settings = load_settings(_env_file=None, bus_url=empty_kafka.bus_url, data_dir=tmp_path)
    await apply_topics(aiokafka_options(settings), settings)
    sender = publisher.Publisher(aiokafka_options(settings), settings.topic_partitions, 100_000)
    await sender.start()
    try:
        wanted = [b"%d" % n for n in range(3_000)]
        for value in wanted[:1_000]:
            sender.add_to(TRADES.name, 0, b"k", value, time.time_ns() // 1_000_000)
        await asyncio.to_thread(empty_kafka.kill9)
        for value in wanted[1_000:2_000]:
            sender.add_to(TRADES.name, 0, b"k", value, time.time_ns() // 1_000_000)
        sender.add_to(DLQ.name, 0, b"k", b"first of its topic", time.time_ns() // 1_000_000)
        assert not await sender.flush(4.0)
        await asyncio.to_thread(empty_kafka.start)
        for value in wanted[2_000:]:
            sender.add_to(TRADES.name, 0, b"k", value, time.time_ns() // 1_000_000)
        assert await sender.flush(90.0), sender.failure()
    finally:
        await sender.stop()

    assert await _values(empty_kafka, TRADES) == wanted
    assert await _values(empty_kafka, DLQ) == [b"first of its topic"]


async def _values(kafka: KafkaEngine, topic: Topic) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bus_url, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        where = TopicPartition(topic.name, 0)
        consumer.assign([where])
        end = (await consumer.end_offsets([where]))[where]
        consumer.seek(where, 0)  # seek_to_beginning raced with the default reset to the end
        values: list[bytes] = []
        while await consumer.position(where) < end:
            values += [m.value for m in (await consumer.getmany(where, timeout_ms=500)).get(where, [])]
        return values
    finally:
        await consumer.stop()
