"""Fields of Postgres' binary COPY format, built from our integers without ever passing through a float.

Each function returns one field: four bytes of length, then the value (PostgreSQL manual, COPY, "Binary Format"; numeric
as in numeric_send: digits in base 10,000). Binary costs a third of psycopg's row writer, and the server parses nothing.
"""

from functools import lru_cache
from struct import Struct

NULL = b"\xff\xff\xff\xff"
FILE_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
FILE_TRAILER = b"\xff\xff"
_POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01 in microseconds since 1970
_BASE = 10_000
# Sizes and texts repeat (levels, tickers, sessions); 64 k entries of about 120 bytes bound each cache to some 8 MB.
_CACHE_ENTRIES = 65_536

_length = Struct(">i").pack
_int2 = Struct(">ih").pack
_int4 = Struct(">ii").pack
_int8 = Struct(">iq").pack
_three_int8 = Struct(">iqiqiq").pack
_times_and_place = Struct(">iqiqiiiq").pack
_cause_place = Struct(">iiiqii").pack
_numeric_head = Struct(">ihhHH").pack
_size_of_two_digits = Struct(">ihhHHHH").pack
row_head = Struct(">h").pack


def text(value: str | None) -> bytes:
    """Text as UTF-8. A NUL character passes here and is refused by the server, which is how such a row is found."""
    if value is None:
        return NULL
    raw = value.encode()
    return _length(len(raw)) + raw


#: For texts with few values (tickers, sessions, sources).
repeated_text = lru_cache(maxsize=_CACHE_ENTRIES)(text)


@lru_cache(maxsize=_CACHE_ENTRIES)
def int2(value: int) -> bytes:
    """smallint. Raises struct.error when it does not fit."""
    return _int2(2, value)


def int4(value: int | None) -> bytes:
    """integer. Raises struct.error when it does not fit."""
    return NULL if value is None else _int4(4, value)


def int8(value: int | None) -> bytes:
    """bigint. Raises struct.error when it does not fit."""
    return NULL if value is None else _int8(8, value)


def three_int8(first: int | None, second: int | None, third: int | None) -> bytes:
    """Three bigint in one go. Raises struct.error when one does not fit."""
    if first is None or second is None or third is None:
        return int8(first) + int8(second) + int8(third)
    return _three_int8(8, first, 8, second, 8, third)


def boolean(value: bool | None) -> bytes:
    """boolean."""
    if value is None:
        return NULL
    return b"\x00\x00\x00\x01\x01" if value else b"\x00\x00\x00\x01\x00"


def timestamp(ms: int | None) -> bytes:
    """timestamptz from milliseconds since 1970, exactly: the wire form is whole microseconds."""
    return NULL if ms is None else _int8(8, ms * 1_000 - _POSTGRES_EPOCH_US)


def times_and_place(ts_event_ms: int, ts_ingest_ms: int, partition: int, offset: int) -> bytes:
    """Two timestamptz, an integer and a bigint in one go: every row has them. Raises struct.error like its parts."""
    event_us, ingest_us = ts_event_ms * 1_000 - _POSTGRES_EPOCH_US, ts_ingest_ms * 1_000 - _POSTGRES_EPOCH_US
    return _times_and_place(8, event_us, 8, ingest_us, 4, partition, 8, offset)


def cause_place(partition: int, offset: int, n: int) -> bytes:
    """integer, bigint, integer."""
    return _cause_place(4, partition, 8, offset, 4, n)


def jsonb(raw: bytes) -> bytes:
    """jsonb from JSON text (version byte 1, then the text, parsed by the server)."""
    return _length(len(raw) + 1) + b"\x01" + raw


def numeric(value: int, scale: int) -> bytes:
    """numeric: `value` / 10**scale, exactly, shown with `scale` decimals."""
    digits: list[int] = []
    rest = abs(value) * 10 ** (-scale % 4)
    while rest:
        rest, digit = divmod(rest, _BASE)
        digits.append(digit)
    weight = len(digits) - 1 - (scale + 3) // 4
    while digits and digits[0] == 0:
        del digits[0]
    if not digits:
        weight = 0
    sign = 0x4000 if value < 0 else 0
    body = b"".join(digit.to_bytes(2, "big") for digit in reversed(digits))
    return _numeric_head(8 + len(body), len(digits), weight, sign, scale) + body


@lru_cache(maxsize=_CACHE_ENTRIES)
def size(size_e2: int | None) -> bytes:
    """Contracts with two decimals from 1/100 contract."""
    if size_e2 is None:
        return NULL
    # A new size is common, so the usual ones (below 10,000 contracts, one digit before the point and one behind) are
    # written without the loop.
    whole, cents = divmod(size_e2, 100)
    if cents and 0 < whole < _BASE:
        return _size_of_two_digits(12, 2, 0, 0, 2, whole, cents * 100)
    return numeric(size_e2, 2)


@lru_cache(maxsize=_CACHE_ENTRIES)
def price(price_e4: int | None) -> bytes:
    """Dollars with four decimals from 1/10,000 dollar."""
    return NULL if price_e4 is None else numeric(price_e4, 4)


def money(money_e6: int | None) -> bytes:
    """Dollars with six decimals from 1/1,000,000 dollar."""
    return NULL if money_e6 is None else numeric(money_e6, 6)
