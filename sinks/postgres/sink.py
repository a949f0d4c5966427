"""The Postgres sink behind `sinks.contract.Sink`: every record once, whatever dies.

Reads nothing but `sink_offsets` and its outbox; writes the event tables and projections of `rows`. Truth is the
store: whenever an outcome is unknown, the next step is to read `sink_offsets` back.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import SecretStr

from domain.errors import Fatal, UserMistake
from schemas import registry
from sinks.contract import DeadLetterNote, SinkUnavailable, SourceBatch, SourceRecord
from sinks.postgres.cursor import Cursor, Lane, read_cursor, read_notes
from sinks.postgres.destinations import Destination
from sinks.postgres.entries import Entry, Reader, plan
from sinks.postgres.failures import CursorMoved, KeyTaken, OutcomeUnknown, PartitionMissing, RowRefused, one_line
from sinks.postgres.limits import RiskLimit, limits_from_settings, write_limits
from sinks.postgres.partitions import Partitions, day_of
from sinks.postgres.pool import Connections, PoolConfig, checked_dsn
from sinks.postgres.rows import DESTINATIONS
from sinks.postgres.schema import check_schema
from sinks.postgres.transaction import PIECE_RECORDS, Move, OnStep, TransactionWriter, no_step
from sinks.stats import SinkStats

EVENTS_PER_TRANSACTION_MAX = 5_000  # the seeds' ceiling: a transaction stays short enough to repeat
REPEATS_MAX = 6  # of one transaction; a writer that keeps winning is a second worker, and a person must look
MAINTENANCE_INTERVAL_S = 3_600

log = logging.getLogger(__name__)


class PostgresSettings(Protocol):
    """The settings this sink reads (`app.settings.Settings` has them)."""

    @property
    def pg_dsn(self) -> SecretStr | None: ...
    @property
    def pg_pool_min(self) -> int: ...
    @property
    def pg_pool_max(self) -> int: ...
    @property
    def pg_statement_timeout_ms(self) -> int: ...
    @property
    def pg_event_retention_days(self) -> int: ...


class _Partition:
    """What this process knows of one topic partition. `held` is None when only the store knows."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.held: Cursor | None = None
        self.durable: int | None = None
        self.notes: list[DeadLetterNote] = []
        self.sent: set[int] = set()


class PostgresSink:
    """See `sinks.contract.Sink` for the calls."""

    name = "postgres"

    def __init__(
        self,
        config: PoolConfig,
        *,
        retention_days: int,
        destinations: Sequence[Destination] = DESTINATIONS,
        incarnations: Mapping[str, str] | None = None,
        risk_limits: Sequence[RiskLimit] = (),
        on_step: OnStep = no_step,
    ) -> None:
        """`incarnations`: identity per topic as `topics apply` knows it; a stored other one is refused at assign."""
        self._retention_days = retention_days
        self._destinations = tuple(destinations)
        self._incarnations = dict(incarnations or {})
        self._risk_limits = tuple(risk_limits)
        self._on_step = on_step
        self._connections = Connections(config)
        self._partition_tables = Partitions()
        self.stats = SinkStats()
        self._writer = TransactionWriter(self._partition_tables, self.stats, on_step)
        self._partitions: dict[tuple[str, int], _Partition] = {}
        self._maintenance: asyncio.Task[None] | None = None
        topics = tuple(dict.fromkeys(d.topic for d in self._destinations))
        self.topics = tuple(topic.name for topic in topics)
        self._readers = {
            topic.name: Reader(registry.decoder(topic).decode, [d for d in self._destinations if d.topic is topic])
            for topic in topics
        }

    @classmethod
    def from_settings(cls, settings: PostgresSettings) -> "PostgresSink":
        """Raises UserMistake when PG_DSN is not set or malformed."""
        if settings.pg_dsn is None:
            raise UserMistake("expected PG_DSN (postgresql://user@host/database), was not set")
        config = PoolConfig(
            checked_dsn(settings.pg_dsn.get_secret_value()),
            settings.pg_pool_min,
            settings.pg_pool_max,
            settings.pg_statement_timeout_ms,
        )
        limits = limits_from_settings(settings)
        return cls(config, retention_days=settings.pg_event_retention_days, risk_limits=limits)

    def expect_incarnations(self, incarnations: Mapping[str, str]) -> None:
        """Topic identities of the log in use. Call it before `assign`."""
        self._incarnations = dict(incarnations)

    async def start(self) -> None:
        """Connect, check the schema, write the risk limits, make coming partitions, start the hourly maintenance.

        Repeatable after SinkUnavailable.
        """
        await self._connections.open()
        async with self._connections.take() as connection:
            await check_schema(connection, self._destinations)
            await write_limits(connection, self._risk_limits)
        await self._maintain_once()
        self._maintenance = asyncio.create_task(self._maintain_hourly(), name="postgres-sink-maintenance")

    async def assign(self, topic: str, partition: int) -> int | None:
        """The next offset the store expects. Raises UserMistake for a re-created topic."""
        state = self._partitions[topic, partition] = _Partition(Lane(self.name, topic, partition))
        held = await self._read_back(state)
        wanted = self._incarnations.get(topic)
        if None not in (held.incarnation, wanted) and held.incarnation != wanted:
            raise UserMistake(
                f"{topic} was re-created (expected incarnation {held.incarnation}, was {wanted}): its offsets start "
                "again, so Postgres would take new records for old ones; use a new database or the old topics"
            )
        return held.next_offset

    async def write(self, batch: SourceBatch) -> list[DeadLetterNote]:
        """Everything of the batch that is new, in transactions of at most 5,000 records."""
        state = self._partitions.get((batch.topic, batch.partition))
        if state is None:
            await self.assign(batch.topic, batch.partition)
            state = self._partitions[batch.topic, batch.partition]
        held = state.held or await self._read_back(state)
        records = (
            batch.records if held.next_offset is None else [r for r in batch.records if r.offset >= held.next_offset]
        )
        size = EVENTS_PER_TRANSACTION_MAX
        chunks = [records[first : first + size] for first in range(0, max(len(records), 1), size)]
        ends = [chunk[0].offset for chunk in chunks[1:]] + [batch.next_offset]
        entries = await self._read(batch, chunks[0])
        for chunk, end in zip([*chunks[1:], None], ends, strict=True):
            # The server works on one transaction while the rows of the next are made here.
            coming = None if chunk is None else asyncio.create_task(self._read(batch, chunk))
            try:
                await self._land(state, entries, end)
            finally:
                entries = await coming if coming is not None else []
        notes, state.notes = state.notes, []
        state.sent |= {note.record.offset for note in notes}
        self._on_step("returned")
        return notes

    async def _read(self, batch: SourceBatch, records: list[SourceRecord]) -> list[Entry]:
        """The entries of a chunk, read in pieces between which the event loop goes on talking to the server. Not in a
        thread: the loop, woken for each part the socket takes, would wait for the interpreter lock each time."""
        read = self._readers[batch.topic].entries
        entries: list[Entry] = []
        for first in range(0, len(records), PIECE_RECORDS):
            if first:
                await asyncio.sleep(0)
            entries += read(records[first : first + PIECE_RECORDS])
        return entries

    async def flush(self) -> None:
        """Nothing is held open between writes."""

    async def stop(self) -> None:
        """Close the pool."""
        if self._maintenance is not None:
            self._maintenance.cancel()
            await asyncio.gather(self._maintenance, return_exceptions=True)
        await self._connections.close()

    def durable_next_offset(self, topic: str, partition: int) -> int | None:
        """The end of the last committed transaction."""
        state = self._partitions.get((topic, partition))
        return None if state is None else state.durable

    # --- landing ---

    async def _land(self, state: _Partition, entries: list[Entry], end: int) -> None:
        """Write the entries, up to `end`. A row the server refuses is found by bisection; its neighbours land."""
        try:
            await self._land_whole(state, entries, end)
        except RowRefused as wrong:
            if len(entries) == 1:
                log.warning("postgres: %s-%d@%d refused: %s", *state.lane.key[1:], entries[0].offset, wrong)
                await self._land_whole(state, [entries[0].refused(wrong.reason, wrong.detail)], end)
                return
            middle = len(entries) // 2
            await self._land(state, entries[:middle], entries[middle].offset)
            await self._land(state, entries[middle:], end)

    async def _land_whole(self, state: _Partition, entries: list[Entry], end: int) -> None:
        """One transaction, repeated only after the store said that it did not happen.

        The swap and the causes make a stored key rare, so the rows go straight into the events first; a key that is
        there nevertheless sends all of them through the stage.
        """
        is_staged = False
        for _ in range(REPEATS_MAX):
            held = state.held or await self._read_back(state)
            if held.next_offset is not None:
                if end <= held.next_offset:
                    return
                if entries and entries[0].offset < held.next_offset:
                    entries = [e for e in entries if e.offset >= held.next_offset]
            try:
                await self._transact(state, held, entries, end, is_staged)
                return
            except CursorMoved:
                await self._read_back_moved(state, held)
            except PartitionMissing:
                self._partition_tables.forget()
            except KeyTaken as taken:
                self.stats.happened("key_taken")
                log.info("postgres: %s-%d passes by stored keys (%s)", *state.lane.key[1:], taken)
                is_staged = True
        raise SinkUnavailable(
            f"postgres: {state.lane.topic}-{state.lane.partition} keeps being written by another worker, or its day "
            "partition keeps disappearing"
        )

    async def _transact(self, state: _Partition, held: Cursor, entries: list[Entry], end: int, is_staged: bool) -> None:
        todo = plan(entries, held.cause_high)
        incarnation = self._incarnations.get(state.lane.topic, held.incarnation)
        new = Cursor(end, todo.cause_high, incarnation)
        move = Move(
            state.lane, held, new, held.hole_before(entries[0].offset) if entries else None, frozenset(state.sent)
        )
        try:
            async with self._connections.take() as connection:
                await self._writer.write(connection, move, todo, is_staged)
        except OutcomeUnknown as doubtful:
            state.held = None
            self.stats.happened("outcome_unknown")
            if (await self._read_back(state)).next_offset != end:
                raise SinkUnavailable(str(doubtful)) from doubtful
            log.warning("postgres: the connection was lost at COMMIT, and the transaction is there (%s)", doubtful)
            return
        state.held = new
        state.durable = end
        state.notes.extend(todo.notes)
        state.sent -= move.sent

    # --- reading back ---

    async def _read_back(self, state: _Partition) -> Cursor:
        """What is committed: offsets, and refusals whose dead letters are not known to be sent."""
        state.held = None
        self._on_step("read_back")
        try:
            async with self._connections.take() as connection:
                held = await read_cursor(connection, state.lane)
                notes = await read_notes(connection, state.lane)
        except OutcomeUnknown as doubtful:
            raise SinkUnavailable(str(doubtful)) from doubtful
        state.held, state.durable = held, held.next_offset
        state.notes = [note for note in notes if note.record.offset not in state.sent]
        return held

    async def _read_back_moved(self, state: _Partition, before: Cursor) -> None:
        """After a lost compare-and-swap. Raises Fatal when the store has gone back: somebody restored a backup."""
        self.stats.happened("cursor_moved")
        now = (await self._read_back(state)).next_offset
        if before.next_offset is not None and (now is None or now < before.next_offset):
            lane = state.lane
            raise Fatal(
                f"postgres: expected next_offset >= {before.next_offset} of {lane.topic}-{lane.partition}, was {now}: "
                "the database went back; a restart reads the log again from there"
            )

    # --- maintenance ---

    async def _maintain_once(self) -> None:
        tables = sorted({d.events_table for d in self._destinations if d.events_table is not None})
        async with self._connections.take() as connection:
            today = day_of(time.time_ns() // 1_000_000)
            await self._partition_tables.maintain(connection, tables, today, self._retention_days)

    async def _maintain_hourly(self) -> None:
        while True:
            await asyncio.sleep(MAINTENANCE_INTERVAL_S)
            try:
                await self._maintain_once()
            except (SinkUnavailable, Fatal) as wrong:
                # Partitions on demand cover what is missed here; the next hour tries again.
                log.warning("postgres: maintenance of partitions put off: %s", one_line(wrong))
