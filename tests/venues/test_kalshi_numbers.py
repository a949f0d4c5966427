"""JSON numbers where the venue means text, and who was the taker."""

from typing import Any

import pytest
from frame_spellings import PRICES, delta, parse, price_text, size_text
from hypothesis import given
from hypothesis import strategies as st

from venues.kalshi.messages import DeltaFrame, Refused, SnapshotFrame, TradeFrame


@given(PRICES, st.integers(1, 10**9))
def test_json_numbers_in_price_and_size_fields_are_exact(price_e4: int, size_e2: int) -> None:
    """Read from their text: no price and no size that four and two decimals can write is off by one."""
    price, size = price_text(price_e4).encode(), size_text(size_e2).encode()
    head = b'"market_ticker":"KX-A"'
    change = b'{"type":"orderbook_delta","sid":2,"seq":3,"msg":{%b,"side":"yes","price_dollars":%b,"delta_fp":-%b}}'
    book = (
        b'{"type":"orderbook_snapshot","sid":2,"seq":3,"msg":{%b,"yes_dollars_fp":[[%b,%b]],"no_dollars":[["%b",%b]]}}'
    )
    traded = b'{"type":"trade","msg":{%b,"trade_id":"t","yes_price_dollars":%b,"count_fp":%b,"taker_side":"no"}}'

    assert parse(change % (head, price, size)) == DeltaFrame(2, 3, "KX-A", None, "yes", price_e4, -size_e2, None)
    both = [(price_e4, size_e2)]
    assert parse(book % (head, price, size, price, size)) == SnapshotFrame(2, 3, None, "KX-A", None, both, both)
    found = parse(traded % (head, price, size))
    assert isinstance(found, TradeFrame)
    assert (found.yes_price_e4, found.no_price_e4, found.count_e2) == (price_e4, 10_000 - price_e4, size_e2)


@pytest.mark.parametrize(
    ("msg", "price_e4", "delta_e2"),
    [
        ({"price": 42.0, "delta": 1.0}, 4_200, 100),
        ({"price": 42.5, "delta": -3.25}, 4_250, -325),
        ({"price_dollars": 0.29, "delta_fp": 13}, 2_900, 1_300),
        ({"price_dollars": "0.29", "delta_fp": 0.57}, 2_900, 57),
    ],
)
def test_numbers_where_text_is_meant_and_fractions_where_integers_are(
    msg: dict[str, Any], price_e4: int, delta_e2: int
) -> None:
    """The unit is the field's, whatever the spelling."""
    assert parse(delta(**msg)) == DeltaFrame(2, 3, "KX-A", "u-1", "yes", price_e4, delta_e2, None)


@pytest.mark.parametrize("number", [b"1e-1", b"4.2E-1", b"1e999999999", b"1e99999999999999999999", b"-0.0"])
def test_numbers_with_exponents_are_read_exactly_or_refused(number: bytes) -> None:
    """Bounded in time and memory, whatever the exponent."""
    head = b'{"type":"orderbook_delta","sid":2,"seq":3,"msg":{"market_ticker":"A","side":"no","delta":1,'
    found = parse(head + b'"price_dollars":%b}}' % number)
    if number in (b"1e-1", b"4.2E-1"):
        assert isinstance(found, DeltaFrame)
        assert found.price_e4 == round(float(number) * 10_000)
    else:
        assert isinstance(found, Refused)
        assert found.reason in ("bad_number", "price_out_of_range")


@pytest.mark.parametrize(
    ("sides", "taker"),
    [
        ({"taker_book_side": "bid"}, "yes"),
        ({"taker_book_side": "ask"}, "no"),
        ({"taker_outcome_side": "no", "taker_side": "yes"}, "no"),
        ({"taker_book_side": "ask", "taker_side": "yes"}, "no"),
        ({"taker_outcome_side": None, "taker_book_side": None, "taker_side": "yes"}, "yes"),
        ({"taker_outcome_side": "yes", "taker_book_side": "sideways"}, "yes"),
        ({"taker_book_side": "sideways", "taker_side": "yes"}, None),
        ({"taker_outcome_side": "maybe", "taker_side": "yes"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("more", [{}, {"field_of_tomorrow": 1}], ids=["fast", "slow"])
def test_the_takers_side_is_the_canonical_one(sides: dict[str, Any], taker: str | None, more: dict[str, Any]) -> None:
    """`taker_outcome_side`, `taker_book_side`, then the deprecated `taker_side`; both passes agree."""
    msg = {
        "trade_id": "t", "market_ticker": "K", "yes_price_dollars": "0.3600", "no_price_dollars": "0.6400",
        "count_fp": "1.00", "ts_ms": 1_764_500_000_005, **sides, **more,
    }  # fmt: skip
    found = parse({"type": "trade", "sid": 1, "seq": 2, "msg": msg})

    if taker is None:
        assert isinstance(found, Refused)
        assert found.reason == "bad_side"
    else:
        assert found == TradeFrame(1, 2, "K", "t", 3_600, 6_400, 100, taker, None, 1_764_500_000_005)
