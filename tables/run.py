"""A run of consecutive records of one partition, as the value of one Faust event, which all agents of a topic share."""

from collections.abc import Sequence
from typing import Any


class Run:
    """Keeps its records until each of `takers` has taken them. An event waits for its acknowledgement much longer than
    for its agents, and would keep a second's worth of records in memory; its fields are Faust's, and stay as they are
    (whether agents share one event, or each gets its own, differs between Faust's two conductors)."""

    __slots__ = ("_left", "_rows")

    def __init__(self, rows: list[Any], takers: int = 1) -> None:
        self._rows: list[Any] | None = rows
        self._left = takers

    def take(self) -> list[Any]:
        """The records, in offset order. Once for each taker."""
        rows = self._rows
        assert rows is not None, "expected at most one take for each agent of the topic"
        self._left -= 1
        if self._left <= 0:
            self._rows = None
        return rows


def rows_of(value: Run | Sequence[Any]) -> list[Any]:
    """The records of an event's value."""
    return value.take() if isinstance(value, Run) else list(value)
