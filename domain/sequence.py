"""Is a frame the next one of its subscription? A pure detector per sid.

The venue numbers frames per subscription (`sid`), one counter shared by every market in it and by the `ok` and
`unsubscribed` acknowledgements. The first frame seen sets the counter: its `seq` need not
be 1. (sid, seq) restarts with each connection, so a detector lives as long as one connection.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Expected:
    """The next frame, or the first of its sid."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """At or below the last one: repeated or late. To be ignored; its content was counted as lost when it was late."""


@dataclass(frozen=True, slots=True)
class Gap:
    """`missing` frames (at least 1) were lost before this one. The frame itself is the new last one."""

    missing: int


SequenceVerdict = Expected | Duplicate | Gap
EXPECTED: Final = Expected()
DUPLICATE: Final = Duplicate()


class SequenceDetector:
    """The last `seq` of every sid of one connection. Feed it every frame that carries both, acknowledgements too."""

    __slots__ = ("last_seq",)

    def __init__(self) -> None:
        self.last_seq: dict[int, int] = {}

    def observe(self, sid: int, seq: int) -> SequenceVerdict:
        """Judge one frame and remember it unless it is a duplicate."""
        last = self.last_seq.get(sid)
        if last is None or seq == last + 1:
            self.last_seq[sid] = seq
            return EXPECTED
        if seq <= last:
            return DUPLICATE
        self.last_seq[sid] = seq
        return Gap(seq - last - 1)

    def forget(self, sid: int) -> None:
        """The subscription ended; a later one may get the same sid and start anywhere."""
        self.last_seq.pop(sid, None)
