"""WebSocket frames of the venue, bytes to meaning: the fast path for today's vintage, and the front of the slow one.

Almost every frame is of vintage (c) and is read by one strict msgspec pass. Whatever that
pass refuses, for any reason, goes to `vintages`, which knows every vintage and says precisely what is wrong.
"""

from collections import Counter
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from domain.errors import MalformedFrame
from domain.units import DOLLAR_E4, PRICE_E4_MAX, PRICE_E4_MIN, dollars_text, price_e4_from_dollars, size_e2_from_text
from schemas.records import Ticker
from venues.kalshi.messages import DeltaFrame, Frame, Level, Refused, SnapshotFrame, TradeFrame
from venues.kalshi.timestamps import MILLISECONDS_MAX, SECONDS_MAX, event_ms
from venues.kalshi.vintages import SIZE_TEXTS_CACHED_MAX, parse_any_vintage, taker_side

#: The largest frame that is read. A larger one is refused unread; its dead letter must fit 8 MiB as base64.
FRAME_BYTES_MAX = 4 << 20

Counted = Annotated[int, Meta(ge=0, le=1 << 53)]
ShortText = Annotated[str, Meta(min_length=1, max_length=128)]
Side = Literal["yes", "no"]
BookSide = Literal["bid", "ask"]
#: Milliseconds by their size; a time in another unit is for the slow path, which rescales it.
WireMs = Annotated[int, Meta(ge=SECONDS_MAX, lt=MILLISECONDS_MAX)]


class _DeltaMsg(Struct, gc=False, forbid_unknown_fields=True):
    market_ticker: Ticker
    price_dollars: str
    delta_fp: str
    side: Side
    market_id: str | None = None
    ts: str | None = None
    ts_ms: WireMs | None = None
    client_order_id: str | None = None
    subaccount: int | None = None


class _Delta(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="orderbook_delta"):
    sid: Counted
    seq: Counted
    msg: _DeltaMsg


class _SnapshotMsg(Struct, gc=False, forbid_unknown_fields=True):
    market_ticker: Ticker
    market_id: str | None = None
    yes_dollars_fp: list[tuple[str, str]] | None = None
    no_dollars_fp: list[tuple[str, str]] | None = None


class _Snapshot(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="orderbook_snapshot"):
    sid: Counted
    seq: Counted
    msg: _SnapshotMsg
    id: int | None = None


class _TradeMsg(Struct, gc=False, forbid_unknown_fields=True):
    trade_id: ShortText
    market_ticker: Ticker
    yes_price_dollars: str
    no_price_dollars: str
    count_fp: str
    ts_ms: WireMs
    taker_outcome_side: Side | None = None
    taker_book_side: BookSide | None = None
    taker_side: Side | None = None
    ts: int | None = None
    is_block_trade: bool | None = None


class _Trade(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="trade"):
    sid: Counted
    seq: Counted
    msg: _TradeMsg


_PRICES_E4 = {dollars_text(price): price for price in range(PRICE_E4_MIN, PRICE_E4_MAX + 1)}
_fast_decode = msgspec.json.Decoder(_Delta | _Snapshot | _Trade).decode


class FrameParser:
    """Reads frames. Keeps only counts and a bounded cache of size texts; one for ever is fine."""

    def __init__(self) -> None:
        #: `<type>.<field>` -> how often a field that no known vintage has was seen and ignored.
        self.unknown_fields: Counter[str] = Counter()
        self._sizes_e2: dict[str, int] = {}

    def parse(self, data: bytes) -> Frame:
        """The meaning of one text frame. Never raises for bad input: the answer is then a `Refused`."""
        if len(data) > FRAME_BYTES_MAX:
            return Refused("frame_too_large", f"expected at most {FRAME_BYTES_MAX} bytes, was {len(data)}")
        try:
            wire = _fast_decode(data)
            if type(wire) is _Delta:
                return self._delta(wire)
            if type(wire) is _Trade:
                return self._trade(wire)
            return self._snapshot(wire)
        except (msgspec.DecodeError, MalformedFrame, RecursionError, UnicodeDecodeError):
            return parse_any_vintage(data, self.unknown_fields)

    def _delta(self, wire: _Delta) -> DeltaFrame:
        msg = wire.msg
        price_e4 = _PRICES_E4.get(msg.price_dollars) or price_e4_from_dollars(msg.price_dollars)
        delta_e2 = self._sizes_e2.get(msg.delta_fp)
        if delta_e2 is None:
            delta_e2 = self._size_e2(msg.delta_fp)
        ts_event_ms = msg.ts_ms if msg.ts_ms is not None else event_ms(None, msg.ts)
        return DeltaFrame(
            wire.sid, wire.seq, msg.market_ticker, msg.market_id, msg.side, price_e4, delta_e2, ts_event_ms
        )

    def _snapshot(self, wire: _Snapshot) -> SnapshotFrame:
        msg = wire.msg
        yes, no = self._levels(msg.yes_dollars_fp), self._levels(msg.no_dollars_fp)
        return SnapshotFrame(wire.sid, wire.seq, wire.id, msg.market_ticker, msg.market_id, yes, no)

    def _trade(self, wire: _Trade) -> TradeFrame:
        msg = wire.msg
        yes_e4 = price_e4_from_dollars(msg.yes_price_dollars)
        no_e4 = price_e4_from_dollars(msg.no_price_dollars)
        count_e2 = self._size_e2(msg.count_fp)
        if yes_e4 + no_e4 != DOLLAR_E4 or count_e2 <= 0:
            raise MalformedFrame("unusual_trade", "the slow path says what is wrong")
        return TradeFrame(
            wire.sid,
            wire.seq,
            msg.market_ticker,
            msg.trade_id,
            yes_e4,
            no_e4,
            count_e2,
            taker_side(msg.taker_outcome_side, msg.taker_book_side, msg.taker_side),
            msg.is_block_trade,
            msg.ts_ms,
        )

    def _levels(self, levels: list[tuple[str, str]] | None) -> list[Level]:
        parsed = [
            (_PRICES_E4.get(price) or price_e4_from_dollars(price), self._size_e2(size)) for price, size in levels or ()
        ]
        if any(size_e2 < 0 for _, size_e2 in parsed):
            raise MalformedFrame("size_out_of_range", "the slow path says which")
        return parsed

    def _size_e2(self, text: str) -> int:
        size_e2 = self._sizes_e2.get(text)
        if size_e2 is None:
            size_e2 = size_e2_from_text(text)
            if len(self._sizes_e2) >= SIZE_TEXTS_CACHED_MAX:
                self._sizes_e2.clear()
            self._sizes_e2[text] = size_e2
        return size_e2
