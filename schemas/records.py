"""Every record that may stand on a topic: envelope and payload, strict in both directions.

A record class *is* its envelope, tagged by `event_type`; its `payload` is a class of its own. Unknown fields are
refused, bounds are part of the types, and absent values are explicit nulls, so a record that decodes is a record that
may be trusted. Integers only: units stand in the names (`domain.units`).

`gc=False` everywhere: records hold no cycles, and collections set off by their allocation cost a third of a run.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Ms = Annotated[int, Meta(ge=0, le=1 << 53, description="milliseconds since 1970, UTC")]
PriceE4 = Annotated[int, Meta(ge=1, le=9_999, description="1/10,000 dollar")]
SizeE2 = Annotated[int, Meta(ge=0, le=1 << 53, description="1/100 contract")]
DeltaE2 = Annotated[int, Meta(ge=-(1 << 53), le=1 << 53, description="signed change, 1/100 contract")]
Offset = Annotated[int, Meta(ge=0)]
Ticker = Annotated[str, Meta(min_length=1, max_length=128)]
Key = Annotated[str, Meta(min_length=1, max_length=300)]
Side = Literal["yes", "no"]
Version = Literal[1]


class Cause(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Where a derived record comes from: the `n`-th (from 0) record derived from topic[partition]@offset."""

    topic: str
    partition: Annotated[int, Meta(ge=0)]
    offset: Offset
    n: Annotated[int, Meta(ge=0)]


class Record(Struct, tag_field="event_type", gc=False, forbid_unknown_fields=True, kw_only=True):
    """The envelope. `ts_event` is the venue's time, null where the venue gives none; `ts_ingest` is when we first
    saw it. Derived records take both from their cause, never from our clock."""

    schema_version: Version = 1
    ts_event: Ms | None
    ts_ingest: Ms
    source: Annotated[str, Meta(min_length=1, max_length=64)]
    idempotency_key: Key
    cause: Cause | None


class Payload(Struct, gc=False, forbid_unknown_fields=True, kw_only=True):
    """Base of all payloads."""


# --- market.book_updates (producer market) ---


class BookSnapshotPayload(Payload):
    """The whole book, as the venue sent it; levels in the order received. Replaces the book wholesale."""

    market_ticker: Ticker
    market_id: str | None
    session_id: str
    sid: int
    seq: int
    yes: list[tuple[PriceE4, SizeE2]]
    no: list[tuple[PriceE4, SizeE2]]


class BookDeltaPayload(Payload):
    """A signed change of one level."""

    market_ticker: Ticker
    market_id: str | None
    session_id: str
    sid: int
    seq: int
    side: Side
    price_e4: PriceE4
    delta_e2: DeltaE2


ResetReason = Literal[
    "session_start", "gap", "disconnect", "channel_error", "buffer_overflow", "dropped", "stopped", "removed"
]


class BookResetPayload(Payload):
    """The book of this market is not to be trusted until its next snapshot (`stopped`, `removed`: for good).

    `sid` and `seq` are the last ones seen when the trust ended, null at the start of a session.
    """

    market_ticker: Ticker
    session_id: str
    sid: int | None
    seq: int | None
    reason: ResetReason


class BookSnapshot(Record, tag="book_snapshot"):
    payload: BookSnapshotPayload


class BookDelta(Record, tag="book_delta"):
    payload: BookDeltaPayload


class BookReset(Record, tag="book_reset"):
    payload: BookResetPayload


# --- market.feed_status, market.snapshot_requests, market.trades ---


class FeedHeartbeatPayload(Payload):
    """One per partition and second while the producer lives; `last_frame_ms` is our time of the last frame."""

    partition: int
    session_id: str
    connected: bool
    last_frame_ms: Ms | None
    markets: int


class FeedHeartbeat(Record, tag="feed_heartbeat"):
    payload: FeedHeartbeatPayload


class SnapshotRequestPayload(Payload):
    """The book agent asks for a fresh snapshot: the named change cannot be true of the book it holds."""

    market_ticker: Ticker
    session_id: str
    sid: int
    seq: int
    reason: str


class SnapshotRequest(Record, tag="snapshot_request"):
    payload: SnapshotRequestPayload


class TradePayload(Payload):
    """One public trade. The taker bought `taker_side`; prices are the two legs and sum to one dollar."""

    market_ticker: Ticker
    trade_id: str
    yes_price_e4: PriceE4
    no_price_e4: PriceE4
    count_e2: Annotated[int, Meta(ge=1, le=1 << 53)]
    taker_side: Side
    is_block_trade: bool | None


class Trade(Record, tag="trade"):
    payload: TradePayload


# --- market.quote_updates (agent maintain_books) ---

BookStatus = Literal["live", "stale", "empty"]


class QuoteUpdatePayload(Payload):
    """Best price and size on each side after the change that caused it; null where there is none.

    Asks are derived: yes_ba = 10000 - best NO bid, with that NO level's size; no_ba likewise.
    `revision` counts 1, 2, 3, .. per market for the life of the data.
    """

    market_ticker: Ticker
    session_id: str
    sid: int | None
    seq: int | None
    revision: Annotated[int, Meta(ge=1)]
    status: BookStatus
    yes_bb_px_e4: PriceE4 | None
    yes_bb_sz_e2: SizeE2 | None
    yes_ba_px_e4: PriceE4 | None
    yes_ba_sz_e2: SizeE2 | None
    no_bb_px_e4: PriceE4 | None
    no_bb_sz_e2: SizeE2 | None
    no_ba_px_e4: PriceE4 | None
    no_ba_sz_e2: SizeE2 | None


class QuoteUpdate(Record, tag="quote_update"):
    payload: QuoteUpdatePayload


# --- dlq ---


class DeadLetterPayload(Payload):
    """Input that was refused, as it came. A frame has session_id and frame_no, a record topic, partition, offset."""

    topic: str | None
    partition: int | None
    offset: Offset | None
    session_id: str | None
    frame_no: int | None
    market_ticker: str | None
    reason: str
    detail: Annotated[str, Meta(max_length=2_000)]
    raw_base64: str


class DeadLetter(Record, tag="dead_letter"):
    payload: DeadLetterPayload


BookUpdate = BookSnapshot | BookDelta | BookReset
