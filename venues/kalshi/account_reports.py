"""Orders, positions and settlements as the venue reports them, to canonical reports. Pure; see `account` for fills.

Integer money is cents in REST answers and centi-cents (1/10,000 dollar) in WebSocket messages.
"""

from collections.abc import Mapping
from typing import Literal, cast

from domain.errors import MalformedFrame
from schemas.account_records import (
    Action,
    FillReportPayload,
    OrderReportPayload,
    PositionReportPayload,
    SettlementReportPayload,
)
from schemas.records import Side
from venues.kalshi import account_fields as f
from venues.kalshi.account import AccountRefused, market_of, refuse
from venues.kalshi.account_direction import Channel, UnclearDirection, order_direction

_INT_MONEY_E6 = {"rest": 10_000, "ws": 100}
_STATUS = {"resting": "resting", "canceled": "canceled", "cancelled": "canceled", "executed": "executed"}
_RESULTS = ("yes", "no", "scalar", "void")


def order_in(item: object) -> f.Item | None:
    """The order of an answer or of one item of a list: plain, or in an envelope (`{order, error}`, `{order,
    reduced_by}`). None where the envelope holds no order, but what was wrong with it."""
    if not isinstance(item, Mapping):
        return None
    inner = item.get("order")
    if isinstance(inner, Mapping):
        return inner
    is_empty = "order" in item or (item.get("error") is not None and not f.text(item, "status"))
    return None if is_empty else item


def is_incomplete_order(item: f.Item, channel: Channel) -> bool:
    """Whether an order is named and not described: a `user_order` without a direction, a thin answer to a cancel."""
    if not order_id_of(item):
        return False
    if not f.text(item, "status"):
        return f.first(item, "reduced_by", "reduced_by_fp") is not None
    return channel == "ws" and f.first(item, "outcome_side", "book_side", "purchased_side", "action") is None


def order_id_of(item: f.Item) -> str:
    """The order's id, '' where it has none."""
    return f.text(item, "order_id", "orderId", "id")


def created_ms_of(item: f.Item) -> int:
    """When the order was created, 0 where it does not say in a form that can be read."""
    try:
        return f.time_ms(item, "created_time", "created_ts_ms") or 0
    except MalformedFrame:
        return 0


def order_of(item: f.Item) -> OrderReportPayload:
    """One order of any vintage. Raises AccountRefused with an `order_..` reason."""
    try:
        return _order_of(item)
    except MalformedFrame as wrong:
        raise refuse(item, "order_bad_number", wrong.detail) from None


def _order_of(item: f.Item) -> OrderReportPayload:
    order_id, market_ticker = order_id_of(item), market_of(item)
    if not order_id:
        raise refuse(item, "order_empty_id", "expected order_id, orderId or id")
    if market_ticker is None:
        raise refuse(item, "order_empty_market", "expected ticker or market_ticker")
    status = _STATUS.get(f.lowered(item, "status"))
    if status is None:
        raise refuse(
            item, "order_invalid_status", f"expected resting, canceled or executed, was {item.get('status')!r}"
        )
    side, action = _directed(item)
    price_e4 = f.side_price_e4(item, side)
    if price_e4 is not None and not f.price_in_range(price_e4):
        raise refuse(item, "order_invalid_price", f"expected 1..9999 e4, was {price_e4}")
    filled = f.size_e2(item, "fill_count_fp", "fill_count") or 0
    remaining = f.size_e2(item, "remaining_count_fp", "remaining_count") or 0
    initial = f.size_e2(item, "initial_count_fp", "initial_count", "count_fp", "count")
    if min(filled, remaining, initial or 0) < 0:
        raise refuse(item, "order_negative_count", f"was {filled}, {remaining}, {initial}")
    fees = [f.money_e6(item, name, _INT_MONEY_E6["rest"]) for name in ("taker_fees", "maker_fees")]
    return OrderReportPayload(
        market_ticker=market_ticker,
        order_id=order_id,
        client_order_id=f.text(item, "client_order_id") or None,
        status=cast(Literal["resting", "canceled", "executed"], status),
        side=side,
        action=action,
        price_e4=price_e4,
        initial_e2=filled + remaining if initial is None else initial,
        filled_e2=filled,
        remaining_e2=remaining,
        fees_e6=None if fees == [None, None] else sum(fee or 0 for fee in fees),
        created_ts_ms=f.time_ms(item, "created_time", "created_ts_ms"),
        updated_ts_ms=f.time_ms(item, "last_update_time", "last_updated_ts_ms"),
    )


def _directed(item: f.Item) -> tuple[Side, Action]:
    """The gates' codes are those of fills: an order that cannot be read is no refused fill."""
    try:
        return order_direction(item)
    except UnclearDirection as wrong:
        raise refuse(item, f"order_invalid_{wrong.what}", wrong.detail) from None


def position_of(item: f.Item, channel: Channel, as_of_ms: int) -> PositionReportPayload:
    """One market's position; `as_of_ms` is when it was asked for, no message says. Raises AccountRefused."""
    market_ticker = market_of(item)
    if market_ticker is None:
        raise refuse(item, "position_empty_market", "expected ticker or market_ticker")
    scale = _INT_MONEY_E6[channel]
    try:
        position = f.size_e2(item, "position_fp", "position")
        if position is None:
            raise refuse(item, "position_missing", "expected position_fp or position")
        resting = item.get("resting_orders_count")
        exposure = f.money_e6(item, "market_exposure", scale)
        volume = f.size_e2(item, "volume_fp", "volume")
        return PositionReportPayload(
            market_ticker=market_ticker,
            position_e2=position,
            exposure_e6=f.money_e6(item, "position_cost", scale) if exposure is None else exposure,
            realized_pnl_e6=f.money_e6(item, "realized_pnl", scale),
            fees_paid_e6=f.money_e6(item, "fees_paid", scale),
            volume_e2=None if volume is None else abs(volume),
            resting_orders=resting if type(resting) is int and resting >= 0 else None,
            as_of_ms=as_of_ms,
        )
    except MalformedFrame as wrong:
        raise refuse(item, "position_bad_number", wrong.detail) from None


def position_after(item: f.Item, fill: FillReportPayload) -> PositionReportPayload | None:
    """The venue's position after a pushed fill, as of that fill; None where the frame does not say. Raises
    AccountRefused."""
    try:
        position = f.size_e2(item, "post_position_fp", "post_position")
    except MalformedFrame as wrong:
        raise refuse(item, "position_bad_number", wrong.detail) from None
    if position is None:
        return None
    return PositionReportPayload(
        market_ticker=fill.market_ticker,
        position_e2=position,
        exposure_e6=None,
        realized_pnl_e6=None,
        fees_paid_e6=None,
        volume_e2=None,
        resting_orders=None,
        as_of_ms=fill.ts_ms,
    )


def settlement_of(item: f.Item) -> SettlementReportPayload:
    """One settlement. Raises AccountRefused with a `settlement_..` reason."""
    try:
        return _settlement_of(item)
    except MalformedFrame as wrong:
        raise refuse(item, "settlement_bad_number", wrong.detail) from None


def _settlement_of(item: f.Item) -> SettlementReportPayload:
    market_ticker, result = market_of(item), f.lowered(item, "market_result", "result")
    if market_ticker is None:
        raise refuse(item, "settlement_empty_market", "expected ticker or market_ticker")
    if result not in _RESULTS:
        raise refuse(item, "settlement_invalid_result", f"expected yes, no, scalar or void, was {result!r}")
    settled_ts_ms = f.time_ms(item, "settled_time", "settled_ts_ms", "settled_ts")
    if settled_ts_ms is None:
        raise refuse(item, "settlement_missing_ts", "expected settled_time")
    return SettlementReportPayload(
        market_ticker=market_ticker,
        result=cast(Literal["yes", "no", "scalar", "void"], result),
        value_e4=_value_e4(item, result),
        yes_count_e2=abs(f.size_e2(item, "yes_count_fp", "yes_count") or 0),
        no_count_e2=abs(f.size_e2(item, "no_count_fp", "no_count") or 0),
        revenue_e6=f.money_e6(item, "revenue", _INT_MONEY_E6["rest"]) or 0,
        fees_e6=f.money_e6(item, "fee_cost", _INT_MONEY_E6["rest"]),
        settled_ts_ms=settled_ts_ms,
    )


def _value_e4(item: f.Item, result: str) -> int | None:
    """What one YES contract pays. Only a scalar market has to say it (`value`: cents, or dollars as text); where that
    is null, what was paid is the revenue."""
    if result in ("yes", "no"):
        return 10_000 if result == "yes" else 0
    if result == "void":
        return None
    value_e6 = f.money_e6(item, "value", _INT_MONEY_E6["rest"])
    if value_e6 is None:
        value_e6 = f.money_e6(item, "settlement_value", _INT_MONEY_E6["rest"])
    if value_e6 is None and f.first(item, "revenue_dollars", "revenue") is not None:
        return None
    if value_e6 is None or value_e6 % 100 or not 0 <= value_e6 <= 1_000_000:
        raise refuse(item, "settlement_invalid_value", f"expected 0..10000 e4, was {value_e6} e6")
    return value_e6 // 100


__all__ = [
    "AccountRefused",
    "Channel",
    "created_ms_of",
    "is_incomplete_order",
    "order_id_of",
    "order_in",
    "order_of",
    "position_after",
    "position_of",
    "settlement_of",
]
