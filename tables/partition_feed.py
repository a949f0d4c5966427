"""What one topic partition has on its way into a store, and how far the store is behind; read by health and metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faust.types import TP


log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Reach:
    """Whether a store answers one who uses it: why not, for readiness, how often it was tried again, and when there was
    progress last (monotonic)."""

    unavailable: str | None = None
    retries_total: int = 0
    progress_s: float = field(default_factory=time.monotonic)

    def note(self, store: str, away: Exception | None) -> None:
        """It is away, or answered (None). Logged when that changes."""
        if away is not None and self.unavailable is None:
            log.error("%s: unavailable: %s", store, away)
        if away is None and self.unavailable is not None:
            log.warning("%s: available again", store)
            self.progress_s = time.monotonic()
        self.unavailable = None if away is None else str(away)


@dataclass(slots=True)
class Taken:
    """A Faust event, to be acknowledged, and its records."""

    event: Any
    rows: list[Any]


@dataclass
class PartitionFeed(Reach):
    """Events taken, oldest first: written but not yet durable, being written, queued."""

    tp: TP
    written: deque[Taken] = field(default_factory=deque)
    writing: list[Taken] = field(default_factory=list)
    queue: deque[Taken] = field(default_factory=deque)
    queued_records: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    paused: bool = False
    aligned: bool = False
    next_offset: int = 0
    records_total: int = 0
    writes_total: int = 0
    write_last_s: float = 0.0

    @property
    def oldest(self) -> Any | None:
        """The first record that is not durable in the store, None when there is none."""
        for events in (self.written, self.writing, self.queue):
            if events:
                return events[0].rows[0]
        return None

    def keep_written(self) -> None:
        """What was being written waits to be durable. It keeps its first record, whose age is the lag: the sink has the
        others and bounds them, and a Parquet file's worth would stand in memory twice."""
        for taken in self.writing:
            taken.rows = taken.rows[:1]
        self.written.extend(self.writing)
        self.writing = []

    def behind_s(self) -> float:
        """Age of the oldest record that is not durable, by the broker's append time. Computed when asked."""
        oldest = self.oldest
        return 0.0 if oldest is None else max(0.0, time.time() - (oldest.timestamp or 0) / 1_000)
