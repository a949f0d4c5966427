"""Every recorded REST answer through the account's normalization: fills where there are fills, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from venues.kalshi.account import AccountRefused, fill_of, unwrap
from venues.kalshi.account_reports import order_of, position_of
from venues.kalshi.rest import Market

RECORDED = Path(__file__).parents[2].parent / "shared" / "data" / "kalshi_rest"
pytestmark = pytest.mark.skipif(not RECORDED.is_dir(), reason="recorded answers are not here")
#: What the fills' normalization makes of an answer that is none of fills.
NO_LIST = "not a list of fills"


def as_fills(body: Any) -> str | list[str]:
    """Per item a fill's canonical form, or the gate that refused it."""
    unwrapped = unwrap(body, "fills", "trades", "market_positions", "orders", "markets")
    if unwrapped.error is not None:
        return NO_LIST
    return [_fill(item) for item in unwrapped.items]


def _fill(item: dict[str, Any]) -> str:
    try:
        fill = fill_of(item, "rest")
    except AccountRefused as refused:
        return refused.reason
    return f"{fill.ts_ms} {fill.action} {fill.side} {fill.count_e2} at {fill.price_e4}"


#: Answer -> what it would be as fills. A public trade, an order, a position and a market are no fill of ours.
AS_FILLS: dict[str, str | list[str]] = {
    "portfolio_fills": [
        "1768061471109 buy yes 3200 at 6000",
        "1768060486952 buy yes 500 at 4900",
        "1768060486952 buy yes 100 at 4800",
        "1768060486952 buy yes 3400 at 4800",
        "1768012672952 buy yes 1000 at 7600",
    ],
    "portfolio_orders": ["fake_fill"] * 5,
    "portfolio_positions": ["empty_order_id"] * 12,
    "trades_list": ["empty_order_id"] * 5,
    "markets_list": ["empty_order_id"] * 5,
    "market_single": NO_LIST,
    "orderbook": NO_LIST,
    "portfolio_balance": NO_LIST,
}
#: Answer -> what its own reader makes of it.
AS_ITSELF: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "portfolio_orders": (
        lambda body: [f"{o.status} {o.filled_e2}/{o.initial_e2}" for o in map(order_of, body["orders"])],
        ["executed 3200/3200", "executed 4000/4000", "executed 2500/2500", "executed 3700/3700", "executed 5200/5200"],
    ),
    "portfolio_positions": (
        lambda body: len([position_of(item, "rest", 1) for item in body["market_positions"]]),
        12,
    ),
    "market_single": (
        lambda body: Market.model_validate(body["market"]).ticker.split("-")[0],
        "KXMVENFLSINGLEGAME",
    ),
    "markets_list": (lambda body: len([Market.model_validate(item) for item in body["markets"]]), 5),
}


def body_of(name: str) -> Any:
    """The answer as it was received."""
    return json.loads((RECORDED / f"{name}_response.json").read_text())["response"]


def test_every_recorded_answer_has_a_row() -> None:
    """A new recording needs an expectation."""
    assert {path.name.removesuffix("_response.json") for path in RECORDED.glob("*.json")} == set(AS_FILLS)


@pytest.mark.parametrize("name", AS_FILLS)
def test_an_answer_gives_its_fills_and_no_others(name: str) -> None:
    """The seeds' defect was the wrong end point: whatever is answered, only fills become fills."""
    assert as_fills(body_of(name)) == AS_FILLS[name]


@pytest.mark.parametrize("name", AS_ITSELF)
def test_an_answer_is_read_by_its_own_reader(name: str) -> None:
    """Orders, positions and markets become the canonical ones."""
    read, expected = AS_ITSELF[name]

    assert read(body_of(name)) == expected
