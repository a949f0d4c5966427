"""What the stages of one process share: the producer, settings, and the rules of dying.

Everything that cannot be trusted ends the process at once (`fail`): an exception raised through Faust would acknowledge
the batch it interrupted. A supervisor starts it again and the log restores the state.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from app.bus import aiokafka_options
from app.lasting_batches import keep_batches
from app.lz4 import compress_fast
from app.settings import Settings
from domain.errors import Fatal, ForeignLog, UserMistake
from schemas.registry import Topic
from tables.outbox import Outbox
from tables.store import StoreOptions
from tables.tick_log import SharedTickLog, TickLog

log = logging.getLogger(__name__)

#: Largest record and request, as the topics allow.
REQUEST_MAX_BYTES = 8 << 20
#: One produce batch; larger ones help compression little and latency not at all.
BATCH_MAX_BYTES = 1 << 20
#: Fetched per partition and request while restoring.
RESTORE_FETCH_BYTES = 1 << 20
#: How long the broker may hold back an empty answer to a restore. It answers the requests of one connection one after
#: the other: with its default of 500 ms each question for offsets waits behind a fetch from the end of the log.
RESTORE_WAIT_MS = 20
#: The same for a standby, which asks for ever.
STANDBY_WAIT_MS = 500
#: How often the loop proves that it runs.
TICK_S = 0.2

EXIT_BUG = 70
EXIT_USER = 2


class Kernel:
    """One per worker process. `app` is the Faust application; `transient` keeps everything in memory, for tests of
    agents."""

    def __init__(self, app: Any, settings: Settings, *, transient: bool = False) -> None:
        self.app = app
        self.settings = settings
        self.transient = transient
        self.store_options = StoreOptions(settings.rocksdb_block_cache_mb, settings.rocksdb_write_buffer_mb)
        self.value_max_bytes = settings.table_value_max_bytes
        self.pace_ms = (settings.checkpoint_ms, settings.checkpoint_max_ms)
        self.checkpoint_records = settings.checkpoint_records
        self.recovery_deadline_s = settings.recovery_deadline_s
        self.producer: AIOKafkaProducer | None = None
        self.on_fail: Callable[[int], None] = os._exit
        #: The wall clock, in ms. Ticks lie on its grid; nothing else here looks at it.
        self.now_ms: Callable[[], int] = _now_ms
        #: Topic -> the id of its incarnation: another one under the same name is another log. Set by `app.assembly`.
        self.incarnations: Callable[[], Awaitable[dict[str, str]]] = _no_incarnations
        self._ticked_s = time.monotonic()
        self._stall_max_s = settings.session_timeout_s / 2
        self._reader: AIOKafkaConsumer | None = None
        self._making_reader = asyncio.Lock()
        self._tick_logs: dict[tuple[str, int], TickLog] = {}

    # --- life ---

    async def start(self) -> None:
        """Start the producer: idempotent (Faust's is not), all replicas, lz4, no lingering."""
        compress_fast()
        self.producer = keep_batches(
            AIOKafkaProducer(
                **aiokafka_options(self.settings),
                enable_idempotence=True,
                acks="all",
                compression_type="lz4",
                linger_ms=0,
                max_batch_size=BATCH_MAX_BYTES,
                max_request_size=REQUEST_MAX_BYTES,
            )
        )
        await self.producer.start()

    async def stop(self) -> None:
        """Stop producer and reader; the stages have checkpointed before."""
        if self.producer is not None:
            await self.producer.stop()
        if self._reader is not None:
            await self._reader.stop()

    async def tick(self) -> None:
        """Prove that the loop runs. Runs for the life of the process."""
        self._ticked_s = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            self.refuse_after_stall()
            self._ticked_s = time.monotonic()

    def refuse_after_stall(self) -> None:
        """A loop that stood still for half the session time-out may have lost its partitions: it must not send."""
        stalled_s = time.monotonic() - self._ticked_s
        if not self.transient and stalled_s > self._stall_max_s:
            self.fail("event loop", Fatal(f"expected a turn each {TICK_S} s, was none for {stalled_s:.1f} s"))

    def fail(self, where: str, error: BaseException) -> None:
        """Log, and end the process without acknowledging anything."""
        by_user = isinstance(error, UserMistake | ForeignLog)
        if isinstance(error, Fatal | UserMistake):
            log.critical("%s: %s; ending the process", where, error)
        else:
            log.critical("%s: %r; ending the process", where, error, exc_info=error)
        logging.shutdown()
        sys.stderr.flush()
        self.on_fail(EXIT_USER if by_user else EXIT_BUG)

    # --- parts for stages ---

    def store_path(self, table: str, partition: int) -> Path | None:
        """Where a partition of a table is kept: under the worker's own `--datadir`, never shared."""
        if self.transient:
            return None
        return Path(self.app.conf.datadir) / "tables" / f"{table}-{partition}.rocksdb"

    def outbox(self, topic: str, partition: int) -> Outbox:
        """A new sender for one topic partition."""
        if self.transient:
            return TransientOutbox(topic, partition)
        return Outbox(
            self._started(), topic, partition, self.refuse_after_stall, lambda why: self.fail("send", Fatal(why))
        )

    def tick_log(self, topic: Topic, partition: int) -> TickLog:
        """The one sender and reader of a ticks topic's partition in this process."""
        known = self._tick_logs.get((topic.name, partition))
        if known is None:
            append = partial(self._append, topic.name, partition)
            read = partial(self._read_range, topic.name, partition)
            known = self._tick_logs[topic.name, partition] = SharedTickLog(topic, partition, append, read)
        return known

    async def _append(self, topic: str, partition: int, key: bytes, value: bytes) -> int:
        self.refuse_after_stall()
        sent = await self._started().send_and_wait(topic, value, key=key, partition=partition)
        return int(sent.offset)

    async def _read_range(self, topic: str, partition: int, start: int, end: int) -> list[Any]:
        """Records [start, end) that the log still has; `end` -1: as far as it goes now."""
        tp = TopicPartition(topic, partition)
        reader, rows = await self.new_reader(), []
        try:
            reader.assign([tp])
            if end < 0:
                end = (await reader.end_offsets([tp]))[tp]
            start = max(start, (await reader.beginning_offsets([tp]))[tp])
            reader.seek(tp, start)
            async with asyncio.timeout(self.recovery_deadline_s):
                while await reader.position(tp) < end:
                    fetched = await reader.getmany(tp, timeout_ms=1_000)
                    rows += [row for run in fetched.get(tp, ()) for row in (run if isinstance(run, list) else [run])]
        except TimeoutError:
            raise Fatal(f"{topic}-{partition}: expected records up to {end}, was none after {len(rows)}") from None
        finally:
            await reader.stop()
        return [row for row in rows if row.offset < end]

    def hold_back(self, tp: Any) -> None:
        """Fetch no more of a partition for now."""
        if not self.transient:
            self.app.consumer.hold_back(tp)

    def let_go(self, tp: Any) -> None:
        """Fetch again."""
        if not self.transient:
            self.app.consumer.let_go(tp)

    def _started(self) -> AIOKafkaProducer:
        if self.producer is None:
            raise Fatal("expected a started producer, was none")
        return self.producer

    async def new_reader(self, wait_ms: int = RESTORE_WAIT_MS) -> AIOKafkaConsumer:
        """A started consumer without a group, for changelogs. `wait_ms`: how long an empty answer may take."""
        reader = AIOKafkaConsumer(
            **aiokafka_options(self.settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=RESTORE_FETCH_BYTES,
            fetch_max_wait_ms=wait_ms,
        )
        await reader.start()
        return reader

    async def breathe(self) -> None:
        """Let the loop turn during a restore."""
        await asyncio.sleep(0)

    # --- the source's offsets ---

    def begin(self, message: Any) -> bool:
        """See `BatchConsumer.begin`."""
        return True if self.transient else bool(self.app.consumer.begin(message))

    def release(self, message: Any) -> None:
        """Not worked on, and not to be waited for: it comes again."""
        if not self.transient:
            self.app.consumer.unacked.discard(message)

    async def log_start(self, topic: str, partition: int) -> int:
        """The first offset the log still has."""
        async with self._making_reader:  # two partitions ask at once: the second reader would never be stopped
            if self._reader is None:
                self._reader = await self.new_reader()
        tp = TopicPartition(topic, partition)
        return int((await self._reader.beginning_offsets([tp]))[tp])

    async def first_record(self, topic: str, partition: int, offset: int) -> int:
        """The offset of the first record at or after `offset`; waits for one.

        Raises:
            Fatal: there was none within the recovery deadline.
        """
        tp = TopicPartition(topic, partition)
        reader = await self.new_reader()
        try:
            reader.assign([tp])
            reader.seek(tp, offset)
            async with asyncio.timeout(self.recovery_deadline_s):
                while not (fetched := await reader.getmany(tp, timeout_ms=1_000)):
                    pass
        except TimeoutError:
            raise Fatal(f"{topic}-{partition}: expected a record at or after {offset}, was none") from None
        finally:
            await reader.stop()
        first = fetched[tp][0]
        return int((first[0] if isinstance(first, list) else first).offset)

    def committed(self, topic: str, partition: int) -> int:
        """The group's commit as of the assignment."""
        return int(self.app.consumer._committed_offset.get(TopicPartition(topic, partition)) or 0)

    async def rewind(self, topic: str, partition: int, offset: int) -> None:
        """Set the group's commit back."""
        await self.app.consumer._commit({TopicPartition(topic, partition): offset})


async def refuse_commit_ahead(
    kernel: Kernel, owner: str, at: tuple[str, int], ends: Mapping[tuple[str, int], int]
) -> None:
    """A commit beyond what its owner has skips records. `ends` says per (topic, partition) where the owner's own state
    ends; when the commit of `at` is ahead of it, every commit that is ahead is set back.

    Raises:
        Fatal: it was ahead: what came meanwhile must not be taken, the next start reads from where the state ends.
    """
    topic, partition = at
    if kernel.committed(topic, partition) <= ends[at]:
        return
    for (name, number), end in ends.items():
        if kernel.committed(name, number) > end:
            await kernel.rewind(name, number, end)
    raise Fatal(
        f"{topic}-{partition}: the commit was ahead of {owner}, which ends at {ends[at]}; "
        "the commit was set back, the next start replays from there"
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _no_incarnations() -> dict[str, str]:
    return {}


class TransientOutbox(Outbox):
    """Keeps what is sent, for tests of agents without a broker."""

    def __init__(self, topic: str, partition: int) -> None:
        super().__init__(None, topic, partition, lambda: None, lambda why: None)  # type: ignore[arg-type]
        self.sent: list[tuple[bytes | None, bytes | None]] = []

    def put(self, rows: list[tuple[bytes | None, bytes | None]], *, whole: bool = False) -> None:
        self.sent += rows
        self.queued += len(rows)
        self.acked = self.queued
        self.next_offset = self.queued
