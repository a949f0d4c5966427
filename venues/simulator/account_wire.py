"""The account's fills and orders in the venue's words, as REST items and as frames, in every vintage.

The vintage of whole numbers is used only where it holds the numbers exactly (whole cents, whole contracts), else c.

Two rules of direction: an order, and a frame of a fill, says the side and the action of the order. A fill in a REST
answer says in `side` the outcome that was gained, and its `action` carries no sign: the sale of YES comes as side no.
"""

from collections.abc import Callable
from typing import Any

from domain.units import contracts_text, dollars_text, money_text
from venues.simulator.account_ledger import DOLLAR_E4, SUBACCOUNT, USER_ID, SimFill, SimOrder
from venues.simulator.config import EXCHANGE_INDEX, FillSides
from venues.simulator.vintages import ABSENT, Body, Field, told
from venues.simulator.wire import iso_second


def time_us_text(us: int) -> str:
    """RFC 3339 with microseconds, as `created_time`."""
    return f"{iso_second(us // 1_000_000)}.{us % 1_000_000:06d}Z"


def exact_vintage(vintage: str, price_e4: int, *counts_e2: int) -> str:
    """The vintage, or c where it is one of whole numbers and cannot say these exactly."""
    fits = price_e4 % 100 == 0 and all(count % 100 == 0 for count in counts_e2)
    return vintage if fits or vintage not in "ab" else "c"


def outcome(side: str, action: str) -> tuple[str, str]:
    """`outcome_side` and `book_side` by the venue's direction map."""
    adds_yes = (side == "yes") == (action == "buy")
    return ("yes", "bid") if adds_yes else ("no", "ask")


def _outcome_side(fill: SimFill) -> str:
    return outcome(fill.order.side, fill.order.action)[0]


def _book_side(fill: SimFill) -> str:
    return outcome(fill.order.side, fill.order.action)[1]


def _yes_text(fill: SimFill) -> str:
    return dollars_text(fill.yes_price_e4)


def _no_text(fill: SimFill) -> str:
    return dollars_text(DOLLAR_E4 - fill.yes_price_e4)


_FILL_FRAME: list[Field[SimFill]] = [
    Field("trade_id", lambda f: f.fill_id),
    Field("order_id", lambda f: f.order.order_id),
    Field("client_order_id", lambda f: f.order.client_order_id or ABSENT),
    Field("market_ticker", lambda f: f.order.ticker),
    Field("exchange_index", lambda _: EXCHANGE_INDEX, "d"),
    Field("is_taker", lambda f: f.is_taker),
    Field("side", lambda f: f.order.side),
    Field("action", lambda f: f.order.action),
    Field("yes_price", lambda f: f.yes_price_e4 // 100, "ab"),
    Field("yes_price_dollars", _yes_text),
    Field("count", lambda f: f.count_e2 // 100, "ab"),
    Field("count_fp", lambda f: contracts_text(f.count_e2), "cd"),
    Field("fee_cost", lambda f: money_text(f.fee_e6), "cd"),
    Field("post_position", lambda f: f.position_after_e2 // 100, "ab"),
    Field("post_position_fp", lambda f: contracts_text(f.position_after_e2), "cd"),
    Field("purchased_side", _outcome_side, "cd"),
    Field("outcome_side", _outcome_side, "cd"),
    Field("book_side", _book_side, "cd"),
    Field("ts", lambda f: f.ts_us // 1_000_000),
    Field("ts_ms", lambda f: f.ts_us // 1_000, "cd"),
    Field("subaccount", lambda _: SUBACCOUNT, "cd"),
]

_FILL_ITEM: list[Field[SimFill]] = [
    Field("fill_id", lambda f: f.fill_id),
    Field("trade_id", lambda f: f.fill_id),
    Field("exchange_index", lambda _: EXCHANGE_INDEX, "d"),
    Field("order_id", lambda f: f.order.order_id),
    Field("ticker", lambda f: f.order.ticker),
    Field("market_ticker", lambda f: f.order.ticker),
    Field("side", lambda f: f.order.side),
    Field("action", lambda f: f.order.action),
    Field("outcome_side", _outcome_side, "cd"),
    Field("book_side", _book_side, "cd"),
    Field("count", lambda f: f.count_e2 // 100, "ab"),
    Field("count_fp", lambda f: contracts_text(f.count_e2), "cd"),
    Field("price", lambda f: f.price_e4 / DOLLAR_E4, "ab"),
    Field("yes_price", lambda f: f.yes_price_e4 // 100, "ab"),
    Field("no_price", lambda f: 100 - f.yes_price_e4 // 100, "ab"),
    Field("yes_price_fixed", _yes_text, "ab"),
    Field("no_price_fixed", _no_text, "ab"),
    Field("yes_price_dollars", _yes_text, "cd"),
    Field("no_price_dollars", _no_text, "cd"),
    Field("is_taker", lambda f: f.is_taker),
    Field("created_time", lambda f: time_us_text(f.ts_us)),
    Field("fee_cost", lambda f: money_text(f.fee_e6)),  # in the old form too: else it tells an account without fees
    Field("subaccount_number", lambda _: SUBACCOUNT, "cd"),
    Field("ts", lambda f: f.ts_us // 1_000_000),
]


def fill_frame(fill: SimFill, vintage: str) -> Body:
    """The `msg` of a `fill` frame: the price is the YES leg's, the old form has whole seconds and no fee."""
    return told(_FILL_FRAME, fill, exact_vintage(vintage, fill.price_e4, fill.count_e2, fill.position_after_e2))


def fill_item(fill: SimFill, vintage: str, sides: FillSides = "outcome") -> Body:
    """One item of GET /portfolio/fills. `sides`: what its `side` says, the outcome gained or the order's own."""
    body = told(_FILL_ITEM, fill, exact_vintage(vintage, fill.price_e4, fill.count_e2))
    if sides == "outcome":
        body["side"] = _outcome_side(fill)
    return body


def _yes_e4(order: SimOrder) -> int:
    return order.price_e4 if order.side == "yes" else DOLLAR_E4 - order.price_e4


def _order_money(digits: str) -> list[Field[SimOrder]]:
    """What both the frame and the item of an order say in the vintages of decimal texts."""
    return [
        Field("fill_count_fp", lambda o: contracts_text(o.filled_e2), digits),
        Field("remaining_count_fp", lambda o: contracts_text(o.remaining_e2), digits),
        Field("initial_count_fp", lambda o: contracts_text(o.initial_e2), digits),
        Field("taker_fill_cost_dollars", lambda o: money_text(o.taker_cost_e6), "d"),
        Field("maker_fill_cost_dollars", lambda o: money_text(o.maker_cost_e6), "d"),
        Field("taker_fees_dollars", lambda o: money_text(o.taker_fees_e6), "d"),
        Field("maker_fees_dollars", lambda o: money_text(o.fees_e6 - o.taker_fees_e6), "d"),
        Field("order_group_id", lambda o: o.order_group_id or ABSENT, "d"),
        Field("self_trade_prevention_type", lambda o: o.self_trade_prevention_type, "d"),
        Field("exchange_index", lambda _: EXCHANGE_INDEX, "d"),
        Field("subaccount_number", lambda _: SUBACCOUNT, "d"),
    ]


def _at(us: Callable[[SimOrder], int], form: Callable[[int], Any]) -> Callable[[SimOrder], Any]:
    """A time of an order in one of the venue's forms; none where it is 0."""
    return lambda order: form(us(order)) if us(order) else ABSENT


def _ms(us: int) -> int:
    return us // 1_000


_ORDER_FRAME: list[Field[SimOrder]] = [
    Field("order_id", lambda o: o.order_id),
    Field("user_id", lambda _: USER_ID, "d"),
    Field("ticker", lambda o: o.ticker),
    Field("status", lambda o: o.status),
    Field("side", lambda o: o.side),
    Field("is_yes", lambda o: o.side == "yes"),
    Field("outcome_side", lambda o: outcome(o.side, o.action)[0]),
    Field("book_side", lambda o: outcome(o.side, o.action)[1]),
    Field("yes_price_dollars", lambda o: dollars_text(_yes_e4(o))),
    *_order_money("abcd"),
    Field("client_order_id", lambda o: o.client_order_id),
    Field("created_time", _at(lambda o: o.created_us, time_us_text), "d"),
    Field("last_update_time", _at(lambda o: o.updated_us, time_us_text), "d"),
    Field("expiration_time", _at(lambda o: o.expires_us, time_us_text), "d"),
    Field("created_ts_ms", _at(lambda o: o.created_us, _ms)),
    Field("last_updated_ts_ms", _at(lambda o: o.updated_us, _ms), "d"),
    Field("expiration_ts_ms", _at(lambda o: o.expires_us, _ms), "d"),
]

_ORDER_ITEM: list[Field[SimOrder]] = [
    Field("order_id", lambda o: o.order_id),
    Field("user_id", lambda _: USER_ID, "d"),
    Field("client_order_id", lambda o: o.client_order_id),
    Field("ticker", lambda o: o.ticker),
    Field("side", lambda o: o.side),
    Field("action", lambda o: o.action),
    Field("outcome_side", lambda o: outcome(o.side, o.action)[0], "d"),
    Field("book_side", lambda o: outcome(o.side, o.action)[1], "d"),
    Field("type", lambda _: "limit"),
    Field("status", lambda o: o.status),
    Field("yes_price", lambda o: _yes_e4(o) // 100, "ab"),
    Field("no_price", lambda o: 100 - _yes_e4(o) // 100, "ab"),
    Field("yes_price_dollars", lambda o: dollars_text(_yes_e4(o))),
    Field("no_price_dollars", lambda o: dollars_text(DOLLAR_E4 - _yes_e4(o))),
    Field("fill_count", lambda o: o.filled_e2 // 100, "ab"),
    Field("remaining_count", lambda o: o.remaining_e2 // 100, "ab"),
    Field("initial_count", lambda o: o.initial_e2 // 100, "ab"),
    Field("queue_position", lambda _: 0, "ab"),
    Field("taker_fees_dollars", lambda o: money_text(o.fees_e6), "abc"),
    *_order_money("cd"),
    Field("created_time", lambda o: time_us_text(o.created_us)),
    Field("last_update_time", lambda o: time_us_text(o.updated_us)),
    Field("expiration_time", lambda o: time_us_text(o.expires_us) if o.expires_us else None),
    Field("cancel_order_on_pause", lambda o: o.cancel_order_on_pause, "d"),
]


def order_frame(order: SimOrder, vintage: str) -> Body:
    """The `msg` of a `user_order` frame; it says no action. There is no form of whole numbers."""
    return told(_ORDER_FRAME, order, vintage)


def order_item(order: SimOrder, vintage: str) -> Body:
    """One item of GET /portfolio/orders."""
    counts = (order.filled_e2, order.remaining_e2, order.initial_e2)
    return told(_ORDER_ITEM, order, exact_vintage(vintage, order.price_e4, *counts))
