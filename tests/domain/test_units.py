"""Exact integers in and out: every vintage of the venue's numbers, and every way they can be wrong."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import MalformedFrame
from domain.units import (
    SIZE_E2_MAX,
    checked_price_e4,
    contracts_text,
    dollars_text,
    money_text,
    parse_scaled,
    price_e4_from_cents,
    price_e4_from_dollars,
    size_e2_from_contracts,
    size_e2_from_text,
)


@pytest.mark.parametrize(
    ("text", "price_e4"),
    [("0.4200", 4_200), ("0.42", 4_200), ("0.420000", 4_200), ("0.0001", 1), ("0.9999", 9_999), ("00.5", 5_000)],
)
def test_dollar_text_is_read_exactly(text: str, price_e4: int) -> None:
    """Any number of decimals up to four, and zeros beyond."""
    assert price_e4_from_dollars(text) == price_e4


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".5",
        "5.",
        "+0.5",
        "0,5",
        "1e-2",
        "NaN",
        "inf",
        " 0.5",
        "0.5 ",
        "0.5\n",
        "\u0660.\u0665",
        "0x1",
        "0.42001",
        "1" * 16,
    ],
)
def test_text_that_is_not_a_plain_decimal_is_refused(text: str) -> None:
    """No rounding, no exponent, no sign of plus, no space, no other script's digits."""
    with pytest.raises(MalformedFrame, match="bad_number"):
        price_e4_from_dollars(text)


@pytest.mark.parametrize("text", ["0", "0.0000", "1.0000", "-0.5", "12.5"])
def test_price_no_contract_can_have_is_refused(text: str) -> None:
    """Prices are strictly between nothing and a dollar."""
    with pytest.raises(MalformedFrame, match="price_out_of_range"):
        price_e4_from_dollars(text)


@pytest.mark.parametrize("value", [None, 5, 0.5, b"0.5", True, ["0.5"]])
def test_number_that_is_not_text_is_refused_where_text_is_due(value: object) -> None:
    """A float would have lost digits before we saw it."""
    with pytest.raises(MalformedFrame, match="bad_number"):
        size_e2_from_text(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, 100, -1])
def test_cents_outside_one_to_ninety_nine_are_refused(value: int) -> None:
    """The integer vintage has the same range."""
    with pytest.raises(MalformedFrame, match="price_out_of_range"):
        price_e4_from_cents(value)


@pytest.mark.parametrize("value", [42.0, "42", True, None])
def test_cents_and_counts_must_be_whole_numbers(value: object) -> None:
    """A bool is not a count, and a float is never one."""
    with pytest.raises(MalformedFrame, match="bad_number"):
        price_e4_from_cents(value)  # type: ignore[arg-type]
    with pytest.raises(MalformedFrame, match="bad_number"):
        size_e2_from_contracts(value)  # type: ignore[arg-type]


def test_vintages_agree() -> None:
    """42 cents and 13 contracts, in each form."""
    assert price_e4_from_cents(42) == price_e4_from_dollars("0.4200") == 4_200
    assert size_e2_from_contracts(-13) == size_e2_from_text("-13.00") == size_e2_from_text("-13") == -1_300


def test_size_beyond_what_every_reader_holds_is_refused() -> None:
    """2**53 is the last exact integer of JSON readers in other languages."""
    assert size_e2_from_contracts(SIZE_E2_MAX // 100) == SIZE_E2_MAX // 100 * 100
    with pytest.raises(MalformedFrame, match="size_out_of_range"):
        size_e2_from_contracts(SIZE_E2_MAX)


@given(st.integers(1, 9_999))
def test_price_text_and_back_is_the_same(price_e4: int) -> None:
    """Both directions are exact for every price there is."""
    assert price_e4_from_dollars(dollars_text(checked_price_e4(price_e4))) == price_e4


@given(st.integers(-SIZE_E2_MAX, SIZE_E2_MAX))
def test_size_and_money_texts_are_exact_decimals(value: int) -> None:
    """The texts equal the decimal quotient, sign and all."""
    assert Decimal(contracts_text(value)) == Decimal(value).scaleb(-2)
    assert Decimal(money_text(value)) == Decimal(value).scaleb(-6)
    assert size_e2_from_text(contracts_text(value)) == value


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(0, 6), st.integers(0, 3))
def test_trailing_zeros_change_nothing_and_a_finer_digit_is_an_error(value: int, digits: int, zeros: int) -> None:
    """Finer than the unit is refused unless it is zero."""
    whole = Decimal(value).scaleb(-digits)
    text = f"{whole:.{digits}f}"
    padded = text + ("0" * zeros if digits else ("." + "0" * zeros if zeros else ""))

    assert parse_scaled(padded, digits, "x") == value
    with pytest.raises(MalformedFrame):
        parse_scaled(text + ("1" if digits else ".1"), digits, "x")
