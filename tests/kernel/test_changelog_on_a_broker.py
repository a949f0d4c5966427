"""Restoring from a real changelog: large records, tails without records, a log that is all gone, a frozen broker."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from app.transport import read_lean
from domain.errors import Fatal
from ops.engines.kafka import KafkaEngine
from tables.changelog import Restore, restore
from tables.headers import Headers, header
from tables.outbox import Outbox
from tables.store import MemoryStore

pytestmark = pytest.mark.engines
REQUEST_MAX_BYTES = 8 << 20


class Log:
    """A changelog of one partition on a real broker."""

    def __init__(self, bus_url: str, topic: str, producer: AIOKafkaProducer) -> None:
        self.bus_url, self.topic = bus_url, topic
        self.outbox = Outbox(producer, topic, 0, lambda: None, pytest.fail)

    async def write(self, *rows: tuple[bytes, bytes | None]) -> None:
        """Append, acknowledged."""
        self.outbox.put(list(rows))
        await self.outbox.wait_acked(self.outbox.queued)

    async def restored(self, store: MemoryStore, deadline_s: float = 90) -> Restore:
        """Restore as a worker does."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bus_url, enable_auto_commit=False, auto_offset_reset="earliest",
            max_partition_fetch_bytes=1 << 20,
        )  # fmt: skip
        await consumer.start()
        try:
            job = Restore(0, store, Headers())
            await restore(consumer, self.topic, [job], [], deadline_s, _no_wait)
            return job
        finally:
            await consumer.stop()

    async def truncate(self, before: int) -> None:
        """Delete the records before an offset."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bus_url)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(self.topic, 0): RecordsToDelete(before)})
        finally:
            await admin.close()


async def _no_wait() -> None:
    await asyncio.sleep(0)


@pytest.fixture
async def new_log(kafka: KafkaEngine) -> AsyncIterator[Callable[[], Awaitable[Log]]]:
    """Call it for a new, empty changelog."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bus_url, enable_idempotence=True, linger_ms=0, max_batch_size=1 << 20,
        max_request_size=REQUEST_MAX_BYTES,
    )  # fmt: skip
    await producer.start()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bus_url)
    await admin.start()

    async def create() -> Log:
        topic = f"changelog-{uuid.uuid4().hex[:8]}"
        config = {"cleanup.policy": "compact,delete", "max.message.bytes": str(REQUEST_MAX_BYTES)}
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=config)])
        read_lean([topic])
        return Log(kafka.bus_url, topic, producer)

    yield create
    await admin.close()
    await producer.stop()


async def test_record_of_two_megabytes_is_written_and_restored(new_log: Any) -> None:
    """Larger than a produce batch and than a fetch, between small ones."""
    log, big = await new_log(), b"x" * (2 << 20)
    await log.write(
        (b"a", header({"in": 1}) + b"1"), (b"big", header({"in": 2}) + big), (b"b", header({"in": 3}) + b"2")
    )
    store = MemoryStore()
    job = await log.restored(store)
    assert {key: raw[len(header({"in": 1})) :] for key, raw in store.items()} == {b"a": b"1", b"big": big, b"b": b"2"}
    assert (job.records, job.position, log.outbox.foreign_jumps) == (3, 3, 0)


async def test_tail_of_tombstones_and_transaction_markers_does_not_hang(new_log: Any, kafka: KafkaEngine) -> None:
    """The last offset of the log is no record at all: the end is reached all the same."""
    log = await new_log()
    await log.write((b"a", header({"in": 1}) + b"1"), (b"b", header({"in": 2}) + b"2"), (b"b", None))
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bus_url, transactional_id=log.topic)
    await producer.start()
    async with producer.transaction():
        await producer.send_and_wait(log.topic, None, key=b"a", partition=0)
    await producer.stop()
    await _wait_for_end(kafka, log.topic, 5)
    store = MemoryStore()
    job = await log.restored(store)
    assert list(store.items()) == []
    assert job.position == 5
    assert (await log.restored(store)).position == 5


async def _wait_for_end(kafka: KafkaEngine, topic: str, end: int) -> None:
    """Until the log has this end: the coordinator writes the marker of a transaction after it has answered."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bus_url)
    await consumer.start()
    try:
        async with asyncio.timeout(90):
            tp = TopicPartition(topic, 0)
            while (await consumer.end_offsets([tp]))[tp] < end:  # noqa: ASYNC110 - a broker has no event to wait for
                await asyncio.sleep(0.05)
    finally:
        await consumer.stop()


async def test_log_whose_records_are_all_gone_is_restored_at_once(new_log: Any) -> None:
    """Log start and log end are the same, above what the store knows."""
    log = await new_log()
    await log.write((b"a", header({"in": 1}) + b"1"), (b"b", header({"in": 2}) + b"2"))
    await log.truncate(2)
    job = await log.restored(MemoryStore())
    assert (job.records, job.position, job.done) == (0, 2, True)


async def test_warm_start_reads_only_what_came_later(new_log: Any) -> None:
    """The store knows its position: a whole checkpoint is not read twice."""
    from kernel_judge import memory_task

    from tables.store import MARK_KEY

    log, store, task = await new_log(), MemoryStore(), memory_task()
    task.vector = {"in": 1}
    await log.write((b"a", header({"in": 1}) + b"1"), (MARK_KEY, task.mark()))
    assert (await log.restored(store)).records == 2
    task.vector = {"in": 2}
    await log.write((b"b", header({"in": 2}) + b"2"), (MARK_KEY, task.mark()))
    assert (await log.restored(store)).records == 2
    assert sorted(key for key, _ in store.items()) == [b"a", b"b"]


async def test_frozen_broker_ends_the_restore_at_its_deadline(new_log: Any, kafka: KafkaEngine) -> None:
    """No answer is no proof of an empty tail: the restore does not pass for done, and does not hang."""
    log = await new_log()
    for first in range(0, 2_000, 100):  # twenty batches, so that the client cannot have fetched the last one already
        await log.write(*[(b"%d" % i, header({"in": i + 1}) + b"x" * 1_000) for i in range(first, first + 100)])
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bus_url, max_partition_fetch_bytes=10_000)
    await consumer.start()
    frozen = False

    async def freeze_once() -> None:
        nonlocal frozen
        if not frozen:
            frozen = True
            kafka.pause()

    job = Restore(0, MemoryStore(), Headers())
    try:
        with pytest.raises(Fatal, match="expected progress within 1 s, was none"):
            await restore(consumer, log.topic, [job], [], 1, freeze_once)
        assert not job.done
    finally:
        kafka.resume()
        await consumer.stop()
