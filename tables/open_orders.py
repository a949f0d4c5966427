"""Table open_orders: every order known (as long as fills are), and per market the ids of those that rest.

Keys: `o:` and an order id; `~live:` and a market (after every order in key order: of a checkpoint cut short there may
be orders without their market's list, never a list without its orders); `~watermark`.
"""

from dataclasses import dataclass

import msgspec

from domain.errors import Fatal
from domain.fill_facts import Action, Side
from domain.orders import LIVE, KnownOrder, ReportedOrder, Status
from schemas.registry import ORDER_REPORTS
from tables.checkpointed import CheckpointedTable, PartitionTable
from tables.retention import Clock

TABLE = "open_orders"
ORDER = b"o:"
MARKET = b"~live:"
WATERMARK_KEY = b"~watermark"
#: Orders in memory per partition: far more than ever rest at once; 12 MB.
RESIDENTS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class MarketOrders:
    """The ids of a market's live orders, sorted; `ts_event_ms` is the largest published. `drift` are those that the
    venue's last list (as of `venue_as_of_ms`) contradicts, `drift_since_ms` when the first of them was seen."""

    market_ticker: str
    live: tuple[str, ...] = ()
    ts_event_ms: int = 0
    drift: tuple[str, ...] = ()
    drift_since_ms: int | None = None
    venue_as_of_ms: int | None = None


OrderValue = KnownOrder | MarketOrders | Clock


class _Order(msgspec.Struct, array_like=True, gc=False):
    """What is stored of an order. Field order is the format: add at the end, with a default."""

    market_ticker: str
    order_id: str
    client_order_id: str | None
    status: Status
    side: Side
    action: Action
    price_e4: int | None
    initial_e2: int
    filled_e2: int
    remaining_e2: int
    created_ts_ms: int | None
    updated_ts_ms: int | None
    decision_id: str | None
    revision: int


class _Market(msgspec.Struct, array_like=True, gc=False):
    """What is stored of a market's list. Field order is the format: add at the end, with a default."""

    market_ticker: str
    live: tuple[str, ...]
    ts_event_ms: int
    drift: tuple[str, ...] = ()
    drift_since_ms: int | None = None
    venue_as_of_ms: int | None = None


_MARKET_FIELDS = _Market.__struct_fields__
_FIELDS = _Order.__struct_fields__
_pack = msgspec.msgpack.Encoder().encode
_unpack_order = msgspec.msgpack.Decoder(_Order).decode
_unpack_market = msgspec.msgpack.Decoder(_Market).decode
_unpack_clock = msgspec.msgpack.Decoder(tuple[int, int, int, bytes]).decode


def order_key(order_id: str) -> bytes:
    """The key of an order."""
    return ORDER + order_id.encode()


def market_key(ticker: str) -> bytes:
    """The key of a market's list."""
    return MARKET + ticker.encode()


def encode(value: OrderValue) -> bytes:
    """One letter for the kind, then MessagePack."""
    if isinstance(value, KnownOrder):
        return b"o" + _pack([getattr(value, name) for name in _FIELDS])
    if isinstance(value, MarketOrders):
        return b"m" + _pack([getattr(value, name) for name in _MARKET_FIELDS])
    return b"w" + _pack((value.newest_ms, value.entries, value.swept_ms, value.sweep_from))


def decode(raw: bytes) -> OrderValue:
    """The inverse of `encode`."""
    kind, body = raw[:1], raw[1:]
    if kind == b"o":
        stored = _unpack_order(body)
        return KnownOrder(*[getattr(stored, name) for name in _FIELDS])
    if kind == b"m":
        market = _unpack_market(body)
        return MarketOrders(*[getattr(market, name) for name in _MARKET_FIELDS])
    if kind == b"w":
        return Clock(*_unpack_clock(body))
    raise Fatal(f"table {TABLE}: expected a value of a known kind, was {kind!r}")


def clock_of(table: PartitionTable[OrderValue]) -> Clock:
    """The clock of the partition."""
    clock = table.get(WATERMARK_KEY)
    return clock if isinstance(clock, Clock) else Clock()


def market_of(table: PartitionTable[OrderValue], ticker: str) -> MarketOrders:
    """The market's list, empty if there is none."""
    market = table.get(market_key(ticker))
    return market if isinstance(market, MarketOrders) else MarketOrders(ticker)


def order_of(table: PartitionTable[OrderValue], order_id: str) -> KnownOrder | None:
    """The order, if it is known."""
    order = table.get(order_key(order_id))
    return order if isinstance(order, KnownOrder) else None


def live_orders(table: PartitionTable[OrderValue], market: MarketOrders) -> list[KnownOrder]:
    """The market's orders that rest, in order of their ids."""
    orders = (order_of(table, order_id) for order_id in market.live)
    return [order for order in orders if order is not None and order.status in LIVE]


def markets(table: PartitionTable[OrderValue]) -> list[MarketOrders]:
    """The lists of all markets, the newest state of each."""
    stored = {}
    for key, _ in table.store.items(MARKET):
        if not key.startswith(MARKET):
            break
        stored[key] = table.get(key)
    for key, value in list(table.residents.items()):
        if key.startswith(MARKET):
            stored[key] = value
    return [value for _, value in sorted(stored.items()) if isinstance(value, MarketOrders)]


def heard_ms_of(order: ReportedOrder | KnownOrder) -> int | None:
    """The venue's last time of an order, None where it gives none."""
    return order.updated_ts_ms if order.updated_ts_ms is not None else order.created_ts_ms


def is_expired(value: OrderValue, horizon_ms: int) -> bool:
    """Whether an entry may go: a final order last heard of before the horizon, or a market without orders."""
    if isinstance(value, KnownOrder):
        heard_ms = heard_ms_of(value)
        return value.status not in LIVE and heard_ms is not None and heard_ms < horizon_ms
    return isinstance(value, MarketOrders) and not value.live and value.ts_event_ms < horizon_ms


OPEN_ORDERS: CheckpointedTable[OrderValue] = CheckpointedTable(
    TABLE, encode, decode, RESIDENTS_MAX, (ORDER_REPORTS.name,)
)
