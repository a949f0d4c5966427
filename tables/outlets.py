"""Where the outputs of a task go: one outbox for each topic and partition it writes to.

The partition of a record is a function of its key and its topic, not of the task that writes it:

    desk topics                       partition 0: one total order
    market topics, from a market      the task's own: records keep the key of what they were made from
    market topics, from the desk      by the key, as Kafka's default partitioner does; a copy for each partition is
                                      keyed by the partition's number
"""

from collections.abc import Callable

from aiokafka.partitioner import murmur2

from tables.outbox import Outbox, Row

Outputs = dict[str, list[Row]]
#: A record's key -> its partition.
Place = Callable[[bytes | None], int]

#: Keys whose partition is remembered, per process: markets of a day. Beyond it they are computed again.
PLACES_MAX = 100_000


def always(partition: int) -> Place:
    """The same partition for every key."""
    return lambda _key: partition


def by_number(key: bytes | None) -> int:
    """For records keyed by the number of the partition that they are for."""
    return int(key or b"0")


class ByKey:
    """The partition of Kafka's default partitioner; remembered."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._known: dict[bytes | None, int] = {None: 0}

    def __call__(self, key: bytes | None) -> int:
        place = self._known.get(key)
        if place is None:
            if len(self._known) > PLACES_MAX:
                self._known = {None: 0}
            place = self._known[key] = (murmur2(key) & 0x7FFFFFFF) % self._partitions
        return place


class Outlets:
    """`places`: topic -> the partition of a key. `new_outbox` makes a sender when the first record goes there."""

    def __init__(self, places: dict[str, Place], new_outbox: Callable[[str, int], Outbox]) -> None:
        self._places = places
        self._new_outbox = new_outbox
        self._outboxes: dict[tuple[str, int], Outbox] = {}

    def put(self, outputs: Outputs) -> None:
        """Queue rows, in order per topic partition.

        Raises:
            KeyError: a topic that was not declared.
        """
        for topic, rows in outputs.items():
            if not rows:
                continue
            place = self._places[topic]
            first = place(rows[0][0])
            if all(place(key) == first for key, _ in rows):
                self._outbox(topic, first).put(rows)
            else:
                for row in rows:
                    self._outbox(topic, place(row[0])).put([row])

    def _outbox(self, topic: str, partition: int) -> Outbox:
        outbox = self._outboxes.get((topic, partition))
        if outbox is None:
            outbox = self._outboxes[topic, partition] = self._new_outbox(topic, partition)
        return outbox

    def queued(self) -> dict[Outbox, int]:
        """Rows queued so far, by sender."""
        return {outbox: outbox.queued for outbox in self._outboxes.values()}

    @property
    def waiting(self) -> int:
        """Rows that the broker has not acknowledged yet."""
        return sum(outbox.waiting for outbox in self._outboxes.values())

    def close(self) -> None:
        """Stop sending."""
        for outbox in self._outboxes.values():
            outbox.close()
