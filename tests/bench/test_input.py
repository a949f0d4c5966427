"""The bench's input and its Python peers agree with each other and with the project's own book."""

import pytest

msgspec = pytest.importorskip("msgspec")

from bench.input import Feed, final_checksum  # noqa: E402
from bench.peers.python_book import fold  # noqa: E402
from domain.book import APPLIED, Book  # noqa: E402
from schemas.records import BookDelta, BookReset, BookSnapshot  # noqa: E402
from schemas.registry import BOOK_UPDATES, QUOTE_UPDATES, decoder  # noqa: E402

RECORDS, MARKETS = 5_000, 7


def test_the_feed_is_consistent_by_our_own_book_which_refuses_negative_levels_and_crossed_books() -> None:
    """The project's book applies every record without a violation and ends at the expected best prices."""
    feed, books, decode = Feed(RECORDS, MARKETS), {}, decoder(BOOK_UPDATES).decode
    for ticker, raw in feed:
        record, book = decode(raw), books.setdefault(ticker, Book())
        p = record.payload
        match record:
            case BookReset():
                book.start_session(p.session_id)
            case BookSnapshot():
                assert book.apply_snapshot(p.session_id, p.sid, p.seq, p.yes, p.no) is APPLIED
            case BookDelta():
                book.apply_delta(p.session_id, p.sid, p.seq, p.side, p.price_e4, p.delta_e2)

    assert final_checksum({t: b.top()[1:] for t, b in books.items()}) == feed.expected().final_sha


def test_the_feed_is_the_same_each_time() -> None:
    """Two feeds of the same size are equal byte by byte."""
    assert list(Feed(RECORDS, MARKETS)) == list(Feed(RECORDS, MARKETS))


def test_the_python_peers_fold_publishes_as_many_quotes_as_the_feed_implies() -> None:
    """Duplicates cause nothing, and every change of a best price or size causes one valid quote."""
    feed, stored, quotes = Feed(RECORDS, MARKETS), {}, []
    for offset, (ticker, raw) in enumerate(feed):
        state, quote = fold(stored.get(ticker), raw, BOOK_UPDATES.name, 0, offset)
        stored[ticker] = state or stored.get(ticker)
        quotes += [] if quote is None else [decoder(QUOTE_UPDATES).decode(quote)]

    assert len(quotes) == feed.expected().quotes
    tops = {}
    for quote in quotes:
        p = quote.payload
        tops[p.market_ticker] = (p.yes_bb_px_e4, p.yes_bb_sz_e2, p.no_bb_px_e4, p.no_bb_sz_e2)
    assert final_checksum(tops) == feed.expected().final_sha
