"""Which way fills and orders go: canonical fields decide; without them answers, frames and orders have their rules."""

import itertools
from typing import Any

import pytest
from account_desk import Desk

from domain.fill_facts import yes_direction, yes_price_e4
from venues.kalshi.account import AccountRefused, fill_of
from venues.kalshi.account_records import fill_report
from venues.kalshi.account_reports import order_of

FILL: dict[str, Any] = {
    "fill_id": "f-1", "trade_id": "f-1", "order_id": "o-1", "ticker": "KX-A", "market_ticker": "KX-A",
    "count_fp": "21.00", "yes_price_dollars": "0.4000", "no_price_dollars": "0.6000", "ts": 1768061471,
    "created_time": "2026-01-10T16:11:11.109554Z",
}  # fmt: skip
ORDER: dict[str, Any] = {
    "order_id": "o-1", "ticker": "KX-A", "status": "resting", "yes_price_dollars": "0.4000",
    "remaining_count_fp": "1.00", "initial_count_fp": "1.00",
}  # fmt: skip
SALE_OF_YES = ("yes", "sell", 4_000)
SALE_OF_NO = ("no", "sell", 6_000)
PURCHASE_OF_YES = ("yes", "buy", 4_000)
PURCHASE_OF_NO = ("no", "buy", 6_000)


@pytest.mark.parametrize(
    ("words", "channel", "right"),
    [
        # canonical fields decide, and no older word beside them refuses anything
        ({"side": "no", "action": "sell", "outcome_side": "no", "book_side": "ask"}, "rest", SALE_OF_YES),
        ({"side": "yes", "action": "sell", "outcome_side": "no", "book_side": "ask"}, "rest", SALE_OF_YES),
        ({"side": "yes", "action": "sell", "outcome_side": "yes", "book_side": "bid"}, "rest", SALE_OF_NO),
        ({"side": "yes", "action": "sell", "outcome_side": "no"}, "ws", SALE_OF_YES),
        ({"side": "no", "action": "sell", "book_side": "ask"}, "ws", SALE_OF_YES),
        ({"side": "no", "action": "buy", "outcome_side": "yes"}, "ws", PURCHASE_OF_YES),
        ({"side": "maybe", "action": "hold", "outcome_side": "yes"}, "ws", PURCHASE_OF_YES),
        ({"outcome_side": "no"}, "ws", PURCHASE_OF_NO),
        ({"book_side": "ask"}, "rest", PURCHASE_OF_NO),
        ({"side": "yes", "outcome_side": "no"}, "ws", SALE_OF_YES),
        ({"side": None, "action": None, "book_side": "bid"}, "rest", PURCHASE_OF_YES),
        ({"purchased_side": "yes", "outcome_side": "no"}, "ws", PURCHASE_OF_NO),
        # without them: purchased_side
        ({"side": "yes", "action": "sell", "purchased_side": "no"}, "ws", SALE_OF_YES),
        ({"side": "no", "action": "sell", "purchased_side": "no"}, "rest", SALE_OF_YES),
        ({"side": "no", "purchased_side": "no"}, "rest", PURCHASE_OF_NO),
        # without that, in an answer: side alone is what was gained
        ({"side": "no", "action": "sell"}, "rest", SALE_OF_YES),
        ({"side": "yes", "action": "sell"}, "rest", SALE_OF_NO),
        ({"side": "yes", "action": "buy"}, "rest", PURCHASE_OF_YES),
        ({"side": "no", "action": "buy"}, "rest", PURCHASE_OF_NO),
        ({"side": "no"}, "rest", PURCHASE_OF_NO),
        ({"side": "no", "action": "hold"}, "rest", PURCHASE_OF_NO),
        # and in a frame the order's own pair
        ({"side": "yes", "action": "sell"}, "ws", SALE_OF_YES),
        ({"side": "no", "action": "sell"}, "ws", SALE_OF_NO),
    ],
)
def test_a_fill_goes_the_way_that_the_venue_says(words: dict, channel: Any, right: tuple) -> None:
    """One row per form; the price is that of the side we name, whatever side the venue named."""
    fill = fill_of({**FILL, **words}, channel)

    assert (fill.side, fill.action, fill.price_e4) == right


def test_a_purchase_and_its_sale_leave_nothing() -> None:
    """21 bought and sold again, as answers of the time without canonical fields told it: 0.00, not 42.00."""
    desk = Desk()
    bought = {**FILL, "side": "yes", "action": "buy"}
    sold = {**FILL, "side": "no", "action": "sell", "fill_id": "f-2", "trade_id": "f-2", "order_id": "o-2"}
    for item in (bought, sold):
        desk.read(fill_report(fill_of(item, "rest"), "kalshi_rest", 1 << 50))

    assert desk.states["KX-A"].fold.count_e2 == 0
    assert desk.states["KX-A"].sums.sold_yes_e2 == 2_100


@pytest.mark.parametrize(
    ("words", "channel", "reason"),
    [
        ({"outcome_side": "yes", "book_side": "ask", "side": "yes", "action": "buy"}, "rest", "invalid_side"),
        ({"outcome_side": "maybe", "side": "yes", "action": "buy"}, "ws", "invalid_side"),
        ({"side": "yes"}, "ws", "invalid_action"),
        ({"action": "buy"}, "rest", "invalid_side"),
    ],
)
def test_what_says_no_direction_is_refused(words: dict, channel: Any, reason: str) -> None:
    """Canonical fields that contradict each other, and nothing at all: money is not guessed."""
    with pytest.raises(AccountRefused) as refused:
        fill_of({**FILL, **words}, channel)

    assert refused.value.reason == reason


def test_every_order_is_one_fill_in_every_form() -> None:
    """All four orders, told in all forms by both channels: the same direction, price and words each time."""
    for side, action in itertools.product(("yes", "no"), ("buy", "sell")):
        gained = side if action == "buy" else {"yes": "no", "no": "yes"}[side]
        book = "bid" if gained == "yes" else "ask"
        canonical = {"outcome_side": gained, "book_side": book}
        pair, outcome = {"side": side, "action": action}, {"side": gained, "action": action}
        told = [
            fill_of({**FILL, **words}, channel)  # type: ignore[arg-type]
            for words, channel in (
                (pair, "ws"), (pair | canonical, "ws"), (pair | {"purchased_side": gained}, "ws"),
                (outcome, "rest"), (outcome | canonical, "rest"), (pair | canonical, "rest"),
                (pair | {"purchased_side": gained}, "rest"),
            )
        ]  # fmt: skip

        assert {(fill.side, fill.action) for fill in told} == {(side, action)}
        assert {yes_direction(fill.side, fill.action) for fill in told} == {1 if gained == "yes" else -1}
        assert {yes_price_e4(fill.side, fill.price_e4) for fill in told} == {4_000}


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ({"side": "yes", "action": "sell"}, SALE_OF_YES),
        ({"side": "no", "action": "sell"}, SALE_OF_NO),
        ({"side": "no", "action": "sell", "outcome_side": "no"}, SALE_OF_YES),
        ({"side": "no", "action": "buy", "book_side": "bid"}, PURCHASE_OF_YES),
        ({"side": "yes", "outcome_side": "no", "book_side": "ask"}, SALE_OF_YES),
        ({"book_side": "ask"}, PURCHASE_OF_NO),
    ],
)
def test_an_order_goes_the_way_of_its_canonical_fields_else_of_its_pair(words: dict, right: tuple) -> None:
    """An order that the venue describes is never refused for its older words."""
    order = order_of({**ORDER, **words})

    assert (order.side, order.action, order.price_e4) == right
