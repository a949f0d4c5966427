"""JSON numbers by their text: 0.29 stays 0.29. A float would be another number, and not say so."""

from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from domain.units import (
    checked_price_e4,
    parse_scaled,
    price_e4_from_cents,
    price_e4_from_dollars,
    size_e2_from_contracts,
    size_e2_from_text,
)

EXPONENT_MAX = 30  # digits before or behind the point; a number beyond it is no price and no size
WHOLE_MAX = 10**EXPONENT_MAX


def exact_number(text: str) -> Decimal:
    """A JSON number with a fraction or an exponent; NaN, which no reader of ours takes, for one beyond all bounds."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


_decode = msgspec.json.Decoder(float_hook=exact_number).decode


def decode_exact(data: bytes | str) -> Any:
    """JSON to Python values, with `Decimal` in place of float. Raises msgspec.DecodeError, UnicodeDecodeError."""
    return _decode(data)


def number_text(value: Any) -> Any:
    """The plain decimal text of a JSON number; everything else as it is, for the caller's own check."""
    if type(value) is int and -WHOLE_MAX < value < WHOLE_MAX:
        return str(value)
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) <= EXPONENT_MAX:
        return format(value, "f")
    return value


def dollars_e4(value: object, what: str) -> int:
    """A price in dollars, text or number. Raises MalformedFrame, as all here."""
    return price_e4_from_dollars(number_text(value), what)


def cents_e4(value: object, what: str) -> int:
    """A price in cents: a number, whole or not."""
    if isinstance(value, Decimal):
        return checked_price_e4(parse_scaled(number_text(value), 2, what), what)
    return price_e4_from_cents(value, what)  # type: ignore[arg-type]  # it refuses what is no int


def size_e2(value: object, what: str) -> int:
    """A count of contracts, text or number; signed."""
    return size_e2_from_text(number_text(value), what)


def contracts_e2(value: object, what: str) -> int:
    """A count of contracts of the integer vintage: a number, whole or not; signed."""
    return size_e2(value, what) if isinstance(value, Decimal) else size_e2_from_contracts(value, what)  # type: ignore[arg-type]
