"""Records that keep to the forms of their topic as Arrow columns, by the scanner; see `json_forms`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sinks.json_forms import PAIRS, TEXT, Program
from sinks.json_scan import PAD, gather, gather_pairs, scan

TEXT_BYTES_MAX = 1 << 30  # of one call: Arrow counts the bytes of a text column in 31 bits
APART = 24  # rows between columns: without them, those of 2,048 rows all begin in one set of the processor's cache
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scanned:
    """`forms[i]`: the number of the form of record i, -1 where it keeps to none and its values mean nothing.
    `columns`: the columns in which at least one record has a value; null where a record has none."""

    forms: Array
    columns: dict[str, pa.Array]


def scan_values(program: Program, values: Sequence[bytes | None]) -> Scanned:
    """The columns of these values (None, a tombstone, keeps to no form)."""
    count = len(values)
    forms = np.full(count, -1, np.int8)
    _, offsets_buffer, text = pa.array([*values, PAD], pa.large_binary()).buffers()
    if text.size > TEXT_BYTES_MAX:
        return Scanned(forms, {})
    offsets = np.frombuffer(offsets_buffer, np.int64, count + 1)
    shape = (len(program.columns), count + APART)
    numbers, sizes = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    pairs = np.empty(text.size // 2, np.int64)  # a pair takes six bytes at least
    literals = (program.words.ctypes.data, program.masks.ctypes.data, program.choices.ctypes.data)
    scan(text.address, offsets, program.begins, program.steps, *literals, forms, numbers, sizes, pairs)
    columns: dict[str, pa.Array] = {}
    for number, (name, kind) in enumerate(program.columns):
        is_there = sizes[number, :count] >= 0
        if is_there.any():
            columns[name] = _column(kind, numbers[number, :count], sizes[number, :count], is_there, pairs)
    return Scanned(forms, columns)


def _column(kind: int, numbers: Array, sizes: Array, is_there: Array, pairs: Array) -> pa.Array:
    count = len(numbers)
    validity = None if is_there.all() else pa.py_buffer(np.packbits(is_there, bitorder="little"))
    if kind == PAIRS:
        ends, integers = np.zeros(count + 1, np.int64), np.empty(_total(sizes, is_there), np.int64)
        gather_pairs(pairs, numbers, sizes, ends, integers)
        of_two = pa.ListArray.from_arrays(np.arange(0, len(integers) + 1, 2, dtype=np.int32), pa.array(integers))
        offsets = pa.py_buffer((ends // 2).astype(np.int32))
        return pa.Array.from_buffers(pa.list_(of_two.type), count, [validity, offsets], children=[of_two])
    if kind == TEXT:
        ends32, text = np.zeros(count + 1, np.int32), np.empty(_total(sizes, is_there), np.uint8)
        gather(numbers, sizes, ends32, text)
        return pa.Array.from_buffers(pa.string(), count, [validity, pa.py_buffer(ends32), pa.py_buffer(text)])
    return pa.Array.from_buffers(pa.int64(), count, [validity, pa.py_buffer(numbers.copy())])


def _total(sizes: Array, is_there: Array) -> int:
    return int(np.sum(sizes, where=is_there))
