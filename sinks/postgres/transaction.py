"""One transaction: the offsets move, refusals are kept, rows reach events and projections; all or nothing.

The order is fixed: the compare-and-swap comes first, so a zombie waits and fails before it costs anything.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection, AsyncCursor, sql

from sinks.postgres import binary
from sinks.postgres.cursor import Cursor, Lane, forget_notes, keep_notes, move_cursor, record_hole
from sinks.postgres.destinations import Destination, event_row, state_row
from sinks.postgres.entries import Entry, Latest, Plan, keep_latest, rows_of
from sinks.postgres.partitions import Partitions
from sinks.postgres.statements import EventStatements, StateStatements, event_statements, state_statements
from sinks.stats import SinkStats

# Records decoded, or rows made, between two turns of the event loop: 0.2 to 0.4 ms. The socket holds some 200 KB, which
# keep the server busy for 3 ms: served more often than that, it never waits.
PIECE_RECORDS = 100

#: Called with the name of each step before it is taken; tests kill the process there.
OnStep = Callable[[str], None]


def no_step(_step: str) -> None:
    """Production: nothing happens between two steps."""


@dataclass(frozen=True, slots=True)
class Move:
    """From where to where one transaction takes a lane. `hole`: offsets [from, to) that the log no longer had;
    `sent`: offsets of earlier refusals whose dead letters are sent."""

    lane: Lane
    held: Cursor
    new: Cursor
    hole: tuple[int, int] | None
    sent: frozenset[int]


@dataclass(frozen=True, slots=True)
class Landed:
    """What one destination took: rows (repeats are not among them), and the bytes sent for them."""

    destination: Destination
    rows: int
    sent_bytes: int


class TransactionWriter:
    """Writes plans. Stateless but for what each connection has been prepared for."""

    def __init__(self, partitions: Partitions, stats: SinkStats, on_step: OnStep = no_step) -> None:
        self._partitions = partitions
        self._stats = stats
        self._on_step = on_step
        self._staged: WeakKeyDictionary[AsyncConnection[Any], set[str]] = WeakKeyDictionary()

    async def write(self, connection: "AsyncConnection[Any]", move: Move, plan: Plan, is_staged: bool) -> None:
        """Returns after COMMIT. `is_staged`: pass all rows through the stage, which passes stored keys by.

        Raises CursorMoved, RowRefused where no row can be made, and whatever psycopg raises: a unique violation when
        not staged and a key is stored.
        """
        self._on_step("partitions")
        await self._partitions.ensure(connection, plan.days())
        for destination in plan.rows:
            await self._prepare(connection, destination, is_staged)
        started = time.perf_counter()
        self._on_step("begin")
        async with connection.transaction(), connection.cursor() as cursor:
            await self._move(connection, move, plan)
            partition = move.lane.partition
            rows = plan.rows.items()
            landed = [await self._rows(cursor, partition, d, entries, is_staged) for d, entries in rows]
            self._on_step("commit")
        self._stats.flushed(time.perf_counter() - started)
        self._on_step("committed")
        self._count(move, plan, landed)

    def _count(self, move: Move, plan: Plan, landed: list[Landed]) -> None:
        self._stats.happened("repeats", plan.repeats)
        if move.hole is not None:
            self._stats.happened("hole_offsets", move.hole[1] - move.hole[0])
        for note in plan.notes:
            self._stats.happened(f"refused_{note.reason}")
        for part in landed:
            destination = part.destination
            table = destination.events_table or (destination.projection.table if destination.projection else "")
            self._stats.landed(table, part.rows, part.sent_bytes)

    async def _move(self, connection: "AsyncConnection[Any]", move: Move, plan: Plan) -> None:
        self._on_step("move_cursor")
        await move_cursor(connection, move.lane, move.held, move.new)
        if move.hole is not None:
            await record_hole(connection, move.lane, *move.hole)
        if move.sent:
            await forget_notes(connection, move.lane, set(move.sent))
        if plan.notes:
            self._on_step("keep_notes")
            await keep_notes(connection, move.lane, plan.notes)

    async def _rows(
        self,
        cursor: "AsyncCursor[Any]",
        partition: int,
        destination: Destination,
        entries: list[Entry],
        is_staged: bool,
    ) -> Landed:
        latest: Latest = {}
        landed, sent_bytes = len(entries), 0
        if destination.events is None:
            keep_latest(latest, destination, entries)
        else:
            rows = _event_rows(destination, partition, entries, latest)
            texts = event_statements(destination, destination.events)
            if is_staged:
                self._on_step("copy_stage")
                sent_bytes += await self._copy(cursor, texts.copy_stage, rows)
                self._on_step("insert_events")
                landed = (await cursor.execute(texts.insert)).rowcount
            else:
                self._on_step("copy_events")
                sent_bytes += await self._copy(cursor, texts.copy, rows)
        if destination.projection is not None:
            states = state_statements(destination, destination.projection)
            self._on_step("copy_latest")
            newest = [latest[key] for key in sorted(latest)]
            sent_bytes += await self._copy(
                cursor, states.copy_stage, [rows_of(state_row, destination, partition, newest)]
            )
            self._on_step("upsert_projection")
            await cursor.execute(states.upsert)
        return Landed(destination, landed, sent_bytes)

    async def _copy(self, cursor: "AsyncCursor[Any]", text: sql.Composed, pieces: Iterable[bytes]) -> int:
        """Returns the bytes of the rows. What `pieces` raises ends the COPY, and the transaction with it."""
        sent_bytes = 0
        async with cursor.copy(text) as copy:
            await copy.write(binary.FILE_HEADER)
            for rows in pieces:
                self._on_step("copy_rows")
                await copy.write(rows)
                sent_bytes += len(rows)
            await copy.write(binary.FILE_TRAILER)
        return sent_bytes

    async def _prepare(self, connection: "AsyncConnection[Any]", destination: Destination, is_staged: bool) -> None:
        """Make the temporary tables that the transaction passes rows through, once per connection."""
        ready = self._staged.setdefault(connection, set())
        needed: list[StateStatements | EventStatements] = []
        if destination.projection is not None:
            needed.append(state_statements(destination, destination.projection))
        if is_staged and destination.events is not None:
            needed.append(event_statements(destination, destination.events))
        for texts in needed:
            if texts.stage not in ready:
                await connection.execute(texts.create_stage)
                ready.add(texts.stage)


def _event_rows(destination: Destination, partition: int, entries: list[Entry], latest: Latest) -> Iterator[bytes]:
    """The rows in pieces, each made when it is asked for, while the server works on those before; and, on the way,
    `latest`."""
    for first in range(0, len(entries), PIECE_RECORDS):
        piece = entries[first : first + PIECE_RECORDS]
        keep_latest(latest, destination, piece)
        yield rows_of(event_row, destination, partition, piece)
