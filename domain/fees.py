"""The venue's fees in exact integers. Floats are a cent too high in 373 of 99,000 common cases.

Two rules exist side by side. The published schedule rounds a whole order up to the next cent (`schedule_fee_e6`). What
is charged per fill since 2026 rounds the trade fee up to a fine step, then floors the balance, and collects the floor's
gain per order until it is worth a rebate (`charge_fill`).
"""

from dataclasses import dataclass

CENT_E6 = 10_000
TAKER_RATE_E4 = 700  # 0.07
MAKER_RATE_E4 = 175  # 0.0175, only in series whose fee_type is quadratic_with_maker_fees
DOLLAR_E4 = 10_000
MULTIPLIER_ONE_E4 = 10_000

# rate_e4 x multiplier_e4 x count_e2 x price_e4 x (1 - price)_e4 over this is 1/1,000,000 dollar.
_TO_E6 = 10**4 * 10**4 * 10**2 * 10**4 * 10**4 // 10**6


def _ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def model_fee_fraction(
    count_e2: int, price_e4: int, rate_e4: int = TAKER_RATE_E4, multiplier_e4: int = MULTIPLIER_ONE_E4
) -> tuple[int, int]:
    """The exact fee rate x C x P x (1 - P) in 1/1,000,000 dollar, as (numerator, denominator)."""
    return rate_e4 * multiplier_e4 * count_e2 * price_e4 * (DOLLAR_E4 - price_e4), _TO_E6


def trade_fee_e6(
    count_e2: int,
    price_e4: int,
    rate_e4: int = TAKER_RATE_E4,
    multiplier_e4: int = MULTIPLIER_ONE_E4,
    step_e6: int = 1,
) -> int:
    """The model fee rounded up to `step_e6` (1: since autumn 2026; 100, which is $0.0001, before; 10,000: cents)."""
    numerator, denominator = model_fee_fraction(count_e2, price_e4, rate_e4, multiplier_e4)
    return _ceil_div(numerator, denominator * step_e6) * step_e6


def schedule_fee_e6(
    count_e2: int, price_e4: int, rate_e4: int = TAKER_RATE_E4, multiplier_e4: int = MULTIPLIER_ONE_E4
) -> int:
    """The published schedule: one order's fee, rounded up to the next cent. 100 contracts at 50 cents: 1,750,000."""
    return trade_fee_e6(count_e2, price_e4, rate_e4, multiplier_e4, step_e6=CENT_E6)


@dataclass(frozen=True, slots=True)
class FillCharge:
    """What one fill costs: `net_e6 == trade_fee_e6 + rounding_e6 - rebate_e6`, never negative."""

    trade_fee_e6: int
    rounding_e6: int
    rebate_e6: int
    net_e6: int


def charge_fill(
    accumulated_e6: int, revenue_e6: int, trade_fee: int, balance_step_e6: int = CENT_E6
) -> tuple[FillCharge, int]:
    """The charge for one fill of an order, and the order's rounding accumulator after it.

    Args:
        accumulated_e6: the order's accumulator before this fill (0 for its first).
        revenue_e6: the fill's money, negative when we pay.
        trade_fee: as of `trade_fee_e6`.
        balance_step_e6: the balance is floored to this: a cent, or 100 ($0.0001) for direct members.
    """
    after_fee = revenue_e6 - trade_fee
    rounding = after_fee - after_fee // balance_step_e6 * balance_step_e6
    accumulated = accumulated_e6 + rounding
    rebate = CENT_E6 if accumulated >= CENT_E6 and trade_fee + rounding >= CENT_E6 else 0
    return FillCharge(trade_fee, rounding, rebate, trade_fee + rounding - rebate), accumulated - rebate
