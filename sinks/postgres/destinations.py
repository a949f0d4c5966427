"""What a destination in Postgres is, and how a record becomes one row of it. The destinations are listed in `rows`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

from msgspec.json import Encoder

from domain.errors import MalformedFrame
from schemas import records as r
from schemas import registry
from sinks.postgres import binary as b

Fields = tuple[bytes, ...]
RowFunction = Callable[[Any], Fields]

# In the order that lets one struct.pack write five of them.
ENVELOPE = (
    *("event_type", "schema_version", "ts_event", "ts_ingest", "_partition", "_offset", "idempotency_key", "source"),
    *("cause_topic", "cause_partition", "cause_offset", "cause_n", "payload"),
)
#: What a projection keeps of the envelope; (ts_event, idempotency_key) is its order.
STATE_ENVELOPE = ("ts_event", "ts_ingest", "_partition", "_offset", "idempotency_key")

# Days that a market of today can concern. A time outside is a defect of its sender, and a partition per such day would
# let one bad clock fill the catalogue.
TS_EVENT_MIN_MS = 1_577_836_800_000  # 2020-01-01
TS_EVENT_MAX_MS = 4_102_444_800_000  # 2100-01-01
DAY_MS = 86_400_000

_encode_payload = Encoder().encode


@dataclass(frozen=True, eq=False)
class Events:
    """The append-only table of a record type: every record a row. `columns` are those of the payload, and `row` turns a
    payload into their fields, in the same order."""

    table: str
    columns: tuple[str, ...]
    row: RowFunction

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Every column written, envelope first."""
        return ENVELOPE + self.columns


@dataclass(frozen=True, eq=False)
class Projection:
    """A table with the latest row per key.

    `key`: the column, and the payload field of the same name; `columns`: the payload columns it keeps, the key among
    them, with `row` as in `Events`; `keeps_payload`: where there is no event table to look it up in.
    """

    table: str
    key: str
    columns: tuple[str, ...]
    row: RowFunction
    keeps_payload: bool = False

    @cached_property
    def key_of(self) -> Callable[[Any], str]:
        """Takes the key from a record."""
        return attrgetter(f"payload.{self.key}")

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Every column written, envelope first."""
        return STATE_ENVELOPE + self.columns + (("payload",) if self.keeps_payload else ())


@dataclass(frozen=True, eq=False)
class Destination:
    """One record type of one topic."""

    topic: registry.Topic
    record: type[r.Record]
    events: Events | None
    projection: Projection | None = None

    @cached_property
    def event_type(self) -> str:
        """The tag that picks this entry."""
        return str(self.record.__struct_config__.tag)

    @property
    def events_table(self) -> str | None:
        """Name of the event table."""
        return None if self.events is None else self.events.table

    @cached_property
    def event_head(self) -> bytes:
        """What every row for the events begins with: the number of fields, and the event type."""
        return b"" if self.events is None else b.row_head(len(self.events.all_columns)) + b.text(self.event_type)

    @cached_property
    def state_head(self) -> bytes:
        """What every row for the projection begins with: the number of fields."""
        return b"" if self.projection is None else b.row_head(len(self.projection.all_columns))


def event_time_ms(record: r.Record) -> int:
    """The time that picks the partition and orders projections.

    A derived record always has one; null is filled from ts_ingest only there, where that is a
    function of the cause and so of the key.

    Raises:
        MalformedFrame: `no_event_time`, `implausible_event_time`.
    """
    ts_ms = record.ts_event
    if ts_ms is None:
        if record.cause is None:
            raise MalformedFrame("no_event_time", f"expected ts_event, was null ({record.idempotency_key})")
        ts_ms = record.ts_ingest
    if not TS_EVENT_MIN_MS <= ts_ms < TS_EVENT_MAX_MS:
        raise MalformedFrame("implausible_event_time", f"expected 2020 to 2099 in ms, was {ts_ms}")
    return ts_ms


def event_row(destination: Destination, offset: int, partition: int, record: r.Record, ts_ms: int) -> bytes:
    """One row of binary COPY for the event table.

    Raises:
        struct.error: an integer beyond its column.
    """
    payload = record.payload  # type: ignore[attr-defined]
    return b"".join(
        (
            destination.event_head,
            b.int2(record.schema_version),
            b.times_and_place(ts_ms, record.ts_ingest, partition, offset),
            b.text(record.idempotency_key),
            b.repeated_text(record.source),
            _cause_fields(record.cause),
            b.jsonb(_encode_payload(payload)),
            *destination.events.row(payload),  # type: ignore[union-attr]
        )
    )


def state_row(destination: Destination, offset: int, partition: int, record: r.Record, ts_ms: int) -> bytes:
    """One row of binary COPY for the projection's stage. Raises like `event_row`."""
    payload, projection = record.payload, destination.projection  # type: ignore[attr-defined]
    return b"".join(
        (
            destination.state_head,
            b.times_and_place(ts_ms, record.ts_ingest, partition, offset),
            b.text(record.idempotency_key),
            *projection.row(payload),  # type: ignore[union-attr]
            b.jsonb(_encode_payload(payload)) if projection.keeps_payload else b"",  # type: ignore[union-attr]
        )
    )


def _cause_fields(cause: r.Cause | None) -> bytes:
    if cause is None:
        return b.NULL * 4
    return b.repeated_text(cause.topic) + b.cause_place(cause.partition, cause.offset, cause.n)
