"""Single values of the venue's account answers to exact integers, in every spelling.

Floats occur in old answers only (`price`); their shortest decimal text is read, never their binary value.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from domain.errors import MalformedFrame
from domain.units import DOLLAR_E4, PRICE_E4_MAX, PRICE_E4_MIN, SIZE_E2_MAX
from venues.kalshi.timestamps import SECONDS_MAX, event_ms, rfc3339_ms

MONEY_E6_MAX = 1 << 62
_TEXT_MAX = 128  # characters of an id or a ticker
_DIGITS_MAX = 40  # characters of a number; longer ones are no money

Item = Mapping[str, Any]


def first(item: Item, *names: str) -> Any:
    """The first of the named values that is there and says something (not null, not empty text), else None."""
    for name in names:
        value = item.get(name)
        if value is not None and value != "":
            return value
    return None


def text(item: Item, *names: str) -> str:
    """The first present value as stripped text, '' where there is none or it is no text or integer."""
    value = first(item, *names)
    if type(value) is int:
        value = str(value)
    value = value.strip() if isinstance(value, str) else ""
    return value if len(value) <= _TEXT_MAX else ""


def lowered(item: Item, *names: str) -> str:
    """`text`, in lower case: sides, actions, statuses."""
    return text(item, *names).lower()


def scaled(value: object, digits: int, what: str, *, exact: bool = True) -> int:
    """A number in any JSON form times 10**digits, as an integer.

    Args:
        exact: finer digits are an error; else they are rounded half-even (only for the float `price` of old fills).

    Raises:
        MalformedFrame: `bad_number`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal) or len(str(value)) > _DIGITS_MAX:
        raise MalformedFrame("bad_number", f"{what}: expected a number, was {value!r}"[:200])
    try:
        number = Decimal(str(value).strip()).scaleb(digits)
    except InvalidOperation:
        raise MalformedFrame("bad_number", f"{what}: expected a number, was {value!r}"[:200]) from None
    if not number.is_finite() or abs(number) > MONEY_E6_MAX:
        raise MalformedFrame("bad_number", f"{what}: expected a bounded number, was {value!r}"[:200])
    whole = number.to_integral_value()
    if exact and whole != number:
        raise MalformedFrame("bad_number", f"{what}: expected at most {digits} decimals, was {value!r}"[:200])
    return int(whole)


def money_e6(item: Item, name: str, int_scale: int) -> int | None:
    """`<name>_dollars` as text, else `<name>`: text is dollars, an integer is in units of `int_scale` e6 (REST: cents,
    10,000; WebSocket: centi-cents, 100). None where absent."""
    dollars = first(item, f"{name}_dollars")
    if dollars is not None:
        return scaled(dollars, 6, name)
    value = first(item, name)
    if value is None:
        return None
    return scaled(value * int_scale, 0, name) if type(value) is int else scaled(value, 6, name)


def size_e2(item: Item, *names: str) -> int | None:
    """The first of the names: `*_fp` texts and plain counts alike are contracts. None where absent."""
    value = first(item, *names)
    if value is None:
        return None
    size = scaled(value, 2, names[0])
    if abs(size) > SIZE_E2_MAX:
        raise MalformedFrame("size_out_of_range", f"{names[0]}: expected within 2**53 e2, was {size}")
    return size


def leg_price_e4(item: Item, leg: str) -> int | None:
    """One leg's price: `<leg>_price_dollars`, `<leg>_price_fixed` (texts), `<leg>_price` (whole cents, or dollar text).

    None where absent, zero or one dollar: old answers say 0 for "none".
    """
    dollars = first(item, f"{leg}_price_dollars", f"{leg}_price_fixed")
    if dollars is not None:
        return _contract_price(scaled(dollars, 4, f"{leg}_price_dollars"))
    price = first(item, f"{leg}_price")
    if price is None:
        return None
    # A number of one and more counts cents, however it is written: no contract costs a dollar.
    is_cents = price.isdigit() if isinstance(price, str) else isinstance(price, float | Decimal | int) and price >= 1
    return _contract_price(scaled(price, 2 if is_cents else 4, f"{leg}_price"))


def _contract_price(price_e4: int) -> int | None:
    return price_e4 if price_e4 not in (0, DOLLAR_E4) else None


def side_price_e4(item: Item, side: str) -> int | None:
    """The price of the side's own leg: its own field, else 1 dollar less the other leg's, else the old float `price`.

    None where no field says a price. What is returned may be out of range; the gate says so.
    """
    own = leg_price_e4(item, side)
    if own is not None:
        return own
    other = leg_price_e4(item, "no" if side == "yes" else "yes")
    if other is not None:
        return DOLLAR_E4 - other
    price = first(item, "price")
    return None if price is None else scaled(price, 4, "price", exact=isinstance(price, str))


def price_in_range(price_e4: int | None) -> bool:
    """Whether a contract can have this price."""
    return price_e4 is not None and PRICE_E4_MIN <= price_e4 <= PRICE_E4_MAX


def own_time(item: Item) -> tuple[int, str] | None:
    """The fill's own time in ms and the field's precision class: created_time, then ts_ms, then ts (seconds, ms or
    RFC 3339; integers from 1e11 on are ms). None where absent; our clock is never consulted.

    Raises:
        MalformedFrame: `bad_timestamp`.
    """
    created = first(item, "created_time")
    if created is not None:
        if isinstance(created, str) and not created.isdigit():
            return rfc3339_ms(created), "created_time"
        return _classed(created)
    return _classed(first(item, "ts_ms", "ts"))


def _classed(value: object) -> tuple[int, str] | None:
    """Milliseconds, and "ts" where only whole seconds were said, "ts_ms" where more was."""
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if value is None or value == 0:
        return None
    if isinstance(value, str):
        return rfc3339_ms(value), "ts_ms" if "." in value else "ts"
    if isinstance(value, float | Decimal):
        return _fraction_ms(value), "ts_ms"
    ms = event_ms(None, value)
    return None if ms is None else (ms, "ts" if ms != value else "ts_ms")


def _fraction_ms(value: float | Decimal) -> int:
    """Seconds with a fraction, by their decimal text, so that .109 stays 109 ms; from 1e11 on they are ms."""
    whole = scaled(value, 0, "ts", exact=False)
    return event_ms(None, scaled(value, 3, "ts", exact=False) if 0 <= whole < SECONDS_MAX else whole) or 0


def time_ms(item: Item, *names: str) -> int | None:
    """The first named time that is there, in ms; seconds, ms and RFC 3339 are told apart as in `own_time`."""
    value = first(item, *names)
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, float | Decimal):
        return _fraction_ms(value)
    return None if value is None else event_ms(None, value)
