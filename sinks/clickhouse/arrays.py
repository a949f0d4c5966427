"""Exact integers of our records to ClickHouse's decimals and times, whole columns at a time and without a float.

A decimal column is the integer column with a scale put on it: the bytes are widened, no value is computed.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PRICE = pa.decimal128(9, 4)  # dollars, from e4
SIZE = pa.decimal128(18, 2)  # contracts, from e2
MONEY = pa.decimal128(38, 6)  # dollars, from e6: 64-bit integers need more than 18 digits
TIME = pa.timestamp("ms", "UTC")


def scaled(values: pa.Array | pa.ChunkedArray, kind: pa.Decimal128Type) -> pa.Array:
    """Integers as decimals of that scale: 4200 with scale 4 is 0.4200. Nulls stay null."""
    flat = one_chunk(values)
    low = np.asarray(pc.fill_null(flat, 0), dtype=np.int64)
    wide = np.empty((len(low), 2), np.int64)
    wide[:, 0] = low
    wide[:, 1] = low >> 63
    validity = pa.py_buffer(_bits(flat)) if flat.null_count else None
    return pa.Array.from_buffers(kind, len(flat), [validity, pa.py_buffer(wide)])


def _bits(values: pa.Array) -> bytes:
    return np.packbits(np.asarray(values.is_valid()), bitorder="little").tobytes()


def times(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Milliseconds since 1970 as DateTime64(3)."""
    return pc.cast(one_chunk(values), pa.int64()).view(TIME) if len(values) else pa.array([], TIME)


def venue_times(table: pa.Table) -> pa.Array:
    """`ts_event`, or `ts_ingest` where the venue gave no time."""
    return times(pc.coalesce(table["ts_event"], table["ts_ingest"]))


def text(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Text with the empty string for null: the columns are not nullable."""
    return pc.fill_null(one_chunk(values), "")


def dictionary(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Text of few different values, sent as a dictionary."""
    return text(values).dictionary_encode()


def constant(value: str | int, kind: pa.DataType, count: int) -> pa.Array:
    """The same value `count` times."""
    return pa.repeat(pa.scalar(value, kind), count)


def repeated(value: str, count: int) -> pa.Array:
    """The same text `count` times, sent as a dictionary of one."""
    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), pa.array([value], pa.string()))


def one_chunk(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one array."""
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    return values
