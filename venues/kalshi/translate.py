"""The venue's frames to records of our topics. Pure: the session and the clock are arguments.

Keys: what the venue numbers is identified by (session, sid, seq), a trade by its id, so that the same trade seen by
two sessions is one key. `ts_event` is the venue's time, null where it gives none (snapshots).
"""

from schemas import records as r
from schemas.dead_letters import refused_input
from venues.kalshi.messages import DeltaFrame, Refused, SnapshotFrame, TradeFrame

SOURCE = "kalshi_ws"


def book_delta(frame: DeltaFrame, session_id: str, ts_ingest: int) -> r.BookDelta:
    """One delta of a level."""
    return r.BookDelta(
        ts_event=frame.ts_event_ms,
        ts_ingest=ts_ingest,
        source=SOURCE,
        idempotency_key=f"book_delta:v1:{session_id}:{frame.sid}:{frame.seq}",
        cause=None,
        payload=r.BookDeltaPayload(
            market_ticker=frame.market_ticker,
            market_id=frame.market_id,
            session_id=session_id,
            sid=frame.sid,
            seq=frame.seq,
            side=frame.side,  # type: ignore[arg-type]  # the parser lets only yes and no through
            price_e4=frame.price_e4,
            delta_e2=frame.delta_e2,
        ),
    )


def book_snapshot(frame: SnapshotFrame, session_id: str, ts_ingest: int) -> r.BookSnapshot:
    """A whole book. The key names the market too: answers to one `get_snapshot` may share a seq."""
    return r.BookSnapshot(
        ts_event=None,
        ts_ingest=ts_ingest,
        source=SOURCE,
        idempotency_key=f"book_snapshot:v1:{session_id}:{frame.sid}:{frame.seq}:{frame.market_ticker}",
        cause=None,
        payload=r.BookSnapshotPayload(
            market_ticker=frame.market_ticker,
            market_id=frame.market_id,
            session_id=session_id,
            sid=frame.sid,
            seq=frame.seq,
            yes=frame.yes,
            no=frame.no,
        ),
    )


def book_reset(
    ticker: str, session_id: str, n: int, sid: int | None, seq: int | None, reason: r.ResetReason, ts_ingest: int
) -> r.BookReset:
    """The `n`-th reset of this session: the book of that market is not to be trusted from here."""
    return r.BookReset(
        ts_event=None,
        ts_ingest=ts_ingest,
        source=SOURCE,
        idempotency_key=f"book_reset:v1:{session_id}:{ticker}:{n}",
        cause=None,
        payload=r.BookResetPayload(market_ticker=ticker, session_id=session_id, sid=sid, seq=seq, reason=reason),
    )


def trade(frame: TradeFrame, ts_ingest: int) -> r.Trade:
    """A public trade; a repeated one has the same key and the same payload."""
    return r.Trade(
        ts_event=frame.ts_event_ms,
        ts_ingest=ts_ingest,
        source=SOURCE,
        idempotency_key=f"trade:v1:{frame.trade_id}",
        cause=None,
        payload=r.TradePayload(
            market_ticker=frame.market_ticker,
            trade_id=frame.trade_id,
            yes_price_e4=frame.yes_price_e4,
            no_price_e4=frame.no_price_e4,
            count_e2=frame.count_e2,
            taker_side=frame.taker_side,  # type: ignore[arg-type]  # the parser lets only yes and no through
            is_block_trade=frame.is_block_trade,
        ),
    )


def dead_letter(refused: Refused, raw: bytes, session_id: str, frame_no: int, ts_ingest: int) -> r.DeadLetter:
    """A refused frame, as it came. Its key is (session, frame number): unique, and stable when sent again."""
    name, ticker = f"{session_id}:{frame_no}", refused.market_ticker
    return refused_input(SOURCE, name, ts_ingest, raw, ticker, refused, frame=(session_id, frame_no))


def feed_heartbeat(
    partition: int, session_id: str, n: int, connected: bool, last_frame_ms: int | None, markets: int, ts_ingest: int
) -> r.FeedHeartbeat:
    """The `n`-th sign of life of this session to one partition."""
    return r.FeedHeartbeat(
        ts_event=None,
        ts_ingest=ts_ingest,
        source=SOURCE,
        idempotency_key=f"feed_heartbeat:v1:{session_id}:{partition}:{n}",
        cause=None,
        payload=r.FeedHeartbeatPayload(
            partition=partition,
            session_id=session_id,
            connected=connected,
            last_frame_ms=last_frame_ms,
            markets=markets,
        ),
    )
