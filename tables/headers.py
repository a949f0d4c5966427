"""The header in front of every value of a table: how far of each source it includes, each source by its name.

    0x01 | number of sources | for each: 4 bytes of its name's SHA-256, next offset not included (8 bytes, big-endian)

The name and not a position in a list: a processor may gain, lose or reorder its sources, and what was written before
still says what it includes. A source that is no longer read stays in the headers at its last offset, so that versions
(the sum of all offsets) never fall.

Values written before headers named their sources hold offsets alone, in the order of `CheckpointedTable.first_sources`.
Their first byte is 0: no log reaches offset 2^56.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256

from domain.errors import Fatal

Vector = dict[str, int]
#: By source id, for what has not been matched to names: a header may tell of a source that this code does not know.
Offsets = dict[int, int]

_NAMED = 1
_SOURCE_BYTES = 12
#: Sources of one table, those no longer read included. One byte holds it; more than a handful is a design gone wrong.
SOURCES_MAX = 255


@cache
def source_id(topic: str) -> int:
    """What stands for a topic's name in a header."""
    return int.from_bytes(sha256(topic.encode()).digest()[:4], "big")


def require_distinct(topics: Iterable[str]) -> None:
    """Refuse names that a header could not tell apart (one pair in four thousand million).

    Raises:
        Fatal: it names both topics.
    """
    known: dict[int, str] = {}
    for topic in topics:
        other = known.setdefault(source_id(topic), topic)
        if other != topic:
            raise Fatal(f"expected topics with different ids in headers, were {other!r} and {topic!r}: rename one")


def header(vector: Mapping[str, int]) -> bytes:
    """The header of a value that includes every source up to these next offsets."""
    return header_of({source_id(topic): offset for topic, offset in vector.items()})


def header_of(offsets: Mapping[int, int]) -> bytes:
    """The same, by id."""
    parts = [bytes((_NAMED, len(offsets)))]
    for source, offset in offsets.items():
        parts += (source.to_bytes(4, "big"), offset.to_bytes(8, "big"))
    return b"".join(parts)


def later(a: Mapping[int, int], b: Mapping[int, int]) -> Offsets:
    """The later offset of each source."""
    return {source: max(a.get(source, 0), b.get(source, 0)) for source in (*a, *(s for s in b if s not in a))}


def reaches_beyond(offsets: Mapping[int, int], end: Mapping[int, int]) -> bool:
    """Whether some source is further than at `end`."""
    return any(offset > end.get(source, 0) for source, offset in offsets.items())


class Headers:
    """Reads the headers of one table. `first_sources`: the sources of values that do not name theirs, in order."""

    def __init__(self, first_sources: tuple[str, ...] = ()) -> None:
        self._first = tuple(source_id(topic) for topic in first_sources)

    def width(self, value: bytes) -> int:
        """Where the body begins."""
        return 2 + _SOURCE_BYTES * value[1] if value[0] == _NAMED else 8 * len(self._first)

    def offsets(self, value: bytes) -> Offsets:
        """Source id -> next offset not included."""
        if value[0] != _NAMED:
            return {s: int.from_bytes(value[i * 8 : i * 8 + 8], "big") for i, s in enumerate(self._first)}
        return {
            int.from_bytes(value[at : at + 4], "big"): int.from_bytes(value[at + 4 : at + 12], "big")
            for at in range(2, 2 + _SOURCE_BYTES * value[1], _SOURCE_BYTES)
        }

    def version(self, value: bytes) -> int:
        """The sum of the offsets: rises along a changelog with one writer."""
        if value[0] == _NAMED and value[1] == 1:
            return int.from_bytes(value[6:14], "big")
        return sum(self.offsets(value).values())
