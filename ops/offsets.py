"""Where groups and logs stand: committed offsets, log ends, and what is between them."""

from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from app.bus import BusConfig
from ops.topics import admin_client

#: Topic -> partition -> offset.
Offsets = dict[str, dict[int, int]]


async def committed_offsets(bus: BusConfig, group: str) -> Offsets:
    """What the group has committed; partitions without a commit are left out."""
    found: Offsets = {}
    async with admin_client(bus) as admin:
        try:
            rows = await admin.list_consumer_group_offsets(group)
        except KafkaError:
            return {}  # the coordinator of a cluster without any group is not there yet
        for tp, position in rows.items():
            if position.offset >= 0:
                found.setdefault(tp.topic, {})[tp.partition] = position.offset
    return found


class LogEnds:
    """Asks for the ends of logs over one connection; use it as an async context."""

    def __init__(self, bus: BusConfig) -> None:
        self._consumer: Any = AIOKafkaConsumer(**bus, enable_auto_commit=False)

    async def __aenter__(self) -> "LogEnds":
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def ends(self, topics: Iterable[str]) -> Offsets:
        """The next offset of every partition; topics that do not exist are left out."""
        wanted = []
        for topic in topics:
            await self._consumer._client.add_topic(topic)
            wanted += [TopicPartition(topic, p) for p in self._consumer.partitions_for_topic(topic) or ()]
        found: Offsets = {}
        for tp, offset in (await self._consumer.end_offsets(wanted) if wanted else {}).items():
            found.setdefault(tp.topic, {})[tp.partition] = offset
        return found


def behind(committed: Offsets, ends: Offsets, topics: Iterable[str]) -> int:
    """Records of `topics` that lie between the group's commits and the log ends; no commit counts from 0."""
    return sum(
        max(0, end - committed.get(topic, {}).get(partition, 0))
        for topic in topics
        for partition, end in ends.get(topic, {}).items()
    )


def total(offsets: Offsets, topic: str) -> int:
    """The sum over the partitions of a topic."""
    return sum(offsets.get(topic, {}).values())


def offsets_text(offsets: Offsets) -> str:
    """'market.book_updates 0:17 1:4', for people."""
    parts = (
        f"{topic} " + " ".join(f"{p}:{offset}" for p, offset in sorted(rows.items()))
        for topic, rows in sorted(offsets.items())
    )
    return ", ".join(parts)
