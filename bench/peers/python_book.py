"""The book job's work for peers in Python: one record in, the stored value before and after, a quote or none.

Books are stored as msgpack arrays by msgspec, the quickest codec there is: a peer is measured, not its codec.
"""

from typing import Any

import msgspec

from domain.units import DOLLAR_E4
from schemas.records import BookReset, BookSnapshot, Cause, QuoteUpdate, QuoteUpdatePayload
from schemas.registry import BOOK_UPDATES, decoder

decode_record = decoder(BOOK_UPDATES).decode
encode_quote = msgspec.json.Encoder().encode


class StoredBook(msgspec.Struct, array_like=True, gc=False):
    """One market's book as it stands in the table; `top` is what was last published."""

    session_id: str
    sid: int = -1
    seq: int = -1
    revision: int = 0
    live: bool = False
    top: tuple[int, int, int, int] | None = None
    yes: dict[int, int] = {}
    no: dict[int, int] = {}


pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(StoredBook).decode


def fold(
    stored: bytes | None, value: bytes, topic: str, partition: int, offset: int
) -> tuple[bytes | None, bytes | None]:
    """(new stored value, quote to publish) for one record; None where there is nothing to store or to publish."""
    record = decode_record(value)
    payload = record.payload
    book = unpack(stored) if stored is not None else None
    if isinstance(record, BookReset):
        fresh = StoredBook(payload.session_id)
        if book is not None:
            fresh.revision, fresh.top = book.revision, book.top
        return pack(fresh), None
    if book is None or book.session_id != payload.session_id:
        return None, None
    if not _apply(book, record):
        return None, None
    top = _top(book)
    quote = None
    if top != book.top:
        book.top = top
        book.revision += 1
        quote = encode_quote(_quote(book, record, Cause(topic, partition, offset, 0)))
    return pack(book), quote


def _apply(book: StoredBook, record: Any) -> bool:
    payload = record.payload
    if book.sid == payload.sid and payload.seq <= book.seq:
        return False
    if isinstance(record, BookSnapshot):
        book.yes, book.no, book.live = dict(payload.yes), dict(payload.no), True
    else:
        if not book.live or book.sid != payload.sid:
            return False
        levels = book.yes if payload.side == "yes" else book.no
        size_e2 = levels.get(payload.price_e4, 0) + payload.delta_e2
        if size_e2 > 0:
            levels[payload.price_e4] = size_e2
        else:
            del levels[payload.price_e4]
    book.sid, book.seq = payload.sid, payload.seq
    return True


def _top(book: StoredBook) -> tuple[int, int, int, int]:
    yes, no = max(book.yes, default=0), max(book.no, default=0)
    return yes, book.yes.get(yes, 0), no, book.no.get(no, 0)


def _quote(book: StoredBook, record: Any, cause: Cause) -> QuoteUpdate:
    yes, yes_size, no, no_size = book.top or (0, 0, 0, 0)
    ticker = record.payload.market_ticker
    payload = QuoteUpdatePayload(
        market_ticker=ticker,
        session_id=book.session_id,
        sid=book.sid,
        seq=book.seq,
        revision=book.revision,
        status="live" if yes or no else "empty",
        yes_bb_px_e4=yes or None,
        yes_bb_sz_e2=yes_size if yes else None,
        yes_ba_px_e4=DOLLAR_E4 - no if no else None,
        yes_ba_sz_e2=no_size if no else None,
        no_bb_px_e4=no or None,
        no_bb_sz_e2=no_size if no else None,
        no_ba_px_e4=DOLLAR_E4 - yes if yes else None,
        no_ba_sz_e2=yes_size if yes else None,
    )
    return QuoteUpdate(
        ts_event=record.ts_event if record.ts_event is not None else record.ts_ingest,
        ts_ingest=record.ts_ingest,
        source="maintain_books",
        idempotency_key=f"quote_update:v1:{ticker}:{book.revision:012d}",
        cause=cause,
        payload=payload,
    )
