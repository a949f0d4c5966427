"""Records to Kafka in whole batches, in order per partition, self-clocked.

`add` is synchronous and puts a record into the open batch of its partition. While one flight of batches is with the
broker, what comes meanwhile is the next flight: no lingering, and the batch size follows the load. Idempotent,
acks=all, lz4. Nothing is dropped here: whoever fills the buffer asks `is_full` and stops reading its own source.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from app.bus import MESSAGE_BYTES_MAX, BusConfig
from app.lasting_batches import keep_batches
from app.lz4 import compress_fast
from domain.errors import Fatal
from producers.metrics import GaugeSource
from schemas.registry import Topic

log = logging.getLogger(__name__)

BATCH_BYTES_MAX = 1 << 20  # one record may be larger and then travels alone; the broker's bound is 8 MiB
REQUEST_TIMEOUT_MS = 30_000  # a frozen broker is given up on after this long; aiokafka then tries again for ever
KEYS_CACHED_MAX = 65_536  # (topic, market ticker), about 15 MB; more than a venue lists


class _Lane:
    """The open batches of one topic partition, filled in order."""

    __slots__ = ("batches", "create_batch", "partition", "sent", "topic", "wake")

    def __init__(self, topic: str, partition: int, create_batch: Callable[[], Any], wake: Callable[[], None]) -> None:
        self.topic = topic
        self.partition = partition
        self.batches: list[Any] = []
        self.sent = 0
        self.create_batch = create_batch
        self.wake = wake

    def append(self, key: bytes | None, value: bytes | None, ts_ms: int) -> None:
        batches = self.batches
        if not batches:
            self.wake()
            self._open(key, value, ts_ms)
        elif batches[-1].append(timestamp=ts_ms, key=key, value=value) is None:
            self._open(key, value, ts_ms)
        self.sent += 1

    def _open(self, key: bytes | None, value: bytes | None, ts_ms: int) -> None:
        batch = self.create_batch()
        if batch.append(timestamp=ts_ms, key=key, value=value) is None:
            raise Fatal(f"expected an empty batch to take a record, {self.topic} {len(value or b'')} bytes did not fit")
        self.batches.append(batch)


class Publisher(GaugeSource):
    """The only way of producer market, and of replayed archives, to Kafka. Call `start` first, then `add` from the
    event loop's thread."""

    def __init__(self, bus: BusConfig, partitions: int, buffer_records: int) -> None:
        """`buffer_records` bounds what was added and not yet acknowledged; see `is_full`."""
        self.records_acked: Counter[str] = Counter()
        #: Called when the buffer has room again after `is_full` was true.
        self.on_room: Callable[[], None] = lambda: None
        self._partitions = partitions
        self._buffer_records = buffer_records
        self._added = 0
        self._acked = 0
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._routes: dict[tuple[str, str], tuple[_Lane, bytes]] = {}
        self._wake = asyncio.Event()
        self._landed = asyncio.Event()
        self._was_full = False
        self._flight_since: float | None = None
        self._failed: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        compress_fast()
        self._producer = keep_batches(
            AIOKafkaProducer(
                **bus,
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                linger_ms=0,
                max_batch_size=BATCH_BYTES_MAX,
                max_request_size=MESSAGE_BYTES_MAX,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
            )
        )

    async def start(self) -> None:
        """Connect. Raises KafkaConnectionError while no broker answers; start may then be called again."""
        await self._producer.start()
        self._task = asyncio.create_task(self._fly_for_ever(), name="publisher")

    async def partition_counts(self, topics: list[Topic]) -> dict[str, int]:
        """How many partitions each topic has at the broker."""
        return {topic.name: len(await self._producer.partitions_for(topic.name)) for topic in topics}

    def add(self, topic: str, key: str, value: bytes, ts_ms: int) -> None:
        """Queue one record under its key, in the Java client's default partition of that key."""
        route = self._routes.get((topic, key))
        if route is None:
            route = self._route(topic, key)
        route[0].append(route[1], value, ts_ms)
        self._added += 1

    def add_to(self, topic: str, partition: int, key: bytes | None, value: bytes | None, ts_ms: int) -> None:
        """Queue one record for a given partition."""
        self._lane(topic, partition).append(key, value, ts_ms)
        self._added += 1

    @property
    def records_sent(self) -> Counter[str]:
        """Per topic, what was added so far."""
        sent: Counter[str] = Counter()
        for lane in self._lanes.values():
            sent[lane.topic] += lane.sent
        return sent

    @property
    def unacked(self) -> int:
        """Added and not yet acknowledged by the broker."""
        return self._added - self._acked

    @property
    def is_full(self) -> bool:
        """More records wait for the broker than the buffer may hold: stop reading until `on_room` is called."""
        if self.unacked >= self._buffer_records:
            self._was_full = True
        return self._was_full

    def stalled_s(self) -> float:
        """How long the broker has owed us the answer to the flight in the air; 0 with none."""
        return time.monotonic() - self._flight_since if self._flight_since is not None else 0.0

    def failure(self) -> BaseException | None:
        """Why nothing can be sent any more, for good: the process must end and begin anew."""
        return self._failed

    def gauges(self) -> dict[str, float]:
        """For /metrics."""
        return {"unacked": self.unacked, "send_stalled_seconds": self.stalled_s()}

    async def flush(self, timeout_s: float) -> bool:
        """Wait until everything added so far is acknowledged. False when it took longer, or never can."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.unacked and self._failed is None:
                    self._landed.clear()
                    await self._landed.wait()
        except TimeoutError:
            pass
        return self.unacked == 0

    async def stop(self) -> None:
        """Close. What is not acknowledged by now is given up: flush first."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.unacked:
            # aiokafka's stop waits for its batches for ever: end its sender instead.
            self._producer._closed = True
            await self._producer._sender.close()
            await self._producer.client.close()
        else:
            await self._producer.stop()

    def _route(self, topic: str, key: str) -> tuple[_Lane, bytes]:
        encoded = key.encode("utf-8", "replace")
        if len(self._routes) >= KEYS_CACHED_MAX:
            self._routes.clear()
        lane = self._lane(topic, (murmur2(encoded) & 0x7FFFFFFF) % self._partitions)
        route = self._routes[(topic, key)] = (lane, encoded)
        return route

    def _lane(self, topic: str, partition: int) -> _Lane:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = _Lane(topic, partition, self._producer.create_batch, self._wake.set)
            self._lanes[(topic, partition)] = lane
        return lane

    async def _fly_for_ever(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._flight_since = time.monotonic()
                await asyncio.gather(*(self._deliver(lane) for lane in self._lanes.values() if lane.batches))
                self._flight_since = None
                self._landed.set()
                self._tell_room()
        except (KafkaError, Fatal) as failed:
            log.error("Kafka refuses what we send, this process must start anew: %r", failed)
            self._failed = failed
            self._landed.set()

    async def _deliver(self, lane: _Lane) -> None:
        """One partition's batches, one in flight at a time: the order in the log is the order of `add`."""
        batches, lane.batches = lane.batches, []
        for batch in batches:
            acknowledged = await self._producer.send_batch(batch, lane.topic, partition=lane.partition)
            await acknowledged
            count = batch.record_count()
            self.records_acked[lane.topic] += count
            self._acked += count

    def _tell_room(self) -> None:
        if self._was_full and self.unacked <= self._buffer_records // 2:
            self._was_full = False
            self.on_room()
