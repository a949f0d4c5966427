"""Exact integers for prices, counts and money, and their text forms. No float ever enters or leaves.

Price `*_e4` is 1/10,000 dollar (1..9999 for a contract), contract count `*_e2` is 1/100 contract, money `*_e6` is
1/1,000,000 dollar. All three wire vintages of the venue fit.
"""

import re

from domain.errors import MalformedFrame

PRICE_E4_MIN = 1
PRICE_E4_MAX = 9_999
DOLLAR_E4 = 10_000  # one dollar: what a winning contract pays, and the sum of a YES price and its NO price
SIZE_E2_MAX = 1 << 53  # contracts x 100; beyond it JSON readers in other languages lose digits

_DECIMAL = re.compile(r"(-?)([0-9]{1,15})(?:\.([0-9]{1,9}))?\Z")  # \d would take other scripts' digits


def parse_scaled(text: str, digits: int, what: str) -> int:
    """Decimal text to an integer scaled by 10**digits, exactly.

    Trailing zeros beyond `digits` are accepted ("0.420000"), any other finer digit is an error, never rounded away.

    Raises:
        MalformedFrame: `bad_number`, for other text, NaN, exponents, or digits finer than the unit.
    """
    match = _DECIMAL.match(text) if isinstance(text, str) else None
    if match is None:
        raise MalformedFrame("bad_number", f"{what}: expected decimal text, was {text!r}"[:200])
    sign, whole, fraction = match.group(1), match.group(2), match.group(3) or ""
    if len(fraction) > digits:
        if fraction[digits:].strip("0"):
            raise MalformedFrame("bad_number", f"{what}: expected at most {digits} decimals, was {text!r}")
        fraction = fraction[:digits]
    value = int(whole + fraction.ljust(digits, "0"))
    return -value if sign else value


def price_e4_from_dollars(text: str, what: str = "price") -> int:
    """'0.4200' -> 4200. Raises MalformedFrame `bad_number` or `price_out_of_range`."""
    return checked_price_e4(parse_scaled(text, 4, what), what)


def price_e4_from_cents(cents: int, what: str = "price") -> int:
    """42 -> 4200 (the integer vintage). Raises MalformedFrame for anything but an int in 1..99."""
    if type(cents) is not int:
        raise MalformedFrame("bad_number", f"{what}: expected whole cents, was {cents!r}"[:200])
    return checked_price_e4(cents * 100, what)


def checked_price_e4(price_e4: int, what: str = "price") -> int:
    """The price itself, if it is one a contract can have (1..9999)."""
    if not PRICE_E4_MIN <= price_e4 <= PRICE_E4_MAX:
        raise MalformedFrame("price_out_of_range", f"{what}: expected 1..9999 e4, was {price_e4}")
    return price_e4


def size_e2_from_text(text: str, what: str = "size") -> int:
    """'13.00' -> 1300; signed, for deltas too. Raises MalformedFrame `bad_number` or `size_out_of_range`."""
    return checked_size_e2(parse_scaled(text, 2, what), what)


def size_e2_from_contracts(count: int, what: str = "size") -> int:
    """13 -> 1300 (the integer vintage); signed. Raises MalformedFrame for anything but an int."""
    if type(count) is not int:
        raise MalformedFrame("bad_number", f"{what}: expected a whole count, was {count!r}"[:200])
    return checked_size_e2(count * 100, what)


def checked_size_e2(size_e2: int, what: str = "size") -> int:
    """The size itself, if its magnitude is one that every reader holds exactly."""
    if not -SIZE_E2_MAX <= size_e2 <= SIZE_E2_MAX:
        raise MalformedFrame("size_out_of_range", f"{what}: expected within 2**53 e2, was {size_e2}")
    return size_e2


def _text(value: int, digits: int) -> str:
    whole, fraction = divmod(abs(value), 10**digits)
    return f"{'-' if value < 0 else ''}{whole}.{fraction:0{digits}d}"


def dollars_text(price_e4: int) -> str:
    """4200 -> '0.4200': the venue's newest price form, used in every JSON answer of ours."""
    return _text(price_e4, 4)


def contracts_text(size_e2: int) -> str:
    """1300 -> '13.00'."""
    return _text(size_e2, 2)


def money_text(money_e6: int) -> str:
    """-1500000 -> '-1.500000'."""
    return _text(money_e6, 6)
