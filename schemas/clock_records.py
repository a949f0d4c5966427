"""Time as records: a processor that acts by the clock writes each tick to the log before it acts on it.

`tick_epoch` opens the ticks of one owner of a partition (an incarnation); ticks of any other incarnation behind it in
the log are void, for every reader and for ever. A tick's `cut` says how far of each source it had read.
"""

from typing import Annotated

from msgspec import Meta

from schemas.records import Ms, Offset, Payload, Record

Name = Annotated[str, Meta(min_length=1, max_length=64)]


class TickEpochPayload(Payload):
    """From here on the ticks of this processor and partition are those of `incarnation`."""

    processor: Name
    partition: Annotated[int, Meta(ge=0)]
    incarnation: Name


class TickEpoch(Record, tag="tick_epoch"):
    """See the payload."""

    payload: TickEpochPayload


class TickPayload(Payload):
    """`cut`: topic -> the next offset that the processor had not read. `incomplete`: records before the cut were
    deleted before they were read."""

    processor: Name
    partition: Annotated[int, Meta(ge=0)]
    incarnation: Name
    asof_ms: Ms
    cut: dict[str, Offset]
    incomplete: bool


class Tick(Record, tag="tick"):
    """See the payload. `ts_event` is `asof_ms`, `ts_ingest` when it was written."""

    payload: TickPayload
