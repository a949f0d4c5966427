"""What the store holds of one topic partition, and how it moves on: the truth of rule 4 (`sink_offsets`)."""

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from schemas.records import Cause
from sinks.contract import DeadLetterNote, SourceRecord
from sinks.postgres.failures import CursorMoved

CauseHigh = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Cursor:
    """`next_offset` is None when the store holds nothing of this partition."""

    next_offset: int | None
    cause_high: CauseHigh
    incarnation: str | None

    def hole_before(self, offset: int) -> tuple[int, int] | None:
        """The offsets [from, to) that the log no longer has when its next record is at `offset`."""
        if self.next_offset is None or offset <= self.next_offset:
            return None
        return (self.next_offset, offset)


@dataclass(frozen=True, slots=True)
class Lane:
    """The name of one partition's row: (sink, topic, partition)."""

    sink: str
    topic: str
    partition: int

    @property
    def key(self) -> tuple[str, str, int]:
        """As the tables have it."""
        return (self.sink, self.topic, self.partition)


def cause_key(cause: Cause) -> str:
    """The partition a derived record was caused by, as one text."""
    return f"{cause.topic}:{cause.partition}"


async def read_cursor(connection: "AsyncConnection[Any]", lane: Lane) -> Cursor:
    """What is committed now."""
    found = await connection.execute(
        "select next_offset, cause_high, incarnation from sink_offsets "
        "where sink = %s and topic = %s and partition = %s",
        lane.key,
    )
    row = await found.fetchone()
    if row is None:
        return Cursor(None, {}, None)
    return Cursor(row[0], {key: (high[0], high[1]) for key, high in row[1].items()}, row[2])


async def move_cursor(connection: "AsyncConnection[Any]", lane: Lane, held: Cursor, new: Cursor) -> None:
    """Compare-and-swap, first in the transaction: a second writer waits here for the first one's end, then fails.

    Raises:
        CursorMoved: the row is not what `held` says.
    """
    if held.next_offset is None:
        done = await connection.execute(
            "insert into sink_offsets (sink, topic, partition, next_offset, cause_high, incarnation) "
            "values (%s, %s, %s, %s, %s, %s) on conflict (sink, topic, partition) do nothing",
            (*lane.key, new.next_offset, Jsonb(new.cause_high), new.incarnation),
        )
    else:
        done = await connection.execute(
            "update sink_offsets set next_offset = %s, cause_high = %s, incarnation = %s, updated_at = now() "
            "where sink = %s and topic = %s and partition = %s and next_offset = %s",
            (new.next_offset, Jsonb(new.cause_high), new.incarnation, *lane.key, held.next_offset),
        )
    if done.rowcount != 1:
        raise CursorMoved(f"{lane.topic}-{lane.partition}: expected next_offset {held.next_offset} in sink_offsets")


async def record_hole(connection: "AsyncConnection[Any]", lane: Lane, from_offset: int, to_offset: int) -> None:
    """Offsets the log no longer held when we came for them, as data."""
    await connection.execute(
        "insert into sink_holes (sink, topic, partition, from_offset, to_offset) values (%s, %s, %s, %s, %s) "
        "on conflict do nothing",
        (*lane.key, from_offset, to_offset),
    )


async def keep_notes(connection: "AsyncConnection[Any]", lane: Lane, notes: list[DeadLetterNote]) -> None:
    """Keep refused records until their dead letters are sent: the offset passes them by in this same transaction."""
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "insert into sink_dead_letters (sink, topic, partition, record_offset, record_timestamp_ms, record_key, "
            "record_value, reason, detail) values (%s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
            [
                (*lane.key, n.record.offset, n.record.timestamp_ms, n.record.key, n.record.value, n.reason, n.detail)
                for n in notes
            ],
        )


async def forget_notes(connection: "AsyncConnection[Any]", lane: Lane, offsets: set[int]) -> None:
    """Their dead letters are sent."""
    await connection.execute(
        "delete from sink_dead_letters where sink = %s and topic = %s and partition = %s and record_offset = any(%s)",
        (*lane.key, sorted(offsets)),
    )


async def read_notes(connection: "AsyncConnection[Any]", lane: Lane) -> list[DeadLetterNote]:
    """Refused records whose dead letters may not have been sent, by offset."""
    found = await connection.execute(
        "select record_offset, record_key, record_value, record_timestamp_ms, reason, detail from sink_dead_letters "
        "where sink = %s and topic = %s and partition = %s order by record_offset",
        lane.key,
    )
    return [DeadLetterNote(SourceRecord(o, k, v, t), reason, detail) async for o, k, v, t, reason, detail in found]
