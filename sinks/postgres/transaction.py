"""One transaction: the offsets move, refusals are kept, rows reach events and projections; all or nothing.

The order is fixed: the compare-and-swap comes first, so a zombie waits and fails before it costs anything.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection, AsyncCursor, sql

from sinks.postgres import binary
from sinks.postgres.cursor import Cursor, Lane, forget_notes, keep_notes, move_cursor, record_hole
from sinks.postgres.destinations import Destination
from sinks.postgres.entries import Entry, Plan, latest_per_key
from sinks.postgres.partitions import Partitions
from sinks.postgres.statements import statements_of
from sinks.stats import SinkStats

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

        Raises CursorMoved, and whatever psycopg raises: a unique violation when not staged and a key is stored.
        """
        self._on_step("partitions")
        await self._partitions.ensure(connection, plan.days())
        for destination in plan.rows:
            await self._prepare_stage(connection, destination)
        started = time.perf_counter()
        self._on_step("begin")
        async with connection.transaction():
            await self._move(connection, move, plan)
            landed = [await self._rows(connection, d, entries, is_staged) for d, entries in plan.rows.items()]
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
        self, connection: "AsyncConnection[Any]", destination: Destination, entries: list[Entry], is_staged: bool
    ) -> Landed:
        texts = statements_of(destination)
        landed, sent_bytes = len(entries), 0
        async with connection.cursor() as cursor:
            if texts.copy_events is not None and not is_staged:
                self._on_step("copy_events")
                sent_bytes += await _copy(cursor, texts.copy_events, entries)
            if texts.insert_events is not None and is_staged:
                self._on_step("copy_stage")
                sent_bytes += await _copy(cursor, texts.copy_stage, entries)
                self._on_step("insert_events")
                landed = (await cursor.execute(texts.insert_events)).rowcount
            elif texts.upsert_projection is not None:
                self._on_step("copy_latest")
                sent_bytes += await _copy(cursor, texts.copy_stage, latest_per_key(entries))
            if texts.upsert_projection is not None:
                self._on_step("upsert_projection")
                await cursor.execute(texts.upsert_projection)
        return Landed(destination, landed, sent_bytes)

    async def _prepare_stage(self, connection: "AsyncConnection[Any]", destination: Destination) -> None:
        ready = self._staged.setdefault(connection, set())
        if destination.stage not in ready:
            await connection.execute(statements_of(destination).create_stage)
            ready.add(destination.stage)


async def _copy(cursor: "AsyncCursor[Any]", text: sql.Composed, entries: list[Entry]) -> int:
    data = b"".join([binary.FILE_HEADER, *[entry.row for entry in entries], binary.FILE_TRAILER])
    async with cursor.copy(text) as copy:
        await copy.write(data)
    return len(data)
