"""The ticks topic of one partition, as this process writes and reads it.

What is appended must follow what this process has seen of the log. A jump in the offsets means that somebody else wrote
between: what they wrote is read before the append counts, because it may be the epoch of our successor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from schemas.clock_records import Tick, TickEpoch
from schemas.codec import decode_many
from schemas.registry import Topic, decoder

#: Reads records [start, end) of the partition: rows with `offset` and `value`.
ReadRange = Callable[[int, int], Awaitable[list[Any]]]
#: Appends one record; returns its offset, or -1 where the broker no longer remembers it.
Append = Callable[[bytes, bytes], Awaitable[int]]


class TickLog(Protocol):
    """What the ticks of a task need of the log."""

    async def append(self, processor: str, value: bytes) -> int: ...

    async def read(self, start: int, end: int) -> list[tuple[int, Tick | TickEpoch]]: ...

    def holder(self, processor: str) -> str | None: ...


class SharedTickLog:
    """One per process, ticks topic and partition: all processors of the process append through it, in order."""

    def __init__(self, topic: Topic, partition: int, append: Append, read: ReadRange) -> None:
        self._decoder = decoder(topic)
        self._key = b"%d" % partition
        self._append = append
        self._read = read
        self._known: int | None = None
        self._holders: dict[str, str] = {}
        self._lock = asyncio.Lock()

    async def append(self, processor: str, value: bytes) -> int:
        """Append a tick or an epoch; its offset, once everything before it is known."""
        async with self._lock:
            offset = await self._append(self._key, value)
            if self._known is None:
                self._known = offset
            if offset != self._known:
                offset = await self._catch_up(offset, value)
            self._note([self._decoder.decode(value)])
            self._known = offset + 1
            return offset

    async def _catch_up(self, offset: int, value: bytes) -> int:
        start = self._known or 0
        rows = await self._read(start, offset + 1 if offset >= 0 else -1)
        ours = next((row.offset for row in reversed(rows) if row.value == value), offset)
        self._note([record for _, record in self._decoded(rows) if record is not None])
        return ours

    async def read(self, start: int, end: int) -> list[tuple[int, Tick | TickEpoch]]:
        """(offset, record) of what stands in [start, end); what cannot be read was not written by us, and is void."""
        rows = await self._read(start, end) if start < end else []
        return [(offset, record) for offset, record in self._decoded(rows) if record is not None]

    def _decoded(self, rows: list[Any]) -> list[tuple[int, Any]]:
        records = decode_many(self._decoder, [row.value for row in rows])
        return [
            (row.offset, r if isinstance(r, Tick | TickEpoch) else None) for row, r in zip(rows, records, strict=True)
        ]

    def _note(self, records: list[Any]) -> None:
        for record in records:
            if isinstance(record, TickEpoch):
                self._holders[record.payload.processor] = record.payload.incarnation

    def holder(self, processor: str) -> str | None:
        """The incarnation of the last epoch seen."""
        return self._holders.get(processor)
