"""Dead letters, all of them: for a record that an agent or a store refused, for a frame, for an item of the account."""

import base64
from typing import Protocol

from schemas.records import Cause, DeadLetter, DeadLetterPayload

#: Enough to tell what was wrong; the raw bytes say the rest.
DETAIL_CHARACTERS_MAX = 2_000


class Refusal(Protocol):
    """Why: a reason code and the detail for a person."""

    @property
    def reason(self) -> str: ...
    @property
    def detail(self) -> str: ...


class RefusedRow(Protocol):
    """What is needed of the refused record; `timestamp` is the broker's append time in ms."""

    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def timestamp(self) -> int | None: ...


def dead_letter(
    source: str, topic: str, partition: int, row: RefusedRow, ticker: str | None, wrong: Refusal
) -> DeadLetter:
    """The refused record as it came. Its time is the broker's append time: never our clock, and always known."""
    cause = Cause(topic, partition, row.offset, 0)
    name, ts_ms = f"{topic}:{partition}:{row.offset}", max(row.timestamp or 0, 0)
    return refused_input(source, name, ts_ms, row.value or b"", ticker, wrong, cause=cause)


def refused_input(
    source: str,
    name: str,
    ts_ingest: int,
    raw: bytes,
    ticker: str | None,
    wrong: Refusal,
    *,
    cause: Cause | None = None,
    frame: tuple[str, int] | None = None,
) -> DeadLetter:
    """Refused input as it came. `name` tells it from all other: the key is made of it, so that the same input refused
    again has the same key. A record has its `cause`, a frame its (session_id, frame_no), an item of an answer neither.
    `ts_ingest` in ms."""
    session_id, frame_no = frame or (None, None)
    return DeadLetter(
        ts_event=None,
        ts_ingest=ts_ingest,
        source=source,
        idempotency_key=f"dead_letter:v1:{name}",
        cause=cause,
        payload=DeadLetterPayload(
            topic=cause.topic if cause else None,
            partition=cause.partition if cause else None,
            offset=cause.offset if cause else None,
            session_id=session_id,
            frame_no=frame_no,
            market_ticker=ticker,
            reason=wrong.reason,
            detail=wrong.detail[:DETAIL_CHARACTERS_MAX],
            raw_base64=base64.b64encode(raw).decode(),
        ),
    )
