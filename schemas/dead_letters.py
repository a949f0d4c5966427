"""Dead letters for records that came from a topic and were refused: by an agent, or by a store."""

import base64
from typing import Protocol

from domain.errors import BadInput
from schemas.records import Cause, DeadLetter, DeadLetterPayload

#: Enough to tell what was wrong; the raw bytes say the rest.
DETAIL_CHARACTERS_MAX = 2_000


class RefusedRow(Protocol):
    """What is needed of the refused record; `timestamp` is the broker's append time in ms."""

    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def timestamp(self) -> int | None: ...


def dead_letter(
    source: str, topic: str, partition: int, row: RefusedRow, ticker: str | None, wrong: BadInput
) -> DeadLetter:
    """The refused record as it came. Its time is the broker's append time: never our clock, and always known."""
    return DeadLetter(
        ts_event=None,
        ts_ingest=max(row.timestamp or 0, 0),
        source=source,
        idempotency_key=f"dead_letter:v1:{topic}:{partition}:{row.offset}",
        cause=Cause(topic, partition, row.offset, 0),
        payload=DeadLetterPayload(
            topic=topic,
            partition=partition,
            offset=row.offset,
            session_id=None,
            frame_no=None,
            market_ticker=ticker,
            reason=wrong.reason,
            detail=wrong.detail[:DETAIL_CHARACTERS_MAX],
            raw_base64=base64.b64encode(row.value or b"").decode(),
        ),
    )
