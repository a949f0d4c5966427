"""The exact form in which our own encoder writes the records of a topic, as a program for the scanner (`json_scan`).

The fields of a record class come in one order, without spaces, so all of a record but its values is known beforehand:
`{"event_type":"book_delta","payload":{"market_ticker":` TEXT `,"market_id":` TEXT or null .. A form is that list of
literals and values. It demands at least what the strict decoder demands, so that a record that keeps to its form is a
valid one; a class that cannot be told so (lists of texts, patterns) has no form, and its records are decoded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from schemas.records import Record

# Kinds of a step: a literal, then a value of this kind.
INTEGER, BOOLEAN, TEXT, CHOICE, PAIRS, OBJECT, NOTHING, END = range(8)
# What a step says, by position. LITERAL_*: the words of what stands before the value; LOW, HIGH: bounds of an integer,
# of a text's length, or of a pair's first integer, LOW_2, HIGH_2 of its second; CHOICE_*: the texts that are allowed;
# AFTER_NULL: the step after `null` (0: null is refused).
KIND, LITERAL_FIRST, LITERAL_BYTES, COLUMN, AFTER_NULL, LOW, HIGH, LOW_2, HIGH_2, CHOICE_FIRST, CHOICE_COUNT = range(11)
WORD_BYTES = 8  # literals are compared by words of the processor
INTEGER_MAX = 10**18 - 1  # 18 digits fit 64 bits; what is longer is decoded


@dataclass(frozen=True)
class Program:
    """The forms of a topic. `classes[i]` begins at step `begins[i]`.

    `columns` names what a step's COLUMN counts in, with the kind of its values; literals are `words` under `masks`;
    `choices` are rows of (first word, bytes).
    """

    classes: tuple[type[Record], ...]
    columns: tuple[tuple[str, int], ...]
    begins: np.ndarray[Any, Any]
    steps: np.ndarray[Any, Any]
    words: np.ndarray[Any, Any]
    masks: np.ndarray[Any, Any]
    choices: np.ndarray[Any, Any]


class _NoForm(Exception):
    """The class has a value whose form is not fixed."""


class _Builder:
    def __init__(self) -> None:
        self.steps: list[list[int]] = []
        self.words: list[int] = []
        self.masks: list[int] = []
        self.choices: list[list[int]] = []
        self.columns: dict[str, int] = {}
        self._before = b""  # the literal of the coming step, as far as it is known

    def add(self, record_class: type[Record], column_of: Callable[[str], str]) -> None:
        """Append the steps of a class."""
        kind: Any = msgspec.inspect.type_info(record_class)
        self._before = b""
        for field in self._fields(kind):
            if field.name == "payload":
                self._struct(field.type, column_of)
            else:
                self._value(field.type, field.name, lambda name: f"cause_{name}")
        self._before += b"}"
        self._step(END)

    def _fields(self, kind: Any) -> Any:
        """The fields of an object, each with its name put before it."""
        config = kind.cls.__struct_config__
        if config.array_like or config.omit_defaults:
            raise _NoForm
        tag = b"" if kind.tag is None else _json({kind.tag_field: kind.tag})[1:-1]
        self._before += b"{" + tag
        is_first = not tag
        for field in kind.fields:
            self._before += (b"" if is_first else b",") + _json(field.encode_name) + b":"
            is_first = False
            yield field

    def _struct(self, kind: Any, column_of: Callable[[str], str]) -> None:
        for field in self._fields(kind):
            self._value(field.type, column_of(field.name), None)
        self._before += b"}"

    def _value(self, kind: Any, column: str, inner: Callable[[str], str] | None) -> None:
        inspect = msgspec.inspect
        kinds = [_bare(one) for one in kind.types] if isinstance(kind, inspect.UnionType) else [_bare(kind)]
        wanted = [one for one in kinds if not isinstance(one, inspect.NoneType)]
        if len(wanted) != 1:
            raise _NoForm
        one, is_nullable = wanted[0], len(kinds) > 1
        if isinstance(one, inspect.StructType) and inner is not None:
            step = self._step(OBJECT)
            self._struct(one, inner)
            self._step(NOTHING)
        elif isinstance(one, inspect.IntType):
            step = self._step(INTEGER, column, *_bounds(one))
        elif isinstance(one, inspect.StrType) and one.pattern is None:
            longest = INTEGER_MAX if one.max_length is None else one.max_length
            step = self._step(TEXT, column, one.min_length or 0, longest)
        elif isinstance(one, inspect.LiteralType):
            step = self._literal(one.values, column)
        elif isinstance(one, inspect.ListType):
            bounds = _pair_bounds(one)
            step = self._step(PAIRS, column)
            self.steps[step][LOW : HIGH_2 + 1] = bounds
        elif isinstance(one, inspect.BoolType):
            step = self._step(BOOLEAN, column)
        else:
            raise _NoForm
        if is_nullable:
            self.steps[step][AFTER_NULL] = len(self.steps)

    def _literal(self, values: tuple[Any, ...], column: str) -> int:
        if len(values) == 1 and isinstance(values[0], int):
            return self._step(INTEGER, column, values[0], values[0])
        if not all(isinstance(value, str) for value in values):
            raise _NoForm
        step = self._step(CHOICE, column)
        self.steps[step][CHOICE_FIRST], self.steps[step][CHOICE_COUNT] = len(self.choices), len(values)
        for value in values:
            raw = _json(value)
            self.choices.append([self._put_words(raw), len(raw)])
        return step

    def _step(self, kind: int, name: str = "", low: int = 0, high: int = 0) -> int:
        first = self._put_words(self._before)
        column = 0
        if name:
            self.columns.setdefault(name, TEXT if kind == CHOICE else kind)
            column = list(self.columns).index(name)
        self.steps.append([kind, first, len(self._before), column, 0, low, high, 0, 0, 0, 0])
        self._before = b""
        return len(self.steps) - 1

    def _put_words(self, raw: bytes) -> int:
        first = len(self.words)
        for at in range(0, len(raw), WORD_BYTES):
            part = raw[at : at + WORD_BYTES]
            self.words.append(int.from_bytes(part, "little"))
            self.masks.append((1 << 8 * len(part)) - 1)
        return first


def _bounds(kind: Any) -> tuple[int, int]:
    """The lowest and the highest integer of a type."""
    if not isinstance(kind, msgspec.inspect.IntType) or (kind.gt, kind.lt, kind.multiple_of) != (None, None, None):
        raise _NoForm
    low = -INTEGER_MAX if kind.ge is None else kind.ge
    high = INTEGER_MAX if kind.le is None else kind.le
    return max(low, -INTEGER_MAX), min(high, INTEGER_MAX)


def _pair_bounds(kind: Any) -> tuple[int, ...]:
    """Of a list of pairs of integers, as levels are."""
    item = _bare(kind.item_type)
    if (kind.min_length, kind.max_length) != (None, None) or not isinstance(item, msgspec.inspect.TupleType):
        raise _NoForm
    if len(item.item_types) != 2:
        raise _NoForm
    return tuple(end for one in item.item_types for end in _bounds(_bare(one)))


def _bare(kind: Any) -> Any:
    """The type without what is only said about it."""
    return kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def program_of(classes: tuple[type[Record], ...], column_of: Callable[[str], str]) -> Program:
    """The program of those of the classes that have a form. `column_of` names a payload field's column."""
    whole, formed = _Builder(), []
    begins: list[int] = []
    for record_class in classes:
        try:
            _Builder().add(record_class, column_of)
        except _NoForm:
            continue
        begins.append(len(whole.steps))
        whole.add(record_class, column_of)
        formed.append(record_class)
    return Program(
        tuple(formed),
        tuple(whole.columns.items()),
        np.array(begins, np.uint64),
        np.array(whole.steps, np.int64).reshape(-1, CHOICE_COUNT + 1).view(np.uint64),
        np.array(whole.words, np.uint64),
        np.array(whole.masks, np.uint64),
        np.array(whole.choices, np.uint64).reshape(-1, 2),
    )
