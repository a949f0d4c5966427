"""The scanner: one pass over the bytes of many records that finds every value of those that keep to a form.

Compiled by numba when it is first imported (half a second, then from its cache), and run without the interpreter's
lock: the event loop and other partitions go on meanwhile. A record that leaves its form anywhere (another order, a
space, an escape, a character beyond ASCII, a value out of bounds) is only reported: the strict decoder judges it.

The functions below the two public ones pass addresses, not arrays: numba counts references to an array at every call,
which took twice the time of the work itself. They read whole words: up to 8 bytes past the last record, hence PAD.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from sinks import json_forms as f

PAD = bytes(24)  # after the last record: values end at a zero byte, words are read past the end
DIGITS_MAX = 18
# Unsigned positions: numba tests signed ones for being negative, as Python's indexing has it.
_U = np.uint64
_ONE, _WORD, _BYTE = _U(1), _U(8), _U(0xFF)
_QUOTE, _MINUS, _ZERO, _OPEN, _CLOSE, _COMMA = (_U(code) for code in b'"-0[],')
_ONES = _U(0x0101010101010101)  # a byte in every byte of a word
_HIGH_BITS = _U(0x8080808080808080)
_QUOTES, _BACKSLASHES, _SPACES, _ZEROS = (_U(code * 0x0101010101010101) for code in b'"\\ 0')
_TO_HIGH_BIT = _U(0x7676767676767676)  # added to 10 or more it sets the high bit
_PAIR, _HUNDREDS, _UNITS = _U(0x000000FF000000FF), _U(0x000F424000000064), _U(0x0000271000000001)
_TENS = tuple(10**power for power in range(9))
_NULL, _TRUE, _FALSE = (_U(int.from_bytes(word, "little")) for word in (b"null", b"true", b"false"))
_FOUR, _FIVE = _U((1 << 32) - 1), _U((1 << 40) - 1)  # the first bytes of a word

Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(*signature: Any) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        try:
            return numba.njit(*signature, nogil=True, cache=True)(function)  # type: ignore[no-any-return]
        except RuntimeError:  # no folder to keep it in can be written: compiled at every start then
            return numba.njit(*signature, nogil=True)(function)  # type: ignore[no-any-return]

    return decorate


@intrinsic  # type: ignore[untyped-decorator]
def _word(_typing: Any, address: Any) -> Any:
    """The eight bytes at an address, aligned or not."""

    def load(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()), align=1)

    return numba.uint64(address), load


@_compiled()
def _bytes_before(hits: Any) -> Any:
    """How many bytes of a word stand before the lowest one that is marked by its high bit."""
    below = ((hits & (~hits + _ONE)) >> _U(7)) - _ONE
    return ((below & _ONES) * _ONES) >> _U(56)


@_compiled()
def _is_there(at: Any, words: Any, masks: Any, length: Any) -> Any:
    """Whether the literal of `length` bytes stands at `at`."""
    end = words + length
    while words < end:
        if (_word(at) & _word(masks)) != _word(words):
            return False
        at, words, masks = at + _WORD, words + _WORD, masks + _WORD
    return True


@_compiled()
def _integer(at: Any) -> Any:
    """(value, where it ends); the end is `at` when no plain integer of at most 18 digits stands there.

    Eight digits at a time and without a branch per digit: the lengths of numbers cannot be foretold, and a branch that
    the processor guesses wrong costs more than the rest of the number.
    """
    begin = at
    is_negative = (_word(at) & _BYTE) == _MINUS
    at += _U(is_negative)
    digits, value = at, 0
    while True:
        word = _word(at) ^ _ZEROS
        others = ((word + _TO_HIGH_BIT) | word) & _HIGH_BITS
        count = _WORD if others == _U(0) else _bytes_before(others)
        if count == _U(0):
            break
        word <<= (_WORD - count) << _U(3)
        word = word * _U(10) + (word >> _U(8))
        word = ((word & _PAIR) * _HUNDREDS + ((word >> _U(16)) & _PAIR) * _UNITS) >> _U(32)
        value = value * _TENS[count] + np.int64(word)
        at += count
        if count < _WORD:
            break
    count = at - digits
    is_padded = (_word(digits) & _BYTE) == _ZERO and (count > _ONE or is_negative)
    if count == _U(0) or count > _U(DIGITS_MAX) or is_padded:
        return 0, begin
    return (-value if is_negative else value), at


@_compiled()
def _text_end(at: Any) -> Any:
    """Where the closing quote of the plain text stands whose opening quote is at `at`; `at` when there is none. Plain
    is ASCII without escapes; eight characters at a time."""
    begin = at
    if (_word(at) & _BYTE) != _QUOTE:
        return begin
    at += _ONE
    while True:
        word = _word(at)
        quote = word ^ _QUOTES
        quotes = (quote - _ONES) & ~quote & _HIGH_BITS
        escape = word ^ _BACKSLASHES
        others = (((escape - _ONES) & ~escape) | ((word - _SPACES) & ~word) | word) & _HIGH_BITS
        hits = quotes | others
        if hits:
            return at + _bytes_before(hits) if quotes & (hits & (~hits + _ONE)) else begin
        at += _WORD


@_compiled()
def _plain(kind: Any, at: Any, low: Any, high: Any) -> Any:
    """An integer, a boolean or a text at `at`: (where it ends, its value or where it begins, 0 or its length). It ends
    at `at` when it is none, or not within `low` and `high`."""
    if kind == f.INTEGER:
        value, after = _integer(at)
        return (after if low <= value <= high else at), value, 0
    if kind == f.BOOLEAN:
        is_true = (_word(at) & _FOUR) == _TRUE
        if not is_true and (_word(at) & _FIVE) != _FALSE:
            return at, 0, 0
        return at + _U(4 if is_true else 5), np.int64(is_true), 0
    close = _text_end(at)
    length = np.int64(close - at) - 1
    return (close + _ONE if close != at and low <= length <= high else at), np.int64(at) + 1, length


@_compiled()
def _choice(at: Any, words: Any, masks: Any, choices: Any, count: Any) -> Any:
    """As `_plain`, of the one text of the allowed ones that stands at `at`."""
    for _ in range(count):
        first, length = _word(choices) * _WORD, _word(choices + _WORD)
        if _is_there(at, words + first, masks + first, length):
            return at + length, np.int64(at) + 1, np.int64(length) - 2
        choices += _WORD + _WORD
    return at, 0, 0


@_compiled()
def _pairs(at: Any, step: Any, values: Any, used: Any) -> Any:
    """As `_plain`, of the list `[[1,2],[3,4]]`: its integers are put into `values` from `used` on."""
    begin, first_used = at, np.int64(used)
    if (_word(at) & _BYTE) != _OPEN:
        return begin, first_used, 0
    at += _ONE
    if (_word(at) & _BYTE) == _CLOSE:
        return at + _ONE, first_used, 0
    while True:
        first, comma = _integer(at + _ONE)
        second, close = _integer(comma + _ONE)
        is_pair = (_word(at) & _BYTE) == _OPEN and comma > at + _ONE and (_word(comma) & _BYTE) == _COMMA
        is_pair = is_pair and close > comma + _ONE and (_word(close) & _BYTE) == _CLOSE
        is_low = first < np.int64(step[f.LOW]) or second < np.int64(step[f.LOW_2])
        if not is_pair or is_low or first > np.int64(step[f.HIGH]) or second > np.int64(step[f.HIGH_2]):
            return begin, first_used, 0
        values[used], values[used + _ONE] = first, second
        used += _U(2)
        at = close + _U(2)
        last = _word(close + _ONE) & _BYTE
        if last == _CLOSE:
            return at, first_used, np.int64(used) - first_used
        if last != _COMMA:
            return begin, first_used, 0


_numbers, _words = numba.int64[::1], numba.uint64[::1]
_offsets = numba.types.Array(numba.int64, 1, "C", readonly=True)
_program = (_words, numba.uint64[:, ::1], numba.uint64, numba.uint64, numba.uint64)


@_compiled(
    numba.void(numba.uint64, _offsets, *_program, numba.int8[::1], numba.int64[:, ::1], numba.int64[:, ::1], _numbers)
)
def scan(
    text: Any, offsets: Any, begins: Any, steps: Any, words: Any, masks: Any, choices: Any, forms: Any, numbers: Any,
    sizes: Any, pairs: Any,
) -> None:  # fmt: skip
    """Find the values of every record: record i is from `text + offsets[i]` to before `text + offsets[i + 1]`.

    `text`, `words`, `masks` and `choices` are addresses. Set are, for each record: `forms`, the number of its form (-1
    must stand there: it keeps to none), and by column `numbers`, the integer, or where a text begins, or where pairs
    begin in `pairs`; `sizes`, how long the text is or how many integers the pairs have (-1 must stand there: null).
    What is set for a record without a form means nothing.
    """
    used = _U(0)
    for row in range(_U(len(forms))):
        end = text + _U(offsets[row + _ONE])
        for form in range(_U(len(begins))):
            at, step, taken = text + _U(offsets[row]), begins[form], used
            while True:
                first, length = steps[step, f.LITERAL_FIRST] * _WORD, steps[step, f.LITERAL_BYTES]
                if at + length > end or not _is_there(at, words + first, masks + first, length):
                    break
                at += length
                kind, here = steps[step, f.KIND], step
                step += _ONE
                if kind == f.END:
                    if at == end:
                        forms[row], used = form, taken
                    break
                if steps[here, f.AFTER_NULL] and (_word(at) & _FOUR) == _NULL:
                    at, step = at + _U(4), steps[here, f.AFTER_NULL]
                    continue
                if kind == f.OBJECT or kind == f.NOTHING:
                    continue
                if kind == f.PAIRS:
                    after, number, size = _pairs(at, steps[here], pairs, taken)
                    taken += _U(size)
                elif kind == f.CHOICE:
                    among = choices + steps[here, f.CHOICE_FIRST] * _U(16)
                    after, number, size = _choice(at, words, masks, among, steps[here, f.CHOICE_COUNT])
                else:
                    low, high = np.int64(steps[here, f.LOW]), np.int64(steps[here, f.HIGH])
                    after, number, size = _plain(kind, at, low, high)
                if after == at:
                    break
                numbers[steps[here, f.COLUMN], row], sizes[steps[here, f.COLUMN], row] = number, size
                at = after
            if step > begins[form]:  # its tag stood there, so no other form's does
                break


@_compiled(numba.void(_numbers, _numbers, numba.int32[::1], numba.uint8[::1]))
def gather(starts: Any, lengths: Any, ends: Any, into: Any) -> None:
    """Copy texts one after the other into `into`: text i is the `lengths[i]` bytes at address `starts[i]`, none where
    the length is -1. `ends[i + 1]` becomes where it ends in `into`, which has room for a word more than that."""
    to = _U(0)
    for row in range(_U(len(starts))):
        address, left = _U(starts[row]), lengths[row]
        while left > 0:
            word, place = _word(address), to
            count = min(left, 8)
            for _ in range(count):
                into[place] = word & _BYTE
                word >>= _WORD
                place += _ONE
            to, address, left = place, address + _WORD, left - 8
        ends[row + _ONE] = to


@_compiled(numba.void(_numbers, _numbers, _numbers, _numbers, _numbers))
def gather_pairs(pairs: Any, starts: Any, counts: Any, ends: Any, into: Any) -> None:
    """Copy the integers of lists one after the other: list i is `counts[i]` from `pairs[starts[i]]` on (-1: none).
    `ends[i + 1]` becomes how many there are up to its end."""
    to = _U(0)
    for row in range(_U(len(starts))):
        start = _U(starts[row])
        for place in range(_U(max(counts[row], 0))):
            into[to] = pairs[start + place]
            to += _ONE
        ends[row + _ONE] = to
