"""Self-clocked sending: one batch in flight per topic partition, what comes meanwhile is the next batch.

A `send_batch` for every small batch of input queued up to seconds behind the broker's answers at a thousand records a
second; waiting for a timer would add its latency to every quote. The broker's own pace is the right clock.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiokafka.producer.message_accumulator import BatchBuilder

log = logging.getLogger(__name__)

Row = tuple[bytes | None, bytes | None]

#: Rows in one produce request, so that one answer never covers an unbounded amount of work.
SEND_ROWS_MAX = 20_000
#: Uncompressed bytes of a batch that must be whole: what topics and broker take in one.
WHOLE_BATCH_BYTES = 8 << 20
#: The codec of the producer, by Kafka's number for it in a record batch's attributes.
LZ4 = 3


class BatchProducer(Protocol):
    """The part of AIOKafkaProducer that is used."""

    def create_batch(self) -> Any: ...

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Awaitable[Any]: ...


class Outbox:
    """Rows for one topic partition, in order. `queued` and `acked` count rows since the start."""

    def __init__(
        self,
        producer: BatchProducer,
        topic: str,
        partition: int,
        before_send: Callable[[], None],
        fail: Callable[[str], None],
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._before_send = before_send
        self._fail = fail
        #: Rows, and lists of rows that must stay together.
        self._rows: deque[Row | list[Row]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()
        self.queued = 0
        self.acked = 0
        #: Offset after the last acknowledged row, and how often it was not where we expected it: a foreign writer.
        self.next_offset: int | None = None
        self.foreign_jumps = 0

    def put(self, rows: list[Row], *, whole: bool = False) -> None:
        """Queue rows; sends at once if nothing is in flight. `whole`: as one record batch, which the log has all or
        nothing of."""
        if not rows:
            return
        if whole:
            self._rows.append(rows)
        else:
            self._rows.extend(rows)
        self.queued += len(rows)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_all(), name=f"send {self._topic}-{self._partition}")

    async def wait_acked(self, count: int) -> None:
        """Return when the broker has acknowledged the first `count` rows."""
        while self.acked < count:
            self._progress.clear()
            await self._progress.wait()

    @property
    def waiting(self) -> int:
        """Rows not yet acknowledged."""
        return self.queued - self.acked

    async def _send_all(self) -> None:
        try:
            while self._rows:
                self._before_send()
                sent = await self._send_some()
                self.acked += sent
                self._progress.set()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # An unacknowledged row must never be followed by a commit: the log is replayed instead.
            self._fail(f"expected {self._topic}-{self._partition} to take {self.waiting} rows, was {error!r}")
            raise

    async def _send_some(self) -> int:
        rows, total, sends = self._rows, 0, []
        while rows and total < SEND_ROWS_MAX:
            first = rows[0]
            batch, count = self._whole(first) if isinstance(first, list) else self._fill(SEND_ROWS_MAX - total)
            sends.append((await self._producer.send_batch(batch, self._topic, partition=self._partition), count))
            total += count
        for future, count in sends:
            metadata = await future
            self._note_offsets(metadata.offset, count)
        return total

    def _fill(self, rows_max: int) -> tuple[Any, int]:
        rows, batch, count = self._rows, self._producer.create_batch(), 0
        while rows and count < rows_max:
            row = rows[0]
            if isinstance(row, list) or batch.append(timestamp=None, key=row[0], value=row[1]) is None:
                break
            rows.popleft()
            count += 1
        if not count:
            raise ValueError(f"a row of {len(rows[0][1] or b'')} bytes does not fit a batch of this producer")
        return batch, count

    def _whole(self, group: list[Row]) -> tuple[Any, int]:
        batch = BatchBuilder(WHOLE_BATCH_BYTES, LZ4)
        for key, value in group:
            if batch.append(timestamp=None, key=key, value=value) is None:
                size = sum(len(k or b"") + len(v or b"") for k, v in group)
                raise ValueError(
                    f"expected rows that belong together to fit a batch of {WHOLE_BATCH_BYTES} bytes, were "
                    f"{len(group)} of {size} bytes"
                )
        self._rows.popleft()
        return batch, len(group)

    def _note_offsets(self, base_offset: int, count: int) -> None:
        if base_offset < 0:
            # A repeated request that the broker had already taken, and whose offset it no longer remembers.
            self.next_offset = None if self.next_offset is None else self.next_offset + count
            return
        if self.next_offset is not None and base_offset != self.next_offset:
            self.foreign_jumps += 1
        self.next_offset = base_offset + count

    def close(self) -> None:
        """Stop sending: the partition is no longer ours."""
        if self._sender is not None:
            self._sender.cancel()
        self._rows.clear()
