"""Bulk decoding: a poison record inside a run costs only itself."""

from hypothesis import given
from hypothesis import strategies as st
from kernel_input import BookInput

from domain.errors import MalformedFrame
from schemas.codec import decode_many
from schemas.registry import BOOK_UPDATES, decoder

DECODER = decoder(BOOK_UPDATES)
GOOD = [value for _, value in BookInput(3, seed=5).take(12)]
POISON = [
    b"", b"\n", b"\n\n", b" ", b"{", b"null", b"[]", b"\xff\xfe", b'{"event_type":"trade"}', None,
    GOOD[0] + b"\n", b"\n" + GOOD[0], GOOD[0] + b"\n" + GOOD[1], GOOD[0] + GOOD[1], GOOD[0][:-1], GOOD[0] + b"x",
    GOOD[0].replace(b",", b",\n"), GOOD[0].replace(b'"source"', b'"sauce"'),
]  # fmt: skip


def one_by_one(value: bytes | None) -> object:
    """The record, or the reason of its refusal."""
    found = decode_many(DECODER, [value, None])[0]
    return found.reason if isinstance(found, MalformedFrame) else found


@given(st.lists(st.sampled_from(GOOD + POISON), max_size=15))
def test_run_decodes_as_its_records_would_alone(values: list[bytes | None]) -> None:
    """Whatever stands beside it, a record is what it is: poison is refused, good ones are read, each in its place."""
    found = decode_many(DECODER, values)
    assert len(found) == len(values)
    reasons = [item.reason if isinstance(item, MalformedFrame) else item for item in found]
    assert reasons == [one_by_one(value) for value in values]


def test_two_records_in_one_value_beside_an_empty_value_are_both_refused() -> None:
    """The count of lines fits by accident: neither may pass for the other."""
    found = decode_many(DECODER, [GOOD[0] + b"\n" + GOOD[1], b""])
    assert [type(item) for item in found] == [MalformedFrame, MalformedFrame]
