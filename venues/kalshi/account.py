"""What the venue says of our account, in any response shape and vintage, to canonical reports. Pure.

Everything that becomes a report has passed the gates; everything else is an `AccountRefused` with a reason code, a dead
letter, and never a position. A fill without an id is not refused: it comes out with an empty `fill_id`, and a complete
REST walk names it (`name_fills`); from the WebSocket it waits for its REST twin.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from domain.errors import BadInput, MalformedFrame
from domain.fill_facts import DOLLAR_E4, synthetic_id, twin_key
from schemas.account_records import Action, FillReportPayload, TimeSource
from schemas.records import Side
from venues.kalshi import account_fields as f
from venues.kalshi.account_direction import Channel, UnclearDirection, fill_direction

T = TypeVar("T")

#: What only an order has: with any of these and no fill id, an item is an order in disguise.
_ORDER_MARKS = (
    "initial_count",
    "initial_count_fp",
    "remaining_count",
    "remaining_count_fp",
    "queue_position",
    "status",
)
_PRICE_FIELDS = tuple(f"{leg}_price{form}" for leg in ("yes", "no") for form in ("", "_dollars", "_fixed"))
_TIME_FIELDS = ("created_time", "ts_ms", "ts")


class AccountRefused(BadInput):
    """An item that must not become a report. `market_ticker` is what could be read of it, for the key."""

    def __init__(self, reason: str, detail: str, market_ticker: str | None) -> None:
        super().__init__(reason, detail)
        self.market_ticker = market_ticker


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """The items of one answer. `error` says why there are none; `dropped` counts what was no object."""

    items: list[dict[str, Any]]
    dropped: int
    cursor: str
    error: str | None


def unwrap(body: object, *names: str) -> Unwrapped:
    """The list inside an answer: the answer itself, or under the first of `names`, `data`, `items`; null where a list
    is meant is an empty one.

    Anything else (text, a number, an object without such a list) is no items and an error, never an exception.
    """
    cursor: object = ""
    listed: object = body
    if isinstance(body, Mapping):
        cursor = body.get("cursor")
        known = [body[name] for name in (*names, "data", "items") if name in body]
        listed = next((value for value in known if isinstance(value, list)), [] if None in known else None)
    if not isinstance(listed, list):
        shape = type(body).__name__ if not isinstance(body, Mapping) else f"object with {sorted(map(str, body))[:8]}"
        return Unwrapped([], 0, "", f"expected a list or an object with {'|'.join(names)}, was {shape}"[:200])
    items = [item for item in listed if isinstance(item, dict)]
    return Unwrapped(items, len(listed) - len(items), cursor if isinstance(cursor, str) else "", None)


def market_of(item: f.Item) -> str | None:
    """The market an item is about, None where it does not say."""
    return f.text(item, "market_ticker", "ticker", "market") or None


def refuse(item: f.Item, reason: str, detail: str) -> AccountRefused:
    """The exception for an item, with what is known of its market."""
    return AccountRefused(reason, detail[:500], market_of(item))


def fill_of(item: f.Item, channel: Channel) -> FillReportPayload:
    """One fill of any vintage, through the gates in their order. `fill_id` is '' where the venue gave none.

    `channel` tells what the legacy words mean where nothing else says the direction (`direction.fill_direction`).

    Raises:
        AccountRefused: with one of `domain.fill_facts.FILL_GATES`.
    """
    order_id = f.text(item, "order_id", "orderId", "id")
    if not order_id:
        raise refuse(item, "empty_order_id", "expected order_id, orderId or id")
    fill_id = f.text(item, "fill_id") or f.text(item, "trade_id")
    if not fill_id:
        _refuse_disguise(item)
    count_e2 = _gated(item, "zero_size", lambda: f.size_e2(item, "count_fp", "count", "size", "qty"))
    if count_e2 is None or count_e2 <= 0:
        raise refuse(item, "zero_size", f"expected a count above 0, was {count_e2}")
    # The price gate stands before the side's; the old `price` is of the leg that the item's own `side` names.
    told_side = _told_side(item)
    price_e4 = _gated(item, "invalid_price", lambda: f.side_price_e4(item, told_side))
    if price_e4 is None or not f.price_in_range(price_e4):
        raise refuse(item, "invalid_price", f"expected 1..9999 e4, was {price_e4}")
    market_ticker = market_of(item)
    if market_ticker is None:
        raise refuse(item, "empty_market", "expected market_ticker, ticker or market")
    side, action = _directed(item, channel)
    own_time = _gated(item, "missing_ts", lambda: f.own_time(item))
    if own_time is None:
        raise refuse(item, "missing_ts", "expected created_time, ts_ms or ts")
    is_taker = item.get("is_taker")
    return FillReportPayload(
        market_ticker=market_ticker,
        fill_id=fill_id,
        synthetic_ordinal=None,
        order_id=order_id,
        client_order_id=f.text(item, "client_order_id") or None,
        side=side,
        action=action,
        price_e4=price_e4 if side == told_side else DOLLAR_E4 - price_e4,
        count_e2=count_e2,
        is_taker=is_taker if isinstance(is_taker, bool) else None,
        fee_e6=_fee_e6(item),
        ts_ms=own_time[0],
        ts_source=cast(TimeSource, own_time[1]),
    )


def _told_side(item: f.Item) -> Side:
    side = f.lowered(item, "side") or f.lowered(item, "outcome_side", "purchased_side")
    return "no" if side == "no" or (not side and f.lowered(item, "book_side") == "ask") else "yes"


def _directed(item: f.Item, channel: Channel) -> tuple[Side, Action]:
    try:
        return fill_direction(item, channel)
    except UnclearDirection as wrong:
        raise refuse(item, f"invalid_{wrong.what}", wrong.detail) from None


def _refuse_disguise(item: f.Item) -> None:
    """The fake-fill guard: without an id, what has no price, no time, or an order's fields is no fill."""
    marks = [name for name in _ORDER_MARKS if name in item]
    if marks:
        raise refuse(item, "fake_fill", f"no fill id, and fields of an order: {', '.join(marks)}")
    if f.first(item, "price", *_PRICE_FIELDS) is None:
        raise refuse(item, "fake_fill", "no fill id and no price")
    if f.first(item, *_TIME_FIELDS) is None:
        raise refuse(item, "fake_fill", "no fill id and no time")


def _gated(item: f.Item, reason: str, read: Callable[[], T]) -> T:
    """The value, or the refusal of this gate where the field is there and unreadable."""
    try:
        return read()
    except MalformedFrame as wrong:
        raise refuse(item, reason, wrong.detail) from None


def _fee_e6(item: f.Item) -> int | None:
    try:
        return f.money_e6(item, "fee_cost", 10_000)
    except MalformedFrame:
        return None  # a fill with an unreadable fee is still a fill; its twin may tell


def name_fills(walk: Sequence[FillReportPayload]) -> list[FillReportPayload]:
    """Ids for the nameless fills of one complete REST walk, oldest first; the others unchanged.

    A nameless fill's ordinal counts the equal fills before it, those with ids first: so the number of fills of a twin
    key is right, whichever of them come without an id.
    """
    equals = Counter(twin_key(fill) for fill in walk if fill.fill_id)
    named = []
    for fill in walk:
        if not fill.fill_id:
            key = twin_key(fill)
            fill.synthetic_ordinal = equals[key]
            fill.fill_id = synthetic_id(key, equals[key])
            equals[key] += 1
        named.append(fill)
    return named
