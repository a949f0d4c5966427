"""The venue's spellings of time, to milliseconds since 1970 by integer arithmetic."""

import re
from datetime import date
from functools import lru_cache

from domain.errors import MalformedFrame

MS_MAX = 1 << 53
#: Integers say their unit by their size. Below the first bound they are seconds (until the year 5138), below the next
#: milliseconds (from 1973 until 5138), microseconds, and above nanoseconds. Venues have changed the unit of a field
#: before; a time in another one taken for milliseconds is thousands of years ahead.
SECONDS_MAX = 100_000_000_000
MILLISECONDS_MAX = 1_000 * SECONDS_MAX
_MICROSECONDS_MAX = 1_000_000 * SECONDS_MAX
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,12}))?(?:[Zz]|([+-])(\d\d):(\d\d))\Z", re.ASCII
)


def event_ms(ts_ms: object, ts: object) -> int | None:
    """The venue's time of a message: `ts_ms` if it has one, else `ts`: RFC 3339 text, or an integer of any unit.

    Raises:
        MalformedFrame: `bad_timestamp`, for any other type or text, and for times before 1970.
    """
    if ts_ms is not None:
        return integer_ms(ts_ms)
    if ts is None:
        return None
    return rfc3339_ms(ts) if isinstance(ts, str) else integer_ms(ts)


def integer_ms(value: object) -> int:
    """Seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by their size.

    Raises:
        MalformedFrame: `bad_timestamp`, for what is no integer, negative, or too large for any.
    """
    if type(value) is not int:
        return _checked(value, value)
    if value < SECONDS_MAX:
        return _checked(value * 1_000, value)
    if value < MILLISECONDS_MAX:
        return value
    return _checked(value // (1_000 if value < _MICROSECONDS_MAX else 1_000_000), value)


def rfc3339_ms(text: str) -> int:
    """'2026-04-18T05:34:49.816683Z' -> 1776490489816; digits finer than a millisecond are cut off, not rounded."""
    match = _RFC3339.match(text)
    if match is None:
        raise MalformedFrame("bad_timestamp", f"expected RFC 3339, was {text!r}"[:200])
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction = (match[7] or "0").ljust(3, "0")[:3]
    if hour > 23 or minute > 59 or second > 60:
        raise MalformedFrame("bad_timestamp", f"expected RFC 3339, was {text!r}")
    seconds = _day_s(year, month, day) + hour * 3_600 + minute * 60 + second
    if match[8]:
        offset_s = int(match[9]) * 3_600 + int(match[10]) * 60
        seconds += -offset_s if match[8] == "+" else offset_s
    return _checked(seconds * 1_000 + int(fraction), text)


@lru_cache(maxsize=64)
def _day_s(year: int, month: int, day: int) -> int:
    try:
        return (date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()) * 86_400
    except ValueError:
        raise MalformedFrame("bad_timestamp", f"expected a date, was {year}-{month}-{day}") from None


def _checked(value: object, shown: object) -> int:
    if type(value) is not int or not 0 <= value <= MS_MAX:
        raise MalformedFrame("bad_timestamp", f"expected milliseconds since 1970, was {shown!r}"[:200])
    return value
