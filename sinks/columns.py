"""The flat Arrow columns of a topic, taken from its record classes: envelope, payload, `_partition`, `_offset`.

A new record class needs nothing here. Types are exact: integers, text, booleans, lists of those; a float field is
refused when the columns are built. A payload name that the envelope has too gets the prefix `payload_`.
`_key` is the message key, `_raw` the value of a record that could not be decoded (its event_type is `_undecodable`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
import msgspec.structs
import numpy as np
import pyarrow as pa

from schemas.records import Record
from schemas.registry import Topic
from sinks.contract import DeadLetterNote, SourceRecord
from sinks.json_columns import Scanned, scan_values
from sinks.json_forms import Program, program_of
from sinks.rows import decode_records, refusal

UNDECODABLE = "_undecodable"
ENVELOPE = ("event_type", "schema_version", "ts_event", "ts_ingest", "source", "idempotency_key")
CAUSE = ("cause_topic", "cause_partition", "cause_offset", "cause_n")
RESERVED = frozenset((*ENVELOPE, *CAUSE, "cause"))
SLICE_RECORDS = 8_192  # made into columns at a time: enough that the work per column does not count, some MB of columns
SHARED_NULLS = SLICE_RECORDS  # rows of the null arrays that tables share
_INT64 = pa.int64()


@dataclass(frozen=True)
class TopicColumns:
    """`classes` maps an event_type to its record class; `payload` a class to its (field, column) pairs."""

    topic: Topic
    schema: pa.Schema
    classes: dict[str, type[Record]]
    payload: dict[type[Record], tuple[tuple[str, str], ...]]
    program: Program


def column_of(field: str) -> str:
    """The column of a payload field."""
    return f"payload_{field}" if field in RESERVED else field


@cache
def topic_columns(topic: Topic) -> TopicColumns:
    """The columns of a topic.

    Raises:
        TypeError: a field has no exact column type, or two classes disagree about one.
    """
    fields: dict[str, pa.DataType] = dict.fromkeys(("event_type", "source", "idempotency_key"), pa.string())
    fields = {name: fields.get(name, pa.int64()) for name in ENVELOPE}
    fields |= {name: pa.string() if name == "cause_topic" else pa.int64() for name in CAUSE}
    classes: dict[str, type[Record]] = {}
    payload: dict[type[Record], tuple[tuple[str, str], ...]] = {}
    for record_class in topic.records:
        classes[str(record_class.__struct_config__.tag)] = record_class
        kind: Any = next(f for f in msgspec.inspect.type_info(record_class).fields if f.name == "payload").type  # type: ignore[attr-defined]
        payload[record_class] = tuple((field.name, column_of(field.name)) for field in kind.fields)
        for field in kind.fields:
            column, arrow = column_of(field.name), _arrow_type(field.type, f"{topic.name}.{field.name}")
            if fields.setdefault(column, arrow) != arrow:
                raise TypeError(f"expected one type for {topic.name}.{column}, was {fields[column]} and {arrow}")
    fields |= {"_key": pa.binary(), "_raw": pa.binary(), "_partition": pa.int64(), "_offset": pa.int64()}
    return TopicColumns(topic, pa.schema(list(fields.items())), classes, payload, program_of(topic.records, column_of))


def _arrow_type(kind: Any, where: str) -> pa.DataType:
    """The exact Arrow type of a msgspec type."""
    inspect = msgspec.inspect
    if isinstance(kind, inspect.Metadata):
        return _arrow_type(kind.type, where)
    if isinstance(kind, inspect.UnionType):
        kinds = {_arrow_type(one, where) for one in kind.types if not isinstance(one, inspect.NoneType)}
        if len(kinds) == 1:
            return kinds.pop()
    if isinstance(kind, inspect.LiteralType) and len({type(value) for value in kind.values}) == 1:
        return pa.string() if isinstance(kind.values[0], str) else pa.int64()
    if isinstance(kind, inspect.TupleType) and len({_arrow_type(one, where) for one in kind.item_types}) == 1:
        return pa.list_(_arrow_type(kind.item_types[0], where))
    if isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return pa.list_(_arrow_type(kind.item_type, where))
    if isinstance(kind, inspect.StructType):
        return pa.struct([(field.name, _arrow_type(field.type, where)) for field in kind.fields])
    exact = {inspect.IntType: pa.int64(), inspect.StrType: pa.string(), inspect.BoolType: pa.bool_()}
    for known, arrow in exact.items():
        if isinstance(kind, known):
            return arrow
    raise TypeError(f"expected an exact type (integer, text, boolean, lists, structs of them), was {kind} at {where}")


def table_of(
    columns: TopicColumns, partition: int, records: list[SourceRecord], typed: list[Record | None]
) -> pa.Table:
    """One Arrow table of the records, in offset order.

    Raises:
        pa.ArrowInvalid, OverflowError, UnicodeEncodeError: a value that fits no column (beyond 64 bits).
    """
    kinds = list(map(type, typed))
    if kinds.count(kinds[0]) == len(kinds):
        return _table_of_class(columns, partition, kinds[0], records, typed)
    rows_by_class: dict[type, list[int]] = {}
    for row, kind in enumerate(kinds):
        rows_by_class.setdefault(kind, []).append(row)
    parts, order = [], []
    for kind, rows in rows_by_class.items():
        order.extend(rows)
        parts.append(_table_of_class(columns, partition, kind, [records[r] for r in rows], [typed[r] for r in rows]))
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_tables(parts).take(pa.array(back)).combine_chunks()


def _table_of_class(
    columns: TopicColumns, partition: int, kind: type, records: list[SourceRecord], typed: list[Any]
) -> pa.Table:
    count = len(records)
    values = _undecodable(records) if kind is type(None) else _decoded(columns, kind, typed)
    values |= _places(partition, records)
    arrays = [_array(values.get(field.name), field.type, count) for field in columns.schema]
    return pa.Table.from_arrays(arrays, schema=columns.schema)


def _places(partition: int, records: list[SourceRecord]) -> dict[str, Any]:
    """Key, partition and offset: what a record has beside its value."""
    return {
        "_key": [record.key for record in records],
        "_offset": _offsets(records),
        "_partition": pa.repeat(pa.scalar(partition, pa.int64()), len(records)),
    }


def _offsets(records: list[SourceRecord]) -> Any:
    """Offsets rise, so a run without holes is known by its ends."""
    first, count = records[0].offset, len(records)
    if records[-1].offset - first == count - 1:
        return pa.array(np.arange(first, first + count, dtype=np.int64))
    return [record.offset for record in records]


def _array(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return _nulls(kind, count)
    if isinstance(values, pa.Array):
        return values if values.type == kind else values.cast(kind)
    if values[0] is None and values.count(None) == count:
        return _nulls(kind, count)
    if kind == _INT64:
        try:
            return pa.array(np.fromiter(values, np.int64, count))  # half the time of pyarrow's own conversion
        except TypeError:  # a null among them
            pass
    return pa.array(values, kind)


def _nulls(kind: pa.DataType, count: int) -> pa.Array:
    """A slice of one shared array where it is long enough: most columns of a topic are null in most classes."""
    return _shared_nulls(kind).slice(0, count) if count <= SHARED_NULLS else pa.nulls(count, kind)


@cache
def _shared_nulls(kind: pa.DataType) -> pa.Array:
    return pa.nulls(SHARED_NULLS, kind)


def _undecodable(records: list[SourceRecord]) -> dict[str, Any]:
    return {
        "event_type": [UNDECODABLE] * len(records),
        "ts_ingest": [record.timestamp_ms for record in records],
        "_raw": [record.value for record in records],
    }


def _decoded(columns: TopicColumns, record_class: type[Record], typed: list[Any]) -> dict[str, Any]:
    values = _plucked(typed)
    payloads, causes = values.pop("payload"), values.pop("cause")
    values["event_type"] = pa.repeat(pa.scalar(record_class.__struct_config__.tag, pa.string()), len(typed))
    if any(causes):
        for name in CAUSE:
            attribute = name.removeprefix("cause_")
            values[name] = [None if cause is None else getattr(cause, attribute) for cause in causes]
    plucked = _plucked(payloads)
    for field, column in columns.payload[record_class]:
        is_nested = pa.types.is_nested(columns.schema.field(column).type)
        values[column] = msgspec.to_builtins(plucked[field]) if is_nested else plucked[field]
    return values


def _plucked(structs: Sequence[Any]) -> dict[str, Any]:
    """The values of each field of structs of one class."""
    return dict(
        zip(structs[0].__struct_fields__, zip(*map(msgspec.structs.astuple, structs), strict=True), strict=True)
    )


NO_FIT = (pa.ArrowInvalid, OverflowError, UnicodeEncodeError)


def take_records(topic: Topic, partition: int, records: list[SourceRecord]) -> tuple[pa.Table, list[DeadLetterNote]]:
    """The table of the records, in order, and a note for each that was refused.

    A refused record keeps its row: offset, key and raw value. Refused is what does not decode and what fits no column
    (an integer beyond 64 bits, text that is not text).
    """
    parts: list[pa.Table] = []
    notes: list[DeadLetterNote] = []
    for first in range(0, len(records), SLICE_RECORDS):
        table, refused = _take_slice(topic, partition, records[first : first + SLICE_RECORDS])
        parts.append(table)
        notes += refused
    return (parts[0] if len(parts) == 1 else pa.concat_tables(parts)), notes


def _take_slice(topic: Topic, partition: int, records: list[SourceRecord]) -> tuple[pa.Table, list[DeadLetterNote]]:
    """By the scanner; what keeps to no form is decoded and put in its place."""
    columns = topic_columns(topic)
    scanned = scan_values(columns.program, [record.value for record in records])
    strays = np.flatnonzero(scanned.forms < 0).tolist()
    if len(strays) == len(records):
        return _decode_slice(columns, partition, records)
    table = _table_of_scanned(columns, partition, records, scanned)
    if not strays:
        return table, []
    decoded, notes = _decode_slice(columns, partition, [records[row] for row in strays])
    place = np.arange(len(records))
    place[strays] = np.arange(len(records), len(records) + len(strays))
    return pa.concat_tables([table, decoded]).take(pa.array(place)).combine_chunks(), notes


def _table_of_scanned(columns: TopicColumns, partition: int, records: list[SourceRecord], scanned: Scanned) -> pa.Table:
    tags = [str(kind.__struct_config__.tag) for kind in columns.program.classes]
    values: dict[str, Any] = dict(scanned.columns)
    values["event_type"] = pa.DictionaryArray.from_arrays(np.maximum(scanned.forms, 0), pa.array(tags))
    values |= _places(partition, records)
    arrays = [_array(values.get(field.name), field.type, len(records)) for field in columns.schema]
    return pa.Table.from_arrays(arrays, schema=columns.schema)


def _decode_slice(
    columns: TopicColumns, partition: int, records: list[SourceRecord]
) -> tuple[pa.Table, list[DeadLetterNote]]:
    typed, notes = decode_records(columns.topic, records)
    try:
        return table_of(columns, partition, records, typed), notes
    except NO_FIT:
        for row, record in enumerate(records):
            try:
                table_of(columns, partition, [record], [typed[row]])
            except NO_FIT as wrong:
                typed[row] = None
                notes.append(refusal(record, wrong))
        return table_of(columns, partition, records, typed), notes
