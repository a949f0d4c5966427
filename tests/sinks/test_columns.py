"""Columns of a batch are those of its records one by one, whatever classes, refusals and sizes are mixed."""

import pyarrow as pa
import pytest
from book_topic import PARTITION, make_book_topic
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import encode_record
from schemas.records import BookDelta
from schemas.registry import BOOK_UPDATES, decoder
from sinks.columns import SLICE_RECORDS, take_records
from sinks.contract import SourceRecord


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 300))
def test_a_batch_gives_the_columns_of_its_records_one_by_one(seed: int, count: int) -> None:
    """Snapshots, deltas, resets and values that are no records, in the order of their offsets."""
    records = make_book_topic(seed, count)
    alone = [take_records(BOOK_UPDATES, PARTITION, [record]) for record in records]

    table, notes = take_records(BOOK_UPDATES, PARTITION, records)

    assert table.equals(pa.concat_tables([one for one, _ in alone]).combine_chunks())
    assert [(note.record.offset, note.reason, note.detail) for note in notes] == [
        (note.record.offset, note.reason, note.detail) for _, refused in alone for note in refused
    ]


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_offsets_go_on_across_the_slices_of_a_large_batch(more: int) -> None:
    """One record less than a slice, a slice, one more; and a hole in the offsets."""
    value = next(
        record.value for record in make_book_topic(1, 300) if b'"book_delta"' in (record.value or b"").split(b",")[0]
    )
    offsets = [offset + 7 * (offset > 100) for offset in range(SLICE_RECORDS + more)]

    table, notes = take_records(BOOK_UPDATES, PARTITION, [SourceRecord(at, b"k", value, 0) for at in offsets])

    assert table["_offset"].to_pylist() == offsets
    assert notes == []


def test_an_integer_beyond_64_bits_refuses_its_record_alone() -> None:
    """The neighbours keep their columns; the refused one keeps offset, key and raw value."""
    records = [record for record in make_book_topic(2, 300) if b'"book_delta"' in (record.value or b"")[:40]][:3]
    wrong: BookDelta = decoder(BOOK_UPDATES).decode(records[1].value or b"")  # type: ignore[assignment]
    wrong.payload.seq = 1 << 63
    records[1] = SourceRecord(records[1].offset, b"k", encode_record(wrong), 5)

    table, notes = take_records(BOOK_UPDATES, PARTITION, records)

    assert [note.record.offset for note in notes] == [records[1].offset]
    assert table["event_type"].to_pylist() == ["book_delta", "_undecodable", "book_delta"]
    assert table["_raw"].to_pylist() == [None, records[1].value, None]
