"""The archive back into records: byte for byte what the producers encoded, in offset order per partition."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from domain.errors import UserMistake
from schemas.codec import encode_record
from schemas.records import Cause, Record
from schemas.registry import Topic, topic_named
from sinks.columns import UNDECODABLE, TopicColumns, topic_columns
from sinks.parquet import files

BATCH_ROWS = 8_192  # rows decoded at a time: a few MB of Python objects
REMEMBERED_KEYS = 1_000_000  # a repeat follows its first within one checkpoint; this is far beyond that


@dataclass(frozen=True, slots=True)
class ArchivedRecord:
    """One record as it stood in the topic. `record` is None for one that could not be decoded: its `value` is raw."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    record: Record | None


def iter_records(
    root: Path, topic_name: str, partition: int | None = None, *, drop_repeated: bool = False, first_offset: int = 0
) -> Iterator[ArchivedRecord]:
    """Every archived record of a topic, partition by partition, in offset order.

    Args:
        root: the archive's folder (`<data-dir>/parquet`).
        drop_repeated: leave out records whose idempotency_key came before (the first counts): derived topics hold
            some twice after a kill.
        first_offset: leave out the records below.

    Raises:
        UserMistake: the files have a gap or an overlap, or one is not readable as this topic.
    """
    topic = topic_named(topic_name)
    for number in files.partitions_of(root, topic_name) if partition is None else [partition]:
        records = _partition_records(root, topic, number, first_offset)
        yield from _without_repeats(records) if drop_repeated else records


def open_files(root: Path, topic: str, partition: int, first_offset: int = 0) -> Iterator[tuple[int, pq.ParquetFile]]:
    """The files of a partition with records from `first_offset` on, in order and open, each with where to go on:
    what lies below was in a file before (compaction may put files together on our way).

    Raises:
        UserMistake: the files have a gap or an overlap, or one is not readable.
    """
    at, missed = first_offset, 0
    while True:
        for span in files.contiguous_spans(root, topic, partition):
            if span.is_hole or span.last < at:
                continue
            try:
                file = pq.ParquetFile(span.path)
            except FileNotFoundError as wrong:
                missed += 1
                if missed >= files.LISTINGS_MAX:
                    raise UserMistake(f"{span.path}: {wrong}") from wrong
                break  # a wider one has taken its place since we listed
            except (OSError, ValueError) as wrong:
                raise UserMistake(f"{span.path}: expected records of {topic}: {wrong}") from wrong
            with file:
                yield at, file
            at, missed = span.last + 1, 0
        else:
            return


def _partition_records(root: Path, topic: Topic, partition: int, first_offset: int) -> Iterator[ArchivedRecord]:
    columns = topic_columns(topic)
    for at, file in open_files(root, topic.name, partition, first_offset):
        try:
            for batch in file.iter_batches(BATCH_ROWS):
                names = batch.schema.names
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    archived = _record(dict(zip(names, row, strict=True)), columns, partition)
                    if archived.offset >= at:
                        yield archived
        except (OSError, KeyError, ValueError) as wrong:
            raise UserMistake(f"{topic.name}-{partition}, file from {at} on: not readable as such: {wrong}") from wrong


def _record(row: dict[str, Any], columns: TopicColumns, partition: int) -> ArchivedRecord:
    offset, key = row["_offset"], row["_key"]
    if row["event_type"] == UNDECODABLE:
        return ArchivedRecord(partition, offset, key, row["_raw"], None)
    record_class = columns.classes[row["event_type"]]
    payload = {field: row[column] for field, column in columns.payload[record_class]}
    cause = None
    if row["cause_topic"] is not None:
        cause = Cause(row["cause_topic"], row["cause_partition"], row["cause_offset"], row["cause_n"])
    envelope = {name: row[name] for name in ("schema_version", "ts_event", "ts_ingest", "source", "idempotency_key")}
    record = msgspec.convert(
        {"event_type": row["event_type"], **envelope, "cause": None, "payload": payload}, record_class
    )
    record.cause = cause
    return ArchivedRecord(partition, offset, key, encode_record(record), record)


def _without_repeats(records: Iterator[ArchivedRecord]) -> Iterator[ArchivedRecord]:
    seen: OrderedDict[str, None] = OrderedDict()
    for archived in records:
        if archived.record is not None:
            key = archived.record.idempotency_key
            if key in seen:
                continue
            seen[key] = None
            if len(seen) > REMEMBERED_KEYS:
                seen.popitem(last=False)
        yield archived
