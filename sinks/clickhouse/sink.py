"""The ClickHouse sink: records are held until a second after the last insert or 50,000 rows a partition.

The tables are the truth: whatever died, `assign` asks them for their highest offset (from part headers, cheap) and
`write` skips what they hold. After an insert of unknown outcome (time-out, lost connection) the same question is asked
before anything is inserted again. chDB lives in this process; a server is used when CLICKHOUSE_URL is set.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from domain.errors import UserMistake
from sinks.clickhouse.blocks import Block
from sinks.clickhouse.destinations import TOPICS
from sinks.clickhouse.partition import EVENTS, Partition, Step
from sinks.clickhouse.store import Store
from sinks.clickhouse.upgrade import bring_over, make_way
from sinks.columns import take_records
from sinks.contract import DeadLetterNote, SinkUnavailable, SourceBatch, for_each
from sinks.stats import SinkStats

FLUSH_ROWS = (
    50_000  # records of one partition held before they are inserted: ClickHouse wants 10,000 to 100,000 a block
)
FLUSH_AGE_S = 0.8  # below the second between two fetches when it is quiet: what one brings is inserted at once
LOOP_RECORDS_MAX = 500  # a batch up to this is decoded on the event loop (about 2 ms); larger ones in a thread
Migrate = Callable[[Any], object]


class ClickHouseSettings(Protocol):
    """The settings the sink reads (app.settings.Settings)."""

    @property
    def clickhouse_url(self) -> str | None: ...
    @property
    def clickhouse_user(self) -> str: ...
    @property
    def clickhouse_password(self) -> Any: ...
    @property
    def clickhouse_database(self) -> str: ...
    @property
    def clickhouse_retention_days(self) -> int: ...
    @property
    def data_dir(self) -> Path: ...


@dataclass
class _Held:
    """A partition, whether it must be loaded before its next use, and its lock."""

    partition: Partition
    lock: asyncio.Lock
    loaded: bool = False
    inserting: "asyncio.Task[None] | None" = None  # of one block; the next is built meanwhile


def _no_step(_name: str) -> None:
    """Tests put a kill here."""


class ClickHouseSink:
    """See the module. Safe for concurrent calls of different partitions."""

    name = "clickhouse"
    topics: tuple[str, ...] = TOPICS

    def __init__(
        self,
        store: Store,
        *,
        migrate: Migrate | None = None,
        retention_days: int = 0,
        flush_rows: int = FLUSH_ROWS,
        flush_age_s: float = FLUSH_AGE_S,
        on_step: Step = _no_step,
    ) -> None:
        self.store = store
        self.stats = SinkStats()
        #: Topic incarnations (ops.topics), part of the deduplication tokens; set before `assign`.
        self.incarnations: dict[str, str] = {}
        self._migrate = migrate
        self._retention_days = retention_days
        self._flush_rows = flush_rows
        self._flush_age_s = flush_age_s
        self._on_step = on_step
        self._held: dict[tuple[str, int], _Held] = {}

    @classmethod
    def from_settings(cls, settings: ClickHouseSettings, migrate: Migrate | None = None) -> "ClickHouseSink":
        """The sink the settings describe. `migrate` gets the connected client at `start` (ops.migrate: chDB's path
        can be opened by one process only, and it is this one)."""
        return cls(store_from_settings(settings), migrate=migrate, retention_days=settings.clickhouse_retention_days)

    async def start(self) -> None:
        """Connect, migrate, check the schema, set the retention. Raises SinkUnavailable or UserMistake."""
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        self.store.open()
        if self._migrate is not None:
            make_way(self.store)
            self._migrate(self.store.client)
            bring_over(self.store)
        found = "select count() from system.tables where database = {d:String} and name = {t:String}"
        if not self.store.rows(found, {"d": self.store.database, "t": EVENTS})[0][0]:
            raise UserMistake(f"clickhouse: {self.store.database}.{EVENTS} is missing: run `kalshi-streams migrate`")
        set_retention(self.store, self._retention_days)

    async def assign(self, topic: str, partition: int) -> int | None:
        """Forget what is held, ask the store where it ends. Raises SinkUnavailable."""
        held = _Held(
            Partition(self.store, topic, partition, self.incarnations.get(topic, ""), self.stats, self._on_step),
            asyncio.Lock(),
        )
        old = self._held.get((topic, partition))  # until it is replaced: this may be cancelled, and come again
        if old is not None:
            async with old.lock:
                if old.inserting is not None:  # still under way it would make the answer wrong
                    await asyncio.wait([old.inserting])
                    old.inserting.exception()  # looked at: the store is asked next
                old.partition.forget()
        self._held[topic, partition] = held
        async with held.lock:
            return await self._load(held)

    async def _load(self, held: _Held) -> int | None:
        held.loaded = False
        found = await asyncio.to_thread(held.partition.load)
        held.partition.next = max(held.partition.next, held.partition.durable)
        held.loaded = True
        return found

    async def write(self, batch: SourceBatch) -> list[DeadLetterNote]:
        """Hold the batch, insert when enough is held. Once held it is kept until stored, so a second call skips it.

        Raises:
            SinkUnavailable: the store cannot take what is held.
        """
        if (batch.topic, batch.partition) not in self._held:
            await self.assign(batch.topic, batch.partition)
        held = self._held[batch.topic, batch.partition]
        async with held.lock:
            await self._ready(held)
            topic, records = held.partition.topic, batch.records
            if len(records) <= LOOP_RECORDS_MAX:
                table, notes = take_records(topic, batch.partition, records)
            else:
                table, notes = await asyncio.to_thread(take_records, topic, batch.partition, records)
            await self._hold(held, table)
            if self._is_due(held.partition):
                await self._send(held)
        return notes

    async def _hold(self, held: _Held, table: pa.Table) -> None:
        """Keep the records from `next` on, cut where the log has holes."""
        partition = held.partition
        fresh = table.filter(pc.greater_equal(table["_offset"], partition.next))
        self.stats.happened("skipped", table.num_rows - fresh.num_rows)
        while fresh.num_rows:
            offsets = fresh["_offset"].to_numpy()
            first = int(offsets[0])
            if first > partition.next:
                await self._hole(held, first)
            run = len(offsets)
            if int(offsets[-1]) - first != run - 1:
                run = 1 + int(np.flatnonzero(np.diff(offsets) != 1)[0])
            partition.hold(fresh.slice(0, run), int(offsets[run - 1]) + 1)
            fresh = fresh.slice(run)

    async def _hole(self, held: _Held, first: int) -> None:
        await self._flush(held)
        try:
            lost = first - held.partition.next
            await asyncio.to_thread(held.partition.hole, first)
            self.stats.happened("hole_offsets", lost)
        except SinkUnavailable:
            held.loaded = False
            raise

    def _is_due(self, partition: Partition) -> bool:
        if not partition.held:
            return False
        return partition.held_rows >= self._flush_rows or time.monotonic() - partition.flushed_s >= self._flush_age_s

    async def _ready(self, held: _Held) -> None:
        """After an error the store is asked again where it ends."""
        if not held.loaded:
            self.stats.happened("reloaded")
            await self._load(held)

    async def _send(self, held: _Held) -> None:
        """Build a block of what is held and begin to insert it, once the block before is stored."""
        await self._ready(held)
        if not held.partition.held:
            return
        try:
            block = await asyncio.to_thread(held.partition.build)
            await self._settle(held)
        except BaseException:  # cancelled, too: no later block may pass one that was built and is never inserted
            await self._fail(held)
            raise
        held.inserting = asyncio.create_task(self._insert(held, block))

    async def _insert(self, held: _Held, block: Block) -> None:
        begun = time.monotonic()
        await asyncio.to_thread(held.partition.insert, block)
        self.stats.flushed(time.monotonic() - begun)

    async def _settle(self, held: _Held) -> None:
        """Wait for the block under way. Raises what became of it; everything not known to be stored is held again."""
        if held.inserting is None:
            return
        await asyncio.wait([held.inserting])
        task, held.inserting = held.inserting, None
        wrong = task.exception()
        if wrong is not None:
            await self._fail(held)
            raise wrong

    async def _fail(self, held: _Held) -> None:
        held.loaded = False
        if held.inserting is not None:
            await asyncio.wait([held.inserting])
            held.inserting.exception()  # looked at: what it left is read back
            held.inserting = None
        held.partition.take_back()

    async def _flush(self, held: _Held) -> None:
        await self._send(held)
        await self._settle(held)

    async def tick(self) -> None:
        """Insert what has been held long enough. To be called several times a second. Raises SinkUnavailable."""
        await for_each(self._held.values(), self._insert_old)

    async def _insert_old(self, held: _Held) -> None:
        if self._is_due(held.partition):
            await self._flush(held)
        elif held.inserting is not None and held.inserting.done():
            await self._settle(held)

    async def flush(self) -> None:
        """Insert everything held. Raises SinkUnavailable; what failed is kept for the next try."""
        await for_each(self._held.values(), self._flush)

    async def stop(self) -> None:
        """Flush and disconnect."""
        try:
            await self.flush()
        finally:
            self._held.clear()
            await asyncio.to_thread(self.store.close)

    def durable_next_offset(self, topic: str, partition: int) -> int | None:
        """One past the highest offset that the store holds; None before `assign`."""
        held = self._held.get((topic, partition))
        return held.partition.durable if held is not None and held.loaded else None


def store_from_settings(settings: ClickHouseSettings) -> Store:
    """chDB at <data-dir>/clickhouse, or the server at CLICKHOUSE_URL. Raises UserMistake for an unusable URL."""
    if settings.clickhouse_url is None:
        return Store(settings.clickhouse_database, settings.data_dir / "clickhouse")
    url = urlsplit(settings.clickhouse_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UserMistake("CLICKHOUSE_URL: expected http://host:port or https://host:port")
    password = settings.clickhouse_password
    return Store(
        settings.clickhouse_database,
        host=url.hostname,
        port=url.port or (8443 if url.scheme == "https" else 8123),
        secure=url.scheme == "https",
        username=url.username or settings.clickhouse_user,
        password=url.password or (password.get_secret_value() if password is not None else ""),
    )


_RAW_TABLES = """
select name, create_table_query like '%TTL %', position(create_table_query, {want:String}) > 0 from system.tables
where database = {d:String} and engine = 'ReplacingMergeTree' and name like '%\\_raw' and name != 'latest_bbo_raw'"""


def set_retention(store: Store, days: int) -> None:
    """Make the append-only tables forget rows after `days` (0: keep for ever); does nothing when it is so already."""
    ttl = f"TTL toDateTime(ingest_ts) + toIntervalDay({days})"
    for table, has_ttl, has_this in store.rows(_RAW_TABLES, {"d": store.database, "want": ttl}):
        if days and not has_this:
            store.command(f"alter table {{db}}.{table} modify {ttl} settings materialize_ttl_after_modify = 0")
        elif has_ttl and not days:
            store.command(f"alter table {{db}}.{table} remove ttl")
