"""From undecoded records to what one transaction does: rows per destination, refusals, and the causes they raise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import error as PackError  # noqa: N812 - the standard library's name says nothing
from typing import Any

import msgspec

from domain.errors import MalformedFrame
from schemas import registry
from schemas.records import Cause, Record
from sinks.contract import DeadLetterNote, SourceRecord
from sinks.postgres.cursor import CauseHigh, cause_key
from sinks.postgres.destinations import Destination, copy_row, event_time_ms
from sinks.postgres.partitions import day_of

_TOPIC_NAMES = frozenset(topic.name for topic in registry.TOPICS)
_BELOW_ALL = (-1, -1)
DETAIL_CHARACTERS_MAX = 2_000  # the bound of a dead letter's detail


class Entry(msgspec.Struct, gc=False):
    """One record, ready: either a row for a destination, or the note that refuses it.

    A Struct outside the garbage collector: one is made per record, and it holds no cycle.
    """

    source: SourceRecord
    destination: Destination | None = None
    row: bytes = b""
    day: int = 0
    state_key: str = ""
    order: tuple[int, str] = (0, "")
    cause: Cause | None = None
    note: DeadLetterNote | None = None

    @property
    def offset(self) -> int:
        """Where it lies in its partition."""
        return self.source.offset

    def refused(self, reason: str, detail: str) -> "Entry":
        """The same record, refused. A cause it has still counts as seen: its repeats are skipped."""
        # The outbox is text too: what it cannot hold must not refuse the refusal.
        legible = detail.replace("\x00", "\\0").encode(errors="backslashreplace").decode()
        note = DeadLetterNote(self.source, reason, legible[:DETAIL_CHARACTERS_MAX])
        return Entry(self.source, cause=self.cause, note=note)


@dataclass(slots=True)
class Plan:
    """What is to be written of a run of entries: those whose cause is new."""

    rows: dict[Destination, list[Entry]]
    notes: list[DeadLetterNote]
    cause_high: CauseHigh
    repeats: int

    def days(self) -> set[tuple[str, int]]:
        """The (event table, day) pairs that need a partition."""
        return {
            (destination.events_table, entry.day)
            for destination, entries in self.rows.items()
            if destination.events_table is not None
            for entry in entries
        }


class Reader:
    """Decodes the records of one topic and builds their rows."""

    def __init__(self, decode: Callable[[bytes], Any], destinations: Sequence[Destination]) -> None:
        self._decode = decode
        self._by_record: dict[type[Record], Destination] = {d.record: d for d in destinations}

    def entries(self, records: Sequence[SourceRecord], partition: int) -> list[Entry]:
        """One entry per record, in order. Nothing here raises for bad input: a poison record costs only itself."""
        try:
            decoded = list(map(self._decode, [record.value or b"" for record in records]))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return [self._entry_alone(record, partition) for record in records]
        return [self._entry(record, value, partition) for record, value in zip(records, decoded, strict=True)]

    def _entry_alone(self, source: SourceRecord, partition: int) -> Entry:
        try:
            value = self._decode(source.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            return Entry(source).refused("undecodable", str(wrong))
        return self._entry(source, value, partition)

    def _entry(self, source: SourceRecord, record: Record, partition: int) -> Entry:
        destination = self._by_record.get(type(record))
        if destination is None:
            # A record of the topic that this store does not keep: passed by, its offset counts.
            return Entry(source)
        try:
            _check_cause(record.cause)
            ts_ms = event_time_ms(record)
            row = copy_row(destination, source, partition, record, ts_ms)
        except MalformedFrame as wrong:
            return Entry(source).refused(wrong.reason, wrong.detail)
        except (PackError, UnicodeEncodeError, OverflowError) as wrong:
            return Entry(source).refused("no_row", f"expected values that fit, was: {wrong}")
        order = (ts_ms, record.idempotency_key)
        return Entry(source, destination, row, day_of(ts_ms), destination.state_key(record), order, record.cause)


def latest_per_key(entries: Sequence[Entry]) -> list[Entry]:
    """The entry that a projection would keep of each key, by key. Python orders text by code points, which is the order
    of its UTF-8 bytes, which is COLLATE "C"."""
    best: dict[str, Entry] = {}
    for entry in entries:
        held = best.get(entry.state_key)
        if held is None or entry.order > held.order:
            best[entry.state_key] = entry
    return [best[key] for key in sorted(best)]


def _check_cause(cause: Cause | None) -> None:
    """What a cause names goes into `cause_high`, which must stay small and be storable: known topics only."""
    if cause is not None and cause.topic not in _TOPIC_NAMES:
        raise MalformedFrame("unknown_cause", f"expected a topic of the catalogue, was {cause.topic[:100]!r}")


def plan(entries: Sequence[Entry], held: CauseHigh) -> Plan:
    """Leave out what a derived topic repeats after a kill: anything not above the highest (offset, n) of its cause
    partition."""
    result = Plan({}, [], dict(held), 0)
    high, rows = result.cause_high, result.rows
    names: dict[tuple[str, int], str] = {}
    for entry in entries:
        cause = entry.cause
        if cause is not None:
            origin = (cause.topic, cause.partition)
            key = names.get(origin) or names.setdefault(origin, cause_key(cause))
            place = (cause.offset, cause.n)
            if place <= high.get(key, _BELOW_ALL):
                result.repeats += 1
                continue
            high[key] = place
        if entry.note is not None:
            result.notes.append(entry.note)
        elif entry.destination is not None:
            if entry.destination not in rows:
                rows[entry.destination] = []
            rows[entry.destination].append(entry)
    return result
