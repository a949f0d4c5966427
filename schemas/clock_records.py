"""Time as records: a processor that acts by the clock writes each tick to the log before it acts on it.

`tick_epoch` opens the ticks of one owner of a partition (an incarnation); ticks of any other incarnation behind it in
the log are void, for every reader and for ever. A tick's `cut` says how far of each source it had read.
"""

from typing import Annotated

from msgspec import Meta, Struct

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


class SourceEnd(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """How far one source had been read: the next offset that had not."""

    topic: Name
    next_offset: Offset


class TickPayload(Payload):
    """`cut`: how far of each source the processor had read. `incomplete`: records before the cut were
    deleted before they were read."""

    processor: Name
    partition: Annotated[int, Meta(ge=0)]
    incarnation: Name
    asof_ms: Ms
    cut: list[SourceEnd]
    incomplete: bool


class Tick(Record, tag="tick"):
    """See the payload. `ts_event` is `asof_ms`, `ts_ingest` when it was written."""

    payload: TickPayload
