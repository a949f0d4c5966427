"""Fees: the published check values, the worked rounding vectors, and the float trap."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.fees import MAKER_RATE_E4, FillCharge, charge_fill, schedule_fee_e6, trade_fee_e6


@pytest.mark.parametrize(
    ("contracts", "cents", "fee_cents"),
    [(1, 50, 2), (10, 50, 18), (100, 50, 175), (100, 5, 34), (100, 95, 34), (100, 10, 63), (100, 90, 63),
     (100, 25, 132), (100, 75, 132), (1, 1, 1), (4, 50, 7), (100, 0, 0), (100, 100, 0)],
)  # fmt: skip
def test_the_taker_schedule_gives_the_published_fee(contracts: int, cents: int, fee_cents: int) -> None:
    """Each check value of the public schedule, in cents."""
    assert schedule_fee_e6(contracts * 100, cents * 100) == fee_cents * 10_000


def test_makers_pay_a_quarter_where_makers_pay() -> None:
    """Maker, 100 contracts at 50 cents: 44 cents."""
    assert schedule_fee_e6(10_000, 5_000, rate_e4=MAKER_RATE_E4) == 440_000


def test_floats_would_overcharge_373_of_the_99000_common_cases() -> None:
    """The seed's float formula differs in exactly the cases the facts file counts, always a cent too high."""
    wrong = 0
    for count in range(1, 1001):
        for cents in range(1, 100):
            price = cents / 100
            float_cents = math.ceil(0.07 * count * price * (1 - price) * 100)
            exact = schedule_fee_e6(count * 100, cents * 100) // 10_000
            assert exact == -(-7 * count * cents * (100 - cents) // 10_000)
            if float_cents != exact:
                assert float_cents == exact + 1
                wrong += 1

    assert wrong == 373


def test_the_trade_fee_is_rounded_up_to_the_steps_of_both_vintages() -> None:
    """0.00363825 dollar becomes 0.003639 today and 0.0037 in the spring of 2026."""
    assert trade_fee_e6(100, 550) == 3_639
    assert trade_fee_e6(100, 550, step_e6=100) == 3_700


def test_a_balance_is_floored_to_the_cent() -> None:
    """Revenue -0.055, trade fee 0.003639: rounding 0.001361, balance change -0.06."""
    charge, _ = charge_fill(0, -55_000, 3_639)

    assert charge == FillCharge(3_639, 1_361, 0, 5_000)


@pytest.mark.parametrize(
    ("revenue_e6", "trade_fee", "net"),
    [
        (-55_000, 8_500, [15_000, 5_000, 15_000]),
        (-150_000, 4_100, [10_000, 0, 10_000]),
        (-9_903, 500, [10_097, 97, 97]),
    ],
)
def test_an_orders_rounding_is_paid_back_when_it_reaches_a_cent(
    revenue_e6: int, trade_fee: int, net: list[int]
) -> None:
    """The three worked examples of three fills each."""
    accumulated, charged = 0, []
    for _ in range(3):
        charge, accumulated = charge_fill(accumulated, revenue_e6, trade_fee)
        charged.append(charge.net_e6)

    assert charged == net


@given(st.integers(1, 10**7), st.integers(1, 9_999), st.integers(1, 40_000))
def test_the_fee_is_the_smallest_step_not_below_the_exact_one(count_e2: int, price_e4: int, multiplier: int) -> None:
    """Rounded up, and by less than one step."""
    exact = Fraction(7, 100) * Fraction(multiplier, 10_000) * Fraction(count_e2, 100)
    exact *= Fraction(price_e4, 10_000) * (1 - Fraction(price_e4, 10_000)) * 10**6
    fee = trade_fee_e6(count_e2, price_e4, multiplier_e4=multiplier)

    assert exact <= fee < exact + 1


@given(st.lists(st.tuples(st.integers(-(10**7), 10**7), st.integers(0, 10**6)), max_size=20))
def test_an_orders_charges_never_go_negative_and_balances_stay_on_cents(fills: list[tuple[int, int]]) -> None:
    """Net fee >= 0; what was rounded away and not paid back is the accumulator."""
    accumulated, total = 0, 0
    for revenue, trade_fee in fills:
        charge, accumulated = charge_fill(accumulated, revenue, trade_fee)
        total += revenue - charge.net_e6
        assert charge.net_e6 >= 0

    assert total % 10_000 == 0
