"""What a destination in Postgres is, and how a record becomes one row of it. The destinations are listed in `rows`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from msgspec.json import Encoder

from domain.errors import MalformedFrame
from schemas import records as r
from schemas import registry
from sinks.contract import SourceRecord
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
class Projection:
    """A table with the latest row per key.

    `key`: the column, and the payload field of the same name; `columns`: the payload columns it keeps, the key among
    them; `keeps_payload`: where there is no event table to look it up in.
    """

    table: str
    key: str
    columns: tuple[str, ...]
    keeps_payload: bool = False

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Every column written, envelope first."""
        return STATE_ENVELOPE + self.columns + (("payload",) if self.keeps_payload else ())


@dataclass(frozen=True, eq=False)
class Destination:
    """One record type of one topic."""

    topic: registry.Topic
    record: type[r.Record]
    events_table: str | None
    projection: Projection | None
    columns: tuple[str, ...]
    row: RowFunction

    @cached_property
    def event_type(self) -> str:
        """The tag that picks this entry."""
        return str(self.record.__struct_config__.tag)

    @cached_property
    def stage(self) -> str:
        """Name of the temporary table that rows pass through."""
        return f"stage_{self.event_type}"

    @cached_property
    def staged_columns(self) -> tuple[str, ...]:
        """Columns of the stage, in the order of a row's fields."""
        if self.events_table is None and self.projection is not None:
            return self.projection.all_columns
        return ENVELOPE + self.columns

    @cached_property
    def keeps_payload(self) -> bool:
        """Whether the projection alone must hold the payload."""
        return self.projection is not None and self.projection.keeps_payload

    def state_key(self, record: r.Record) -> str:
        """The projection's key of this record: the payload field has the column's name."""
        return "" if self.projection is None else str(getattr(record.payload, self.projection.key))  # type: ignore[attr-defined]

    @cached_property
    def row_prefix(self) -> bytes:
        """What every row begins with: the number of fields, and the event type where there is one."""
        head = b.row_head(len(self.staged_columns))
        return head if self.events_table is None else head + b.text(self.event_type)


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


def copy_row(destination: Destination, source: SourceRecord, partition: int, record: r.Record, ts_ms: int) -> bytes:
    """One row of binary COPY for the stage of this destination.

    Raises:
        struct.error: an integer beyond its column.
    """
    payload = record.payload  # type: ignore[attr-defined]
    parts = [
        destination.row_prefix,
        b.int2(record.schema_version) if destination.events_table is not None else b"",
        b.times_and_place(ts_ms, record.ts_ingest, partition, source.offset),
        b.text(record.idempotency_key),
    ]
    if destination.events_table is not None:
        parts += b.repeated_text(record.source), _cause_fields(record.cause), b.jsonb(_encode_payload(payload))
        parts += destination.row(payload)
    else:
        parts += destination.row(payload)
        if destination.keeps_payload:
            parts.append(b.jsonb(_encode_payload(payload)))
    return b"".join(parts)


def _cause_fields(cause: r.Cause | None) -> bytes:
    if cause is None:
        return b.NULL * 4
    return b.repeated_text(cause.topic) + b.cause_place(cause.partition, cause.offset, cause.n)
