"""How far the state of one partition is: the vector of source offsets it includes, and what was taken of each cause."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.records import Cause
from tables.headers import Headers, Offsets, Vector, header, reaches_beyond, source_id


class Mark(msgspec.Struct, array_like=True):
    """The last record of each checkpoint: where every source stands, the highest cause taken of each, and, of a
    processor that ticks, the last tick. Field order is the format: add at the end, with a default."""

    sources: dict[str, int]
    causes: dict[str, tuple[int, int]]  # "<topic>/<partition>" -> (offset, n)
    incarnation: str = ""
    asof_ms: int = 0


class _Caused(msgspec.Struct):
    """The only field of a record that is looked at when its effect is there already."""

    cause: Cause | None = None


_decode_caused = msgspec.json.Decoder(_Caused).decode
_encode_mark = msgspec.msgpack.Encoder().encode
_decode_mark = msgspec.msgpack.Decoder(Mark).decode


class Progress:
    """`vector`: the next offset of each source that the state does not include; sources no longer read stay in it.

    `ahead`: keys whose value is ahead of the mark, from a checkpoint that a kill cut short -> what they include.
    `incarnation` and `asof_ms` are those of the last tick that the state includes ("" and 0 before the first).
    """

    def __init__(self, sources: tuple[str, ...]) -> None:
        self.sources = sources
        self.vector: Vector = dict.fromkeys(sources, 0)
        self.causes: dict[str, tuple[int, int]] = {}
        self.ahead: dict[bytes, Offsets] = {}
        self.incarnation = ""
        self.asof_ms = 0

    def load_mark(self, raw: bytes | None, headers: Headers, ahead: dict[bytes, Offsets]) -> None:
        """Take over a mark (None: there is none yet) and the keys that are ahead of it."""
        if raw is not None:
            mark = _decode_mark(raw[headers.width(raw) :])
            self.vector |= mark.sources
            self.causes = dict(mark.causes)
            self.incarnation, self.asof_ms = mark.incarnation, mark.asof_ms
        ends = self._ends()
        self.ahead = {key: offsets for key, offsets in ahead.items() if reaches_beyond(offsets, ends)}

    def mark(self) -> bytes:
        """The mark record's value, now."""
        return header(self.vector) + _encode_mark(Mark(self.vector, self.causes, self.incarnation, self.asof_ms))

    def next_offset(self, topic: str) -> int:
        """The first offset of that source that the state does not include."""
        return self.vector[topic]

    @property
    def position(self) -> int:
        """The next offset of the first source: what a view says its state stands at."""
        return self.vector[self.sources[0]]

    def take(self, topic: str, rows: list[Any]) -> list[Any]:
        """The records of a run that the state does not include yet; from now on it does."""
        start = self.vector[topic]
        if rows[0].offset < start:
            rows = [row for row in rows if row.offset >= start]
            if not rows:
                return rows
        self.vector[topic] = rows[-1].offset + 1
        if self.ahead:
            source = source_id(topic)
            rows = [row for row in rows if not self._included(source, row)]
        return rows

    def _included(self, source: int, row: Any) -> bool:
        offsets = self.ahead.get(row.key)
        if offsets is None or row.offset >= offsets.get(source, 0):
            return False
        # Its effect is in the value, so its cause has been taken: published again later, it must be known.
        self.repeats(_cause_of(row.value))
        return True

    def repeats(self, cause: Cause | None) -> bool:
        """Whether a derived record came before: its writer was killed and published it again at a new offset."""
        if cause is None:
            return False
        source = f"{cause.topic}/{cause.partition}"
        highest = self.causes.get(source)
        if highest is not None and (cause.offset, cause.n) <= highest:
            return True
        self.causes[source] = (cause.offset, cause.n)
        return False

    def forget_caught_up(self) -> None:
        """Keys that the vector has caught up with are ahead no longer."""
        if self.ahead:
            ends = self._ends()
            self.ahead = {key: offsets for key, offsets in self.ahead.items() if reaches_beyond(offsets, ends)}

    def _ends(self) -> Offsets:
        return {source_id(topic): offset for topic, offset in self.vector.items()}


def _cause_of(value: bytes | None) -> Cause | None:
    try:
        return None if value is None else _decode_caused(value).cause
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
