"""The one embedded Kafka that everything is measured on, in bench/.work, new for every run of the bench."""

import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import TopicPartition

from bench.environment import WORK, run_in_peers
from ops.engines.kafka import KafkaEngine
from ops.ports import free_ports

PARTITIONS = 4
HEAP_MB = 1_024  # more than `up` gives it: the broker must not be what is measured


@contextmanager
def kafka(folder: Path = WORK / "engine") -> Iterator[KafkaEngine]:
    """A running broker with an empty log; stopped and removed at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    engine = KafkaEngine(folder / "kafka", folder / "kafka.log", free_ports(1)[0], heap_mb=HEAP_MB)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(folder / "kafka", ignore_errors=True)


@asynccontextmanager
async def bus(broker: str) -> AsyncIterator["Bus"]:
    """An open view of the broker."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False)
    await admin.start()
    await consumer.start()
    try:
        yield Bus(broker, admin, consumer)
    finally:
        await consumer.stop()
        await admin.close()


class Bus:
    """Topics and progress, as the broker sees them."""

    def __init__(self, broker: str, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> None:
        self.broker = broker
        self._admin = admin
        self._consumer = consumer

    async def create(self, name: str, *, compacted: bool = False, partitions: int = PARTITIONS) -> None:
        """A topic of the bench: broker's time, as the project's topics have it."""
        configs = {"message.timestamp.type": "LogAppendTime"}
        if compacted:
            configs["cleanup.policy"] = "compact"
        topic = NewTopic(name, partitions, 1, topic_configs=configs)
        await self._admin.create_topics([topic])
        await self.refresh()

    async def refresh(self) -> None:
        """Learn of topics that were created or deleted meanwhile; aiokafka does at its own pace otherwise."""
        await self._consumer._client.force_metadata_update()

    def forget(self, group: str, *topics: str) -> None:
        """Remove a group's commits and these topics, so that the next run starts from nothing."""
        run_in_peers("bench.forget", self.broker, group, *topics)

    async def ends(self, topic: str) -> dict[int, int]:
        """The log end of each partition."""
        found = await self._consumer.end_offsets([TopicPartition(topic, p) for p in range(PARTITIONS)])
        return {tp.partition: int(offset) for tp, offset in found.items()}

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """What the group has committed, per partition."""
        found = await self._admin.list_consumer_group_offsets(group)
        return {tp.partition: int(meta.offset) for tp, meta in found.items() if tp.topic == topic}


def now_ms() -> float:
    """The wall clock, which the broker's timestamps follow too."""
    return time.time() * 1_000
