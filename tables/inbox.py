"""What has come for one partition and is not folded yet: events of each source in order, taken up to an offset.

A partition that restores, waits for a checkpoint or for a tick keeps its input here, and no other partition waits for
it. Above INBOX_RECORDS_MAX no more is fetched of its sources until half of it is folded.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

#: Records kept for one partition: some seconds of a busy one. What one fetch has brought already comes on top.
INBOX_RECORDS_MAX = 50_000


@dataclass(slots=True)
class Waiting:
    """One event: its Faust event, and the records of it that are not folded yet, in offset order."""

    event: Any
    rows: list[Any]
    begun: bool = False
    explained: bool = False


class Inbox:
    """Events by source. `records` counts what waits."""

    def __init__(self) -> None:
        self._events: dict[str, deque[Waiting]] = {}
        self.records = 0

    def put(self, topic: str, event: Any, rows: list[Any]) -> None:
        """Behind the others of its source."""
        self._events.setdefault(topic, deque()).append(Waiting(event, rows))
        self.records += len(rows)

    def next(self, limits: dict[str, int] | None) -> tuple[str, Waiting] | None:
        """The first event with a record that may be folded, or None. `limits`: source -> the first offset that may
        not; None: all may."""
        for topic, events in self._events.items():
            if events and (limits is None or events[0].rows[0].offset < limits.get(topic, 0)):
                return topic, events[0]
        return None

    def cut(self, topic: str, waiting: Waiting, limits: dict[str, int] | None) -> tuple[list[Any], bool]:
        """Remove its records below the limit, and the event with the last of them; whether it was the last."""
        rows, limit = waiting.rows, None if limits is None else limits.get(topic, 0)
        if limit is not None and rows[-1].offset >= limit:
            count = sum(row.offset < limit for row in rows)
            rows, waiting.rows = rows[:count], rows[count:]
        else:
            self._events[topic].popleft()
        self.records -= len(rows)
        return rows, limit is None or waiting.rows is rows

    def drop(self, topic: str) -> None:
        """Remove the first event of a source."""
        self.records -= len(self._events[topic].popleft().rows)

    def clear(self) -> list[Any]:
        """Remove everything; the events."""
        events = [waiting.event for source in self._events.values() for waiting in source]
        self._events.clear()
        self.records = 0
        return events
