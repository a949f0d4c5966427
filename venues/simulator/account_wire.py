"""The account's answers and frames in the venue's words: the January 2026 vintage and today's.

An old form is used only where it holds the numbers exactly (whole cents, whole contracts), else the new one.
"""

from typing import Any

from domain.units import contracts_text, dollars_text, money_text
from venues.simulator.account_ledger import DOLLAR_E4, SimFill, SimOrder, SimPosition, SimSettlement
from venues.simulator.wire import iso_second

Body = dict[str, Any]


def time_us_text(us: int) -> str:
    """RFC 3339 with microseconds, as `created_time`."""
    return f"{iso_second(us // 1_000_000)}.{us % 1_000_000:06d}Z"


def fits_old(price_e4: int, *counts_e2: int) -> bool:
    """Whether the integer vintage can say this exactly."""
    return price_e4 % 100 == 0 and all(count % 100 == 0 for count in counts_e2)


def outcome(side: str, action: str) -> tuple[str, str]:
    """`outcome_side` and `book_side` by the venue's direction map."""
    adds_yes = (side == "yes") == (action == "buy")
    return ("yes", "bid") if adds_yes else ("no", "ask")


def fill_frame(fill: SimFill, *, old: bool) -> Body:
    """The `msg` of a `fill` frame: the price is the YES leg's, the old form has whole seconds and no fee."""
    order, ts_ms = fill.order, fill.ts_us // 1_000
    body: Body = {
        "trade_id": fill.fill_id,
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "market_ticker": order.ticker,
        "is_taker": fill.is_taker,
        "side": order.side,
        "action": order.action,
        "ts": ts_ms // 1_000,
    }
    if old and fits_old(fill.price_e4, fill.count_e2):
        more: Body = {"yes_price": fill.yes_price_e4 // 100, "yes_price_dollars": dollars_text(fill.yes_price_e4)}
        return {**body, **more, "count": fill.count_e2 // 100, "post_position": fill.position_after_e2 // 100}
    outcome_side, book_side = outcome(order.side, order.action)
    return {
        **body,
        "yes_price_dollars": dollars_text(fill.yes_price_e4),
        "count_fp": contracts_text(fill.count_e2),
        "fee_cost": money_text(fill.fee_e6),
        "post_position_fp": contracts_text(fill.position_after_e2),
        "purchased_side": outcome_side,
        "outcome_side": outcome_side,
        "book_side": book_side,
        "ts_ms": ts_ms,
        "subaccount": 0,
    }


def fill_item(fill: SimFill, *, old: bool) -> Body:
    """One item of GET /portfolio/fills."""
    order = fill.order
    yes, no = fill.yes_price_e4, DOLLAR_E4 - fill.yes_price_e4
    body: Body = {
        "action": order.action,
        "created_time": time_us_text(fill.ts_us),
        "fill_id": fill.fill_id,
        "trade_id": fill.fill_id,
        "is_taker": fill.is_taker,
        "market_ticker": order.ticker,
        "ticker": order.ticker,
        "order_id": order.order_id,
        "side": order.side,
        "ts": fill.ts_us // 1_000_000,
        "fee_cost": money_text(fill.fee_e6),  # in the old form too: else an account served by it has no fees
    }
    if old and fits_old(fill.price_e4, fill.count_e2):
        fixed = {"yes_price_fixed": dollars_text(yes), "no_price_fixed": dollars_text(no)}
        cents = {"yes_price": yes // 100, "no_price": no // 100, "price": fill.price_e4 / DOLLAR_E4}
        return {**body, **fixed, **cents, "count": fill.count_e2 // 100}
    outcome_side, book_side = outcome(order.side, order.action)
    return {
        **body,
        "yes_price_dollars": dollars_text(yes),
        "no_price_dollars": dollars_text(no),
        "count_fp": contracts_text(fill.count_e2),
        "outcome_side": outcome_side,
        "book_side": book_side,
        "subaccount_number": 0,
    }


def order_frame(order: SimOrder) -> Body:
    """The `msg` of a `user_order` frame; it says no action."""
    outcome_side, book_side = outcome(order.side, order.action)
    yes = order.price_e4 if order.side == "yes" else DOLLAR_E4 - order.price_e4
    return {
        "order_id": order.order_id,
        "ticker": order.ticker,
        "status": order.status,
        "side": order.side,
        "is_yes": order.side == "yes",
        "outcome_side": outcome_side,
        "book_side": book_side,
        "yes_price_dollars": dollars_text(yes),
        "fill_count_fp": contracts_text(order.filled_e2),
        "remaining_count_fp": contracts_text(order.remaining_e2),
        "initial_count_fp": contracts_text(order.initial_e2),
        "client_order_id": order.client_order_id,
        "created_ts_ms": order.created_us // 1_000,
    }


def order_item(order: SimOrder, *, old: bool) -> Body:
    """One item of GET /portfolio/orders."""
    yes = order.price_e4 if order.side == "yes" else DOLLAR_E4 - order.price_e4
    body: Body = {
        "action": order.action,
        "client_order_id": order.client_order_id,
        "created_time": time_us_text(order.created_us),
        "expiration_time": None,
        "last_update_time": time_us_text(order.updated_us),
        "order_id": order.order_id,
        "side": order.side,
        "status": order.status,
        "ticker": order.ticker,
        "type": "limit",
        "yes_price_dollars": dollars_text(yes),
        "no_price_dollars": dollars_text(DOLLAR_E4 - yes),
        "taker_fees_dollars": money_text(order.fees_e6),
    }
    counts = {"fill": order.filled_e2, "remaining": order.remaining_e2, "initial": order.initial_e2}
    if old and fits_old(order.price_e4, *counts.values()):
        whole = {f"{name}_count": count // 100 for name, count in counts.items()}
        return {**body, **whole, "yes_price": yes // 100, "no_price": (DOLLAR_E4 - yes) // 100, "queue_position": 0}
    return {**body, **{f"{name}_count_fp": contracts_text(count) for name, count in counts.items()}}


def position_frame(ticker: str, position: SimPosition) -> Body:
    """The `msg` of a `market_position` frame."""
    return {
        "market_ticker": ticker,
        "position_fp": contracts_text(position.net_e2),
        "fees_paid_dollars": money_text(position.fees_e6),
        "volume_fp": contracts_text(position.volume_e2),
    }


def position_item(ticker: str, position: SimPosition, resting: int, *, old: bool) -> Body:
    """One item of GET /portfolio/positions."""
    count: Body = {"position_fp": contracts_text(position.net_e2)}
    if old and position.net_e2 % 100 == 0:
        count = {"position": position.net_e2 // 100}
    return {
        "ticker": ticker,
        **count,
        "fees_paid_dollars": money_text(position.fees_e6),
        "resting_orders_count": resting,
    }


def settlement_item(settlement: SimSettlement) -> Body:
    """One item of GET /portfolio/settlements."""
    return {
        "ticker": settlement.ticker,
        "market_result": settlement.result,
        "yes_count_fp": contracts_text(max(0, settlement.net_e2)),
        "no_count_fp": contracts_text(max(0, -settlement.net_e2)),
        "revenue_dollars": money_text(settlement.revenue_e6),
        "settled_time": time_us_text(settlement.settled_us),
        "fee_cost": money_text(settlement.fees_e6),
        "value": 100 if settlement.result == "yes" else 0,
    }
