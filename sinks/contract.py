"""What a store must be to take part: the contract between the sink agents (Faust) and the sinks (no Faust).

One batch is a run of records of one topic partition in offset order. `write` returns only when every record of the
batch is durable in the store, exactly once, whatever died before; the agent acknowledges after it returns. The store
itself is the truth about what it holds: Kafka's commit is a hint.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sinks.stats import SinkStats


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One record as it lies in the topic, undecoded. `timestamp_ms` is the broker's append time."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """Consecutive records of one partition, oldest first, never empty. Offsets rise, holes are possible (compaction,
    retention); `next_offset` is where the following batch continues."""

    topic: str
    partition: int
    records: list[SourceRecord]
    next_offset: int

    @property
    def first_offset(self) -> int:
        return self.records[0].offset


@dataclass(frozen=True, slots=True)
class DeadLetterNote:
    """A record the store cannot take. The agent sends it to `dlq`, awaited, before it acknowledges the batch."""

    record: SourceRecord
    reason: str
    detail: str


class SinkUnavailable(Exception):
    """The store cannot be reached, or is full. Nothing is lost: the agent pauses the partition and retries with
    bounded backoff, readiness goes false with this text."""


class Sink(Protocol):
    """A store. Calls for one (topic, partition) never overlap; those for different partitions may."""

    name: str
    #: The topics this sink stores.
    topics: tuple[str, ...]
    stats: SinkStats

    async def start(self) -> None:
        """Connect, check the schema, remove leftovers. Raises SinkUnavailable or UserMistake."""

    async def assign(self, topic: str, partition: int) -> int | None:
        """The next offset the store expects (None: it holds nothing of this partition). Records below it are skipped
        by `write`. Called before the first batch after each assignment."""

    async def write(self, batch: SourceBatch) -> list[DeadLetterNote]:
        """Make the batch durable. Returns the records it refused. Raises SinkUnavailable; the same or a longer batch
        is then written again, and nothing of it may be doubled."""

    async def flush(self) -> None:
        """Make final on disk whatever is held open (Parquet rotation). Called before a clean stop and a revoke."""

    async def stop(self) -> None:
        """Flush and close."""

    def durable_next_offset(self, topic: str, partition: int) -> int | None:
        """What may be acknowledged now: everything below it is durable. For sinks that write at once this is the end
        of the last batch; Parquet's lags until the file is renamed."""


class Locked(Protocol):
    """What a sink holds of one partition."""

    lock: asyncio.Lock


L = TypeVar("L", bound=Locked)


async def for_each(partitions: Iterable[L], work: Callable[[L], Awaitable[None]]) -> None:
    """Each partition under its lock, also after one that failed. Raises the first SinkUnavailable in the end."""
    wrong: list[SinkUnavailable] = []
    for held in list(partitions):
        async with held.lock:
            try:
                await work(held)
            except SinkUnavailable as away:
                wrong.append(away)
    if wrong:
        raise wrong[0]
