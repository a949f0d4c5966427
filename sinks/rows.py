"""Raw records to typed ones, for every sink: strict; record by record once something is wrong."""

from collections.abc import Sequence
from typing import Any

import msgspec

from schemas.records import Record
from schemas.registry import Topic, decoder
from sinks.contract import DeadLetterNote, SourceRecord

DETAIL_MAX_CHARS = 2_000  # the bound of a dead letter's `detail`


def decode_records(topic: Topic, records: Sequence[SourceRecord]) -> tuple[list[Record | None], list[DeadLetterNote]]:
    """The typed records in order, None where one is refused, and a note for each refused one."""
    decode = decoder(topic).decode
    try:
        return [decode(record.value) for record in records], []  # type: ignore[arg-type]
    except (msgspec.DecodeError, TypeError, UnicodeError):
        return _decode_one_by_one(decode, records)


def _decode_one_by_one(
    decode: Any, records: Sequence[SourceRecord]
) -> tuple[list[Record | None], list[DeadLetterNote]]:
    typed: list[Record | None] = []
    notes: list[DeadLetterNote] = []
    for record in records:
        try:
            if record.value is None:
                raise msgspec.DecodeError("expected a record, was an empty value (tombstone)")
            typed.append(decode(record.value))
        except (msgspec.DecodeError, UnicodeError) as wrong:
            typed.append(None)
            notes.append(refusal(record, wrong))
    return typed, notes


def refusal(record: SourceRecord, wrong: Exception) -> DeadLetterNote:
    """The note for a record that does not say what its topic's records must say."""
    reason = "invalid_record" if isinstance(wrong, msgspec.ValidationError) else "undecodable_record"
    return DeadLetterNote(record, reason, str(wrong)[:DETAIL_MAX_CHARS])
