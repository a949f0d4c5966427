"""The venue's spellings of time, to milliseconds since 1970 by integer arithmetic."""

import re
from datetime import date
from functools import lru_cache

from domain.errors import MalformedFrame

MS_MAX = 1 << 53
#: An integer `ts` is seconds (trades) unless it is too large to be any: seconds reach this in the year 5138.
_SECONDS_MAX = 100_000_000_000
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,12}))?(?:[Zz]|([+-])(\d\d):(\d\d))\Z", re.ASCII
)


def event_ms(ts_ms: object, ts: object) -> int | None:
    """The venue's time of a message: `ts_ms` if it has one, else `ts` (RFC 3339 text, or integer seconds or ms).

    Raises:
        MalformedFrame: `bad_timestamp`, for any other type or text, and for times before 1970.
    """
    if ts_ms is not None:
        return _checked(ts_ms, ts_ms)
    if ts is None:
        return None
    if isinstance(ts, str):
        return rfc3339_ms(ts)
    if type(ts) is int and ts < _SECONDS_MAX:
        return _checked(ts * 1_000, ts)
    return _checked(ts, ts)


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
