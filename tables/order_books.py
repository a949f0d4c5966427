"""Table order_books: market_ticker -> the whole book and what was last published of it."""

import msgspec

from domain.book import STALE, Book, Top
from schemas.registry import BOOK_UPDATES
from tables.checkpointed import CheckpointedTable

TABLE = "order_books"
NOTHING_PUBLISHED: Top = ("", 0, 0, 0, 0)


class BookState(Book):
    """A book with its publishing state. `epoch` is the offset of the record that created it: with `revision` it makes
    a quote's key unique even if the market is removed and comes back."""

    __slots__ = ("epoch", "market_id", "published", "removed_ms", "revision", "ticker", "ts_event_ms", "ts_ingest_ms")

    def __init__(self, ticker: str, epoch: int) -> None:
        super().__init__()
        self.ticker = ticker
        self.epoch = epoch
        self.market_id: str | None = None
        self.revision = 0
        self.published: Top = NOTHING_PUBLISHED
        #: The largest time seen, of the venue where it gives one; and of our ingest of the last applied record.
        self.ts_event_ms = 0
        self.ts_ingest_ms = 0
        #: When the market was removed from the feed (ts_ingest of that reset); null while it is fed.
        self.removed_ms: int | None = None


class _Value(msgspec.Struct, array_like=True, gc=False):
    """What is stored. Field order is the format: add at the end, with a default."""

    ticker: str
    epoch: int
    market_id: str | None
    status: str
    session_id: str | None
    sid: int | None
    seq: int
    yes: dict[int, int]
    no: dict[int, int]
    revision: int
    published: tuple[str, int, int, int, int]
    ts_event_ms: int
    ts_ingest_ms: int
    removed_ms: int | None


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Value).decode


def encode(state: BookState) -> bytes:
    """MessagePack; about 7 bytes a level. Levels in the order in which the input made them, which `decode` keeps: the
    same input gives the same bytes, however it is cut into checkpoints and restarts. Sorting them here took nine tenths
    of the time."""
    return _pack(
        _Value(
            state.ticker, state.epoch, state.market_id, state.status, state.session_id, state.sid, state.seq,
            state.yes, state.no,
            state.revision, state.published, state.ts_event_ms, state.ts_ingest_ms, state.removed_ms,
        )
    )  # fmt: skip


def decode(raw: bytes) -> BookState:
    """The inverse of `encode`; best prices are computed, not stored."""
    value = _unpack(raw)
    state = BookState(value.ticker, value.epoch)
    state.market_id, state.status, state.session_id = value.market_id, value.status, value.session_id
    state.sid, state.seq, state.yes, state.no = value.sid, value.seq, value.yes, value.no
    state.best_yes_e4, state.best_no_e4 = max(value.yes, default=0), max(value.no, default=0)
    state.revision, state.published = value.revision, value.published
    state.ts_event_ms, state.ts_ingest_ms, state.removed_ms = value.ts_event_ms, value.ts_ingest_ms, value.removed_ms
    return state


def is_removed(state: BookState) -> bool:
    """The market left the feed and its book waits for its deletion."""
    return state.removed_ms is not None and state.status == STALE


ORDER_BOOKS: CheckpointedTable[BookState] = CheckpointedTable(TABLE, encode, decode, first_sources=(BOOK_UPDATES.name,))
