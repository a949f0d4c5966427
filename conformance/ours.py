"""Our own feed on the simulator, its records folded into books: what the SDK's books are compared with."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from domain.book import Book
from domain.errors import BadInput
from producers.feed import Feed
from producers.metrics import FeedCounts
from schemas.records import BookDelta, BookReset, BookSnapshot
from schemas.registry import BOOK_UPDATES, decoder
from venues.kalshi.auth import RequestSigner

GROUP_SIZE = 50  # markets of a subscription, as the producer's default
SILENCE_S = 30.0
_decode = decoder(BOOK_UPDATES).decode


class FoldingPublisher:
    """Takes records like the real one and folds those of books at once."""

    def __init__(self) -> None:
        self.books: dict[str, Book] = {}
        self.is_full = False
        self.on_room: Callable[[], None] = lambda: None
        self.refused = 0

    def add(self, topic: str, key: str, value: bytes, ts_ms: int) -> None:
        """One record, in the order of the log."""
        if topic != BOOK_UPDATES.name:
            return
        record = _decode(value)
        book = self.books.setdefault(key, Book())
        try:
            _fold(book, record)
        except BadInput:
            self.refused += 1

    def levels(self, ticker: str) -> dict[str, list[list[int]]] | None:
        """Side -> ascending levels; None where there is no live book."""
        book = self.books.get(ticker)
        if book is None or book.status not in ("live", "empty"):
            return None
        return {side: [list(level) for level in sorted(getattr(book, side).items())] for side in ("yes", "no")}


def _fold(book: Book, record: BookDelta | BookSnapshot | BookReset) -> None:
    payload: Any = record.payload
    if isinstance(record, BookDelta):
        book.apply_delta(payload.session_id, payload.sid, payload.seq, payload.side, payload.price_e4, payload.delta_e2)
    elif isinstance(record, BookSnapshot):
        book.apply_snapshot(payload.session_id, payload.sid, payload.seq, payload.yes, payload.no)
    elif payload.reason == "session_start":
        book.start_session(payload.session_id)
    else:
        book.reset(payload.session_id)


@asynccontextmanager
async def our_feed(
    url: str, signer: RequestSigner, tickers: list[str]
) -> AsyncIterator[tuple[FoldingPublisher, FeedCounts]]:
    """The market producer's feed, without Kafka, until the block ends."""
    publisher, counts = FoldingPublisher(), FeedCounts()
    feed = Feed(url, signer, "conformance", publisher, counts, None, group_size=GROUP_SIZE, silence_timeout_s=SILENCE_S)  # type: ignore[arg-type]  # a publisher of the same shape
    feed.set_markets(tickers)
    task = asyncio.create_task(feed.run())
    try:
        yield publisher, counts
    finally:
        feed.stop()
        await task
