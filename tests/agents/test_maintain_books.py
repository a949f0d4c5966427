"""The book agent: what cannot be taken becomes a dead letter of its own, and costs its neighbours nothing."""

from types import SimpleNamespace

import msgspec
from kernel_judge import memory_task

from agents.maintain_books import BookFold
from schemas import records as r
from schemas.codec import encode_record
from schemas.registry import BOOK_UPDATES, DLQ, QUOTE_UPDATES

HEAD = {"ts_event": 5, "ts_ingest": 5, "source": "kalshi_ws", "cause": None}
PLACE = {"market_ticker": "KX-A", "session_id": "s", "sid": 1}


def delta(seq: int, ticker: str = "KX-A") -> bytes:
    """+1 contract at 40 cents."""
    place = PLACE | {"market_ticker": ticker}
    payload = r.BookDeltaPayload(**place, seq=seq, market_id="m", side="yes", price_e4=4_000, delta_e2=100)  # type: ignore[arg-type]
    return encode_record(r.BookDelta(idempotency_key=f"d{seq}", payload=payload, **HEAD))  # type: ignore[arg-type]


def test_records_without_a_key_and_without_sense_are_dead_letters_and_their_neighbours_are_folded() -> None:
    """A keyless delta too, of a market that has a book: the key decides the partition, so it belongs nowhere."""
    begin = r.BookResetPayload(**PLACE, seq=None, reason="session_start")  # type: ignore[arg-type]
    snapshot = r.BookSnapshotPayload(**PLACE, seq=1, market_id="m", yes=[(4_000, 100)], no=[])  # type: ignore[arg-type]
    values = [
        (b"KX-A", encode_record(r.BookReset(idempotency_key="r", payload=begin, **HEAD))),  # type: ignore[arg-type]
        (b"KX-A", encode_record(r.BookSnapshot(idempotency_key="s", payload=snapshot, **HEAD))),  # type: ignore[arg-type]
        (None, delta(2)),
        (b"KX-A", b"{"),
        (b"KX-A", delta(2)),
    ]
    rows = [SimpleNamespace(offset=n, key=key, value=value, timestamp=9) for n, (key, value) in enumerate(values)]
    task, fold = memory_task(), BookFold(removed_grace_ms=1)
    outputs = fold(task, BOOK_UPDATES.name, rows)

    letters = [msgspec.json.decode(value or b"", type=r.DeadLetter) for _, value in outputs[DLQ.name]]
    assert [(one.payload.offset, one.payload.reason) for one in letters] == [(2, "no_key"), (3, "undecodable_record")]
    assert fold.counts["dead_letters"] == 2
    assert task.table.residents[b"KX-A"].yes == {4_000: 200}
    assert list(task.table.residents) == [b"KX-A"]
    assert len(outputs[QUOTE_UPDATES.name]) == 3


def test_a_delta_of_a_market_that_never_began_makes_no_book() -> None:
    """It is counted; /bbo shows no ghost, and the book that begins later has the offset of its beginning."""
    task, fold = memory_task(), BookFold(removed_grace_ms=1)
    outputs = fold(task, BOOK_UPDATES.name, [SimpleNamespace(offset=3, key=b"KX-A", value=delta(2), timestamp=9)])
    assert (dict(task.table.items()), outputs[QUOTE_UPDATES.name], DLQ.name in outputs) == ({}, [], False)
    assert fold.counts["not_live"] == 1


def test_a_record_under_another_markets_key_is_a_dead_letter_and_touches_no_book() -> None:
    """Snapshot, reset and delta: each would be folded into a book of a name that is not its own."""
    begin = r.BookResetPayload(**PLACE, seq=None, reason="session_start")  # type: ignore[arg-type]
    snapshot = r.BookSnapshotPayload(**PLACE, seq=1, market_id="m", yes=[(4_000, 100)], no=[])  # type: ignore[arg-type]
    values = [
        (b"KX-A", encode_record(r.BookReset(idempotency_key="r", payload=begin, **HEAD))),  # type: ignore[arg-type]
        (b"KX-A", encode_record(r.BookSnapshot(idempotency_key="s", payload=snapshot, **HEAD))),  # type: ignore[arg-type]
        (b"KX-A", delta(2, "KX-B")),
        (b"KX-B", delta(3)),
        (b"KX-B", encode_record(r.BookSnapshot(idempotency_key="s", payload=snapshot, **HEAD))),  # type: ignore[arg-type]
        (b"KX-B", encode_record(r.BookReset(idempotency_key="r", payload=begin, **HEAD))),  # type: ignore[arg-type]
        (b"KX-A", delta(4)),
    ]
    rows = [SimpleNamespace(offset=n, key=key, value=value, timestamp=9) for n, (key, value) in enumerate(values)]
    task, fold = memory_task(), BookFold(removed_grace_ms=1)
    outputs = fold(task, BOOK_UPDATES.name, rows)

    letters = [msgspec.json.decode(value or b"", type=r.DeadLetter) for _, value in outputs[DLQ.name]]
    assert [(one.payload.offset, one.payload.reason) for one in letters] == [(n, "foreign_key") for n in (2, 3, 4, 5)]
    assert {key: state.yes for key, state in task.table.items()} == {b"KX-A": {4_000: 200}}
