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
from sinks.postgres.destinations import Destination, event_time_ms
from sinks.postgres.failures import RowRefused
from sinks.postgres.partitions import day_of

_TOPIC_NAMES = frozenset(topic.name for topic in registry.TOPICS)
_BELOW_ALL = (-1, -1)
_INT4_MAX, _INT8_MAX = (1 << 31) - 1, (1 << 63) - 1
DETAIL_CHARACTERS_MAX = 2_000  # the bound of a dead letter's detail


class Entry(msgspec.Struct, gc=False):
    """One record, judged: for a destination, or refused by a note, or neither (passed by, its offset counts).

    A Struct outside the garbage collector: one is made per record, and it holds no cycle.
    """

    source: SourceRecord
    offset: int
    destination: Destination | None = None
    record: Any = None  # of the destination's class
    ts_ms: int = 0
    cause: Cause | None = None
    note: DeadLetterNote | None = None

    def refused(self, reason: str, detail: str) -> "Entry":
        """The same record, refused. A cause it has still counts as seen: its repeats are skipped."""
        # The outbox is text too: what it cannot hold must not refuse the refusal.
        legible = detail.replace("\x00", "\\0").encode(errors="backslashreplace").decode()
        note = DeadLetterNote(self.source, reason, legible[:DETAIL_CHARACTERS_MAX])
        return Entry(self.source, self.offset, cause=self.cause, note=note)


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
            (destination.events_table, day)
            for destination, entries in self.rows.items()
            if destination.events_table is not None
            for day in {day_of(entry.ts_ms) for entry in entries}
        }


class Reader:
    """Decodes the records of one topic and judges what can be judged without the server."""

    def __init__(self, decode: Callable[[bytes], Any], destinations: Sequence[Destination]) -> None:
        self._decode = decode
        self._by_record: dict[type[Record], Destination] = {d.record: d for d in destinations}

    def entries(self, records: Sequence[SourceRecord]) -> list[Entry]:
        """One entry per record, in order. Nothing here raises for bad input: a poison record costs only itself."""
        try:
            decoded = list(map(self._decode, [record.value or b"" for record in records]))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return [self._entry_alone(record) for record in records]
        return list(map(self._entry, records, decoded))

    def _entry_alone(self, source: SourceRecord) -> Entry:
        try:
            value = self._decode(source.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            return Entry(source, source.offset).refused("undecodable", str(wrong))
        return self._entry(source, value)

    def _entry(self, source: SourceRecord, record: Record) -> Entry:
        destination = self._by_record.get(type(record))
        if destination is None:
            # A record of the topic that this store does not keep: passed by, its offset counts.
            return Entry(source, source.offset)
        cause = record.cause
        try:
            _check_cause(cause)
            ts_ms = event_time_ms(record)
        except MalformedFrame as wrong:
            return Entry(source, source.offset).refused(wrong.reason, wrong.detail)
        return Entry(source, source.offset, destination, record, ts_ms, cause)


Row = Callable[[Destination, int, int, Record, int], bytes]
Latest = dict[str, Entry]


def rows_of(row: Row, destination: Destination, partition: int, entries: Sequence[Entry]) -> bytes:
    """The binary COPY rows of the destination's entries; `row`: `event_row` or `state_row`.

    Raises:
        RowRefused: `no_row`, a value does not fit its column.
    """
    try:
        return b"".join([row(destination, entry.offset, partition, entry.record, entry.ts_ms) for entry in entries])
    except (PackError, UnicodeEncodeError, OverflowError) as wrong:
        raise RowRefused("no_row", f"expected values that fit, was: {wrong}") from wrong


def keep_latest(latest: Latest, destination: Destination, entries: Sequence[Entry]) -> None:
    """Keep the entry of each key that the destination's projection would keep, if it has one. Python orders text by
    code points, which is the order of its UTF-8 bytes, which is COLLATE "C"."""
    if destination.projection is None:
        return
    key_of = destination.projection.key_of
    for entry in entries:
        key = key_of(entry.record)
        held = latest.get(key)
        if held is None or _order(entry) > _order(held):
            latest[key] = entry


def _order(entry: Entry) -> tuple[int, str]:
    return entry.ts_ms, entry.record.idempotency_key


def _check_cause(cause: Cause | None) -> None:
    """What a cause names goes into `cause_high`, which must stay small and be storable: known topics, and places that a
    log can have (one beyond them would turn all that comes later into repeats)."""
    if cause is None:
        return
    if cause.topic not in _TOPIC_NAMES:
        raise MalformedFrame("unknown_cause", f"expected a topic of the catalogue, was {cause.topic[:100]!r}")
    if cause.offset > _INT8_MAX or cause.partition > _INT4_MAX or cause.n > _INT4_MAX:
        raise MalformedFrame("unknown_cause", f"expected a place in a log, was {str(cause)[:200]}")


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
