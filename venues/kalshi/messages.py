"""What a WebSocket frame of the venue means, in exact integers, whatever wire vintage it came in.

These are the words between `frames` (which reads bytes) and `translate` (which writes records): no vintage, no text
numbers, no optional spellings. A frame that says nothing usable is a `Refused`, never an exception.
"""

from msgspec import Struct

Level = tuple[int, int]
SNAPSHOT = "orderbook_snapshot"
BOOK_KINDS = ("orderbook_delta", SNAPSHOT)


class DeltaFrame(Struct, frozen=True, gc=False):
    """A signed change of one level. `ts_event_ms` is null where the frame carries no time."""

    sid: int
    seq: int
    market_ticker: str
    market_id: str | None
    side: str
    price_e4: int
    delta_e2: int
    ts_event_ms: int | None


class SnapshotFrame(Struct, frozen=True, gc=False):
    """The whole book, levels in the order received. `command_id` is set on the answer to a `get_snapshot`."""

    sid: int
    seq: int
    command_id: int | None
    market_ticker: str
    market_id: str | None
    yes: list[Level]
    no: list[Level]


class TradeFrame(Struct, frozen=True, gc=False):
    """A public trade. `sid` and `seq` are null in the vintages that do not number trades."""

    sid: int | None
    seq: int | None
    market_ticker: str
    trade_id: str
    yes_price_e4: int
    no_price_e4: int
    count_e2: int
    taker_side: str
    is_block_trade: bool | None
    ts_event_ms: int | None


class ControlFrame(Struct, frozen=True):
    """`subscribed`, `unsubscribed`, `ok` or `error`. `sid` of `subscribed` is the new one; the others may carry a
    `seq`, which consumes a number of that sid."""

    kind: str
    command_id: int | None
    sid: int | None
    seq: int | None
    channel: str | None
    error_code: int
    text: str
    market_tickers: tuple[str, ...]


class Refused(Struct, frozen=True):
    """A frame that becomes a dead letter. What could be read of it is kept: a refused book frame that carries a
    `seq` has changed the venue's book without changing ours. `kind` is its type, as far as it named one that is known
    to us, and `command_id` the command that it answers."""

    reason: str
    detail: str
    sid: int | None = None
    seq: int | None = None
    market_ticker: str | None = None
    kind: str = ""
    command_id: int | None = None

    @property
    def is_book(self) -> bool:
        """A change of a book, or a whole one."""
        return self.kind in BOOK_KINDS


Frame = DeltaFrame | SnapshotFrame | TradeFrame | ControlFrame | Refused
