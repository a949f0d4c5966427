"""The scanner against the strict decoder: what it takes, the decoder takes, with the same columns; it takes what our
encoder writes. `sinks.columns` uses both, so a difference would be two truths about one record."""

import re
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from book_topic import make_book_topic
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import encode_record
from schemas.records import Record
from schemas.registry import BOOK_UPDATES, TOPICS, Topic
from sinks.columns import _decode_slice, take_records, topic_columns
from sinks.contract import SourceRecord
from sinks.json_columns import scan_values

PLAIN = st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\')
TOPIC_OF = {record_class: topic for topic in TOPICS for record_class in topic.records}
# Lists of texts have no fixed form.
WITHOUT_FORM = {"resting_orders", "tick"}


def values_of(kind: Any, text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Valid values of a msgspec type, as what JSON has."""
    inspect = msgspec.inspect
    if isinstance(kind, inspect.Metadata):
        return values_of(kind.type, text)
    if isinstance(kind, inspect.UnionType):
        return st.one_of(*(values_of(one, text) for one in kind.types))
    if isinstance(kind, inspect.NoneType):
        return st.none()
    if isinstance(kind, inspect.BoolType):
        return st.booleans()
    if isinstance(kind, inspect.IntType):
        low, high = -(1 << 70) if kind.ge is None else kind.ge, (1 << 70) if kind.le is None else kind.le
        near = st.sampled_from([end for end in (low, low + 1, -1, 0, 1, 99_999_999, high) if low <= end <= high])
        return near | st.integers(max(low, -(10**18) + 1), min(high, 10**18 - 1))
    if isinstance(kind, inspect.StrType):
        return st.text(text, min_size=kind.min_length or 0, max_size=min(kind.max_length or 40, 40))
    if isinstance(kind, inspect.LiteralType):
        return st.sampled_from(kind.values)
    if isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return st.lists(values_of(kind.item_type, text), max_size=5)
    if isinstance(kind, inspect.TupleType):
        return st.tuples(*(values_of(one, text) for one in kind.item_types))
    assert isinstance(kind, inspect.StructType), kind
    return st.fixed_dictionaries({field.encode_name: values_of(field.type, text) for field in kind.fields})


def records_of(record_class: type[Record], text: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """Values of a topic, as our encoder writes them."""
    tag = {"event_type": record_class.__struct_config__.tag}
    return values_of(msgspec.inspect.type_info(record_class), text).map(
        lambda fields: encode_record(msgspec.convert(fields | tag, record_class))
    )


def strictly(topic: Topic, records: list[SourceRecord]) -> tuple[pa.Table, list[tuple[int, str, str]]]:
    """What the decoder alone makes of them."""
    table, notes = _decode_slice(topic_columns(topic), 3, records)
    return table, [(note.record.offset, note.reason, note.detail) for note in notes]


def assert_as_the_decoder(values: list[bytes | None], topic: Topic = BOOK_UPDATES) -> None:
    """The same columns, the same refusals, in the same order."""
    table, notes = take_records(topic, 3, source(values))

    expected, refused = strictly(topic, source(values))
    assert table.equals(expected)
    assert [(note.record.offset, note.reason, note.detail) for note in notes] == refused


def source(values: list[bytes | None]) -> list[SourceRecord]:
    return [SourceRecord(offset, b"k", value, 5) for offset, value in enumerate(values)]


@pytest.mark.parametrize("record_class", TOPIC_OF, ids=lambda kind: kind.__struct_config__.tag)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_our_encoder_writes_gives_the_columns_of_the_decoder(record_class: type[Record], data: Any) -> None:
    """Any text and any integer, also such as the scanner leaves to the decoder."""
    values = data.draw(st.lists(records_of(record_class, PLAIN | st.characters(codec="utf-8")), min_size=1, max_size=8))

    assert_as_the_decoder(values, TOPIC_OF[record_class])


@pytest.mark.parametrize("record_class", TOPIC_OF, ids=lambda kind: kind.__struct_config__.tag)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_every_plain_record_of_ours_is_scanned(record_class: type[Record], data: Any) -> None:
    """Else a change of a record class, or of the encoder, would quietly cost two thirds of the sinks' speed."""
    value = data.draw(records_of(record_class, PLAIN).filter(lambda raw: not any_long(raw)))

    forms = scan_values(topic_columns(TOPIC_OF[record_class]).program, [value, None, value]).forms

    tag = str(record_class.__struct_config__.tag)
    assert (forms >= 0).tolist() == [tag not in WITHOUT_FORM, False, tag not in WITHOUT_FORM]


def any_long(raw: bytes) -> bool:
    """Whether an integer of more than 18 digits stands in it."""
    kept = "".join(chr(code) if 48 <= code <= 57 else " " for code in raw)
    return any(len(digits) > 18 for digits in kept.split())


BOOK_VALUES = [record.value or b"" for record in make_book_topic(1, 200)]


# What is no such value, or not within the bounds of a price, a size, a time or a ticker; by how the right one begins.
OTHER_VALUES = {
    b'"': [b'""', b'"' + b"x" * 129 + b'"', b'"no"', b"null", b"1"],
    b"[": [
        b"[]",
        b"[[0,1]]",
        b"[[10000,1]]",
        b"[[1,-1]]",
        b"[[1,9007199254740993]]",
        b"[[1]]",
        b"[[1,2],]",
        b"[[1,2,3]]",
    ],
    b"n": [b"0", b"nul", b'"a"'],
    b"0": [
        b"0",
        b"-1",
        b"007",
        b"-0",
        b"10000",
        b"-9007199254740993",
        b"9007199254740993",
        b"9" * 19,
        b"1.0",
        b"1e2",
        b"true",
    ],
}


def test_a_value_that_is_none_is_refused_wherever_it_stands() -> None:
    """Each value of a snapshot, a delta and a reset, replaced by each of the others."""
    values: list[bytes | None] = []
    for tag in (b"book_snapshot", b"book_delta", b"book_reset"):
        raw = next(value for value in BOOK_VALUES if tag in value[:40] and b"[]" not in value)
        for match in re.finditer(rb':("[^"]*"|-?[0-9]+|null|\[\[.*?\]\])', raw):
            begin, end = match.span(1)
            others = OTHER_VALUES.get(raw[begin : begin + 1], OTHER_VALUES[b"0"])
            values += [raw[:begin] + other + raw[end:] for other in others]

    assert_as_the_decoder(values)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A record with some bytes overwritten, put in, taken out, or cut off, or two records run into one."""
    raw = bytearray(draw(st.sampled_from(BOOK_VALUES)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw)))
        piece = draw(
            st.sampled_from([b'"', b"\\", b"0", b"-", b"9" * 20, b" ", b",", b"]", b"[", b"null", b"\x00", b"}"])
        )
        how = draw(st.sampled_from(["put in", "overwrite", "take out", "cut off", "run on"]))
        if how == "put in":
            raw[at:at] = piece
        elif how == "overwrite":
            raw[at : at + len(piece)] = piece
        elif how == "take out":
            del raw[at : at + draw(st.integers(1, 9))]
        elif how == "cut off":
            del raw[at:]
        else:
            raw[at:] = draw(st.sampled_from(BOOK_VALUES))[at:]
    return bytes(raw)


@settings(max_examples=300, deadline=None)
@given(values=st.lists(st.none() | st.sampled_from(BOOK_VALUES) | damaged(), min_size=1, max_size=12))
def test_damaged_records_are_judged_as_the_decoder_judges_them(values: list[bytes | None]) -> None:
    """Also a record that is cut where its neighbour would go on: each is looked at alone."""
    assert_as_the_decoder(values)


def test_a_record_that_ends_where_the_next_one_begins_is_not_made_of_both() -> None:
    """One valid record over two values: neither is valid."""
    whole = next(value for value in BOOK_VALUES if b"book_delta" in value[:40])
    program = topic_columns(BOOK_UPDATES).program

    for cut in range(1, len(whole)):
        assert scan_values(program, [whole[:cut], whole[cut:]]).forms.tolist() == [-1, -1], whole[:cut]

    assert np.all(scan_values(program, [whole, whole]).forms >= 0)
