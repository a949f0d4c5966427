"""Table seen_fills: every fill known, under its id and under its twin key, kept for the retention in event time.

Keys, by their first byte: `.` and a fill id (or another id of the same fill); `~` and the hash of a twin key; `~m:` and
a market; `~watermark`. None of them is a record's key, and no id that a venue invents can be one of the others.
"""

from dataclasses import dataclass
from operator import attrgetter

import msgspec

from domain.errors import Fatal
from domain.fill_facts import Action, KnownFill, Side, TimeSource, twin_key
from domain.fills import SeenEntry
from schemas.registry import FILL_REPORTS
from tables.checkpointed import CheckpointedTable, PartitionTable
from tables.retention import Clock

TABLE = "seen_fills"
FILL = b"."
#: Last in key order: a checkpoint cut short has it only if it has all the entries that it counts.
WATERMARK_KEY = b"~watermark"
MARKET = b"~m:"
#: Entries in memory per partition: the duplicates of some minutes of polls; 25 MB.
RESIDENTS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class MarketTime:
    """The largest ts_event published of a market: derived records never go back in time."""

    ts_event_ms: int


SeenValue = SeenEntry | Clock | MarketTime


class _Fill(msgspec.Struct, array_like=True, gc=False):
    """What is stored of a fill. Field order is the format: add at the end, with a default."""

    market_ticker: str
    fill_id: str
    venue_fill_id: str | None
    order_id: str
    client_order_id: str | None
    side: Side
    action: Action
    price_e4: int
    count_e2: int
    is_taker: bool | None
    fee_e6: int | None
    ts_ms: int
    ts_source: TimeSource
    decision_id: str | None
    revision: int


_fields = attrgetter(*_Fill.__struct_fields__)
_pack = msgspec.msgpack.Encoder().encode
_unpack_fill = msgspec.msgpack.Decoder(_Fill).decode
_unpack_clock = msgspec.msgpack.Decoder(tuple[int, int, int, bytes]).decode
_unpack_text = msgspec.msgpack.Decoder(str).decode
_unpack_texts = msgspec.msgpack.Decoder(tuple[str, ...]).decode
_unpack_number = msgspec.msgpack.Decoder(int).decode


def table_key(name: str) -> bytes:
    """The key of a name as `domain.fills` uses it: a twin key starts with '~', everything else is an id."""
    return name.encode() if name.startswith("~") else FILL + name.encode()


def market_key(ticker: str) -> bytes:
    """The key of a market's time."""
    return MARKET + ticker.encode()


def encode(value: SeenValue) -> bytes:
    """One letter for the kind, then MessagePack; about 170 bytes a fill."""
    if isinstance(value, Clock):
        return b"w" + _pack((value.newest_ms, value.entries, value.swept_ms, value.sweep_from))
    if isinstance(value, MarketTime):
        return b"m" + _pack(value.ts_event_ms)
    if value.fill is not None:
        return b"f" + _pack(_fields(value.fill))
    return b"a" + _pack(value.alias_of) if value.alias_of is not None else b"t" + _pack(value.members)


def decode(raw: bytes) -> SeenValue:
    """The inverse of `encode`."""
    kind, body = raw[:1], raw[1:]
    match kind:
        case b"f":
            return SeenEntry(fill=KnownFill(*_fields(_unpack_fill(body))))
        case b"t":
            return SeenEntry(members=_unpack_texts(body))
        case b"a":
            return SeenEntry(alias_of=_unpack_text(body))
        case b"m":
            return MarketTime(_unpack_number(body))
        case b"w":
            return Clock(*_unpack_clock(body))
    raise Fatal(f"table {TABLE}: expected a value of a known kind, was {kind!r}")


def clock_of(table: PartitionTable[SeenValue]) -> Clock:
    """The clock of the partition."""
    clock = table.get(WATERMARK_KEY)
    return clock if isinstance(clock, Clock) else Clock()


def is_expired(table: PartitionTable[SeenValue], value: SeenValue, horizon_ms: int) -> bool:
    """Whether an entry may go: its fill is older than the horizon, or it points only to fills that are gone."""
    if isinstance(value, Clock):
        return False
    if isinstance(value, MarketTime):
        return value.ts_event_ms < horizon_ms
    if value.fill is not None:
        return value.fill.ts_ms < horizon_ms
    names = (value.alias_of,) if value.alias_of is not None else value.members
    entries = [table.get(table_key(name)) for name in names]
    return all(entry is None or is_expired(table, entry, horizon_ms) for entry in entries)


def entry_of(table: PartitionTable[SeenValue], name: str) -> SeenEntry | None:
    """The entry of an id or a twin key, as `domain.fills.judge` looks it up."""
    value = table.get(table_key(name))
    return value if isinstance(value, SeenEntry) else None


def twins_of(fill: KnownFill) -> bytes:
    """The key under which a fill's equals are listed."""
    return table_key(twin_key(fill))


SEEN_FILLS: CheckpointedTable[SeenValue] = CheckpointedTable(TABLE, encode, decode, RESIDENTS_MAX, (FILL_REPORTS.name,))
