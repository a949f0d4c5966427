"""Incremental fetch sessions (KIP-227): a request names only what changed, an answer only what has something.

aiokafka names every partition in each request and reads each out of every answer, and so does the broker: of the state
worker's 24 partitions four carry the books, and a sink of the archive has 52. With a session both ends remember the
partitions, and one that is quiet costs nothing while it waits. The messages are put together and taken apart here, by
`struct`: aiokafka's own way through its schemas took a third of a quiet worker's time.
"""

import struct
from io import BytesIO
from typing import Any

from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v11

VERSION = 11  # Kafka 2.3 and later; the newest that aiokafka knows
FIRST_EPOCH = 0  # asks for a new session, in place of the one named
EPOCH_MAX = 0x7FFFFFFF

_HEAD = struct.Struct(">iiiibii")  # replica, wait, least and most bytes, isolation, session, epoch
_PARTITION = struct.Struct(">iiqqi")  # partition, leader epoch (unknown), offset, log start (a follower's), most bytes
_COUNT = struct.Struct(">i")
_LENGTH = struct.Struct(">h")
_ANSWER = struct.Struct(">ihii")  # throttle, error, session, topics
_ANSWERED = struct.Struct(">ihqqqi")  # partition, error, end, last stable offset, log start, aborted transactions
_ABORTED = struct.Struct(">qq")
_TAIL = struct.Struct(">ii")  # preferred replica, bytes of records

#: topic -> partition -> (offset, most bytes)
Named = dict[str, dict[int, tuple[int, int]]]


class Answer:
    """What `Fetcher._proc_fetch_request` reads of a response."""

    API_VERSION = VERSION

    def __init__(self, topics: list[tuple[str, list[Any]]]) -> None:
        self.topics = topics


class FetchSession:
    """With one broker: what it knows that we want, and from where. One request at a time."""

    def __init__(self) -> None:
        self._id = 0
        self._epoch = FIRST_EPOCH
        self._known: Named = {}
        self._is_waiting = False

    def encode(self, request: FetchRequest) -> bytes:
        """The request's body: what differs from what the broker knows; all of it in a new session."""
        if self._epoch == FIRST_EPOCH:
            self._known = {}
        wanted: Named = {topic: {p: (at, most) for p, at, most in rows} for topic, rows in request.topics}
        changed = [
            (topic, named) for topic, rows in wanted.items() if (named := _differing(rows, self._known.get(topic, {})))
        ]
        gone = [
            (topic, left)
            for topic, rows in self._known.items()
            if (left := [p for p in rows if p not in wanted.get(topic, {})])
        ]
        self._known, self._is_waiting = wanted, True
        parts = [
            _HEAD.pack(
                -1, request._max_wait_ms, request._min_bytes, request._max_bytes, request._isolation_level,
                self._id, self._epoch,
            ),
            _COUNT.pack(len(changed)),
        ]  # fmt: skip
        for topic, named in changed:
            parts += [_text(topic), _COUNT.pack(len(named))]
            parts += [_PARTITION.pack(p, -1, at, -1, most) for p, (at, most) in named.items()]
        parts.append(_COUNT.pack(len(gone)))
        for topic, left in gone:
            parts += [_text(topic), _COUNT.pack(len(left)), *map(_COUNT.pack, left)]
        parts.append(_text(request._rack_id))
        return b"".join(parts)

    def decode(self, response: BytesIO) -> Answer:
        """The answer after its header. One that refuses the session has no partitions, and a new session follows."""
        raw, at = response.getvalue(), response.tell()
        _throttle, error, session, topics = _ANSWER.unpack_from(raw, at)
        self._is_waiting = False
        if error or not session:  # not known, out of step; or the broker keeps no more sessions
            self._id, self._epoch = 0, FIRST_EPOCH
        else:
            self._id, self._epoch = session, self._epoch % EPOCH_MAX + 1
        at += _ANSWER.size
        found = []
        for _ in range(topics):
            (size,) = _LENGTH.unpack_from(raw, at)
            topic = raw[at + 2 : at + 2 + size].decode()
            (count,) = _COUNT.unpack_from(raw, at + 2 + size)
            partitions, at = _partitions(raw, at + 6 + size, count)
            found.append((topic, partitions))
        return Answer(found)

    def settle(self) -> None:
        """The request came to its end; without an answer the two ends may differ, and a new session replaces this."""
        if self._is_waiting:
            self._is_waiting, self._epoch = False, FIRST_EPOCH


class SessionRequest:
    """A request of aiokafka's fetcher, sent in a session. Its `topics` are all that is wanted, as the fetcher reads
    them."""

    def __init__(self, request: FetchRequest, session: FetchSession) -> None:
        self.topics = request.topics
        self._request = request
        self._session = session

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Any:
        """What aiokafka's connection sends; its own where the broker does not speak this version."""
        low, high = versions.get(FetchRequest.API_KEY, (0, 0))
        return _Sent(self._request, self._session) if low <= VERSION <= high else self._request.prepare(versions)


class _Sent(FetchRequest_v11):
    """Put together and taken apart by its session."""

    API_VERSION = VERSION

    def __init__(self, request: FetchRequest, session: FetchSession) -> None:
        self._request = request
        self._session = self.RESPONSE_TYPE = session

    def encode(self) -> bytes:
        return self._session.encode(self._request)

    def __repr__(self) -> str:
        return f"FetchRequest_v{VERSION}(in a session)"


def _differing(rows: dict[int, tuple[int, int]], known: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    return {p: row for p, row in rows.items() if known.get(p) != row}


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _LENGTH.pack(len(encoded)) + encoded


def _partitions(raw: bytes, at: int, count: int) -> tuple[list[Any], int]:
    """(partition, error, end, last stable offset, log start, aborted, preferred replica, records) of each."""
    found: list[Any] = []
    for _ in range(count):
        *head, aborted_count = _ANSWERED.unpack_from(raw, at)
        at += _ANSWERED.size
        size = max(0, aborted_count) * _ABORTED.size
        aborted = None if aborted_count < 0 else list(_ABORTED.iter_unpack(raw[at : at + size]))
        at += size
        replica, size = _TAIL.unpack_from(raw, at)
        at += _TAIL.size
        found.append((*head, aborted, replica, raw[at : at + max(0, size)]))
        at += max(0, size)
    return found, at
