"""Table decision_links: what is known of each client order id, and of each order its decision and number of fills.

Keys: `o:` and an order id; `~c:` and a client order id (after every order in key order: of a checkpoint cut short a
linked client order id never stands without its order's decision); `~totals`; `~watermark`.
"""

from dataclasses import dataclass

import msgspec

from domain.decision_links import ClientOrder, Decision, LinkedOrder
from domain.errors import Fatal
from schemas.registry import FILLS, ORDER_REPORTS, ORDERS
from tables.checkpointed import CheckpointedTable, PartitionTable
from tables.retention import Clock

TABLE = "decision_links"
ORDER = b"o:"
CLIENT = b"~c:"
#: Last in key order: a checkpoint cut short has them only if it has all the entries that they count.
TOTALS_KEY = b"~totals"
WATERMARK_KEY = b"~watermark"
#: Entries in memory per partition: the orders of some hours; 10 MB.
RESIDENTS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class LinkTotals:
    """Fills of the partition whose order is remembered, and those of them whose decision is known."""

    fills: int = 0
    linked: int = 0


LinkValue = ClientOrder | LinkedOrder | LinkTotals | Clock

_Decision = tuple[int, str, int] | None
_pack = msgspec.msgpack.Encoder().encode
_unpack_client = msgspec.msgpack.Decoder(tuple[str | None, _Decision, int]).decode
_unpack_order = msgspec.msgpack.Decoder(tuple[_Decision, int, tuple[int, int], int]).decode
_unpack_totals = msgspec.msgpack.Decoder(tuple[int, int]).decode
_unpack_clock = msgspec.msgpack.Decoder(tuple[int, int, int, bytes]).decode


def client_key(client_order_id: str) -> bytes:
    """The key of a client order id."""
    return CLIENT + client_order_id.encode()


def order_key(order_id: str) -> bytes:
    """The key of an order."""
    return ORDER + order_id.encode()


def _plain(decision: Decision | None) -> _Decision:
    return None if decision is None else (decision.ts_event, decision.decision_id, decision.ts_ingest)


def _decision(stored: _Decision) -> Decision | None:
    return None if stored is None else Decision(*stored)


def encode(value: LinkValue) -> bytes:
    """One letter for the kind, then MessagePack."""
    if isinstance(value, ClientOrder):
        return b"c" + _pack((value.order_id, _plain(value.decision), value.heard_ms))
    if isinstance(value, LinkedOrder):
        return b"o" + _pack((_plain(value.decision), value.fills, value.counted, value.heard_ms))
    if isinstance(value, LinkTotals):
        return b"t" + _pack((value.fills, value.linked))
    return b"w" + _pack((value.newest_ms, value.entries, value.swept_ms, value.sweep_from))


def decode(raw: bytes) -> LinkValue:
    """The inverse of `encode`."""
    kind, body = raw[:1], raw[1:]
    match kind:
        case b"c":
            order_id, stored, heard_ms = _unpack_client(body)
            return ClientOrder(order_id, _decision(stored), heard_ms)
        case b"o":
            stored, fills, counted, heard_ms = _unpack_order(body)
            return LinkedOrder(_decision(stored), fills, counted, heard_ms)
        case b"t":
            return LinkTotals(*_unpack_totals(body))
        case b"w":
            return Clock(*_unpack_clock(body))
    raise Fatal(f"table {TABLE}: expected a value of a known kind, was {kind!r}")


def client_of(table: PartitionTable[LinkValue], client_order_id: str) -> ClientOrder:
    """What is known of a client order id."""
    value = table.get(client_key(client_order_id))
    return value if isinstance(value, ClientOrder) else ClientOrder()


def order_of(table: PartitionTable[LinkValue], order_id: str) -> LinkedOrder:
    """What is known of an order."""
    value = table.get(order_key(order_id))
    return value if isinstance(value, LinkedOrder) else LinkedOrder()


def totals_of(table: PartitionTable[LinkValue]) -> LinkTotals:
    """The fills of the partition, and the linked ones."""
    value = table.get(TOTALS_KEY)
    return value if isinstance(value, LinkTotals) else LinkTotals()


def recounted(table: PartitionTable[LinkValue]) -> LinkTotals:
    """The totals, counted from the orders; reads the whole table."""
    orders = [value for _, value in table.items() if isinstance(value, LinkedOrder)]
    return LinkTotals(sum(o.fills for o in orders), sum(o.fills for o in orders if o.decision is not None))


def clock_of(table: PartitionTable[LinkValue]) -> Clock:
    """The clock of the partition."""
    value = table.get(WATERMARK_KEY)
    return value if isinstance(value, Clock) else Clock()


def is_expired(value: LinkValue, horizon_ms: int) -> bool:
    """Whether an entry may go: last heard of before the horizon."""
    return isinstance(value, ClientOrder | LinkedOrder) and value.heard_ms < horizon_ms


DECISION_LINKS: CheckpointedTable[LinkValue] = CheckpointedTable(
    TABLE, encode, decode, RESIDENTS_MAX, (ORDERS.name, ORDER_REPORTS.name, FILLS.name)
)
