"""One partition of one stage: its table, its outputs, and the checkpoint, in one order and no other.

    encode what changed, at one instant, with the vector of source offsets it includes
    -> the outputs queued until then are acknowledged
    -> the changelog records and the mark are acknowledged
    -> one WriteBatch puts values, mark and changelog position into the local store
    -> the source batches are acknowledged, and may be committed

A store or changelog ahead of what precedes it would make the replay skip what was never published.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from domain.errors import Fatal
from schemas.records import Cause
from tables.changelog import Restore
from tables.checkpointed import PartitionTable
from tables.crashpoints import reach
from tables.headers import Offsets, Vector, header, reaches_beyond, source_id
from tables.outbox import Outbox, Row
from tables.store import MARK_KEY

log = logging.getLogger(__name__)
S = TypeVar("S")

Outputs = dict[str, list[Row]]
#: Above so many records since the last checkpoint it is backlog: checkpoints grow apart, up to CHECKPOINT_MAX_MS.
BACKLOG_RECORDS = 5_000


class Mark(msgspec.Struct, array_like=True):
    """The last record of each checkpoint: where every source stands, and the highest cause taken of each."""

    sources: dict[str, int]
    causes: dict[str, tuple[int, int]]  # "<topic>/<partition>" -> (offset, n)


class _Caused(msgspec.Struct):
    """The only field of a record that is looked at when its effect is there already."""

    cause: Cause | None = None


_decode_caused = msgspec.json.Decoder(_Caused).decode
_encode_mark = msgspec.msgpack.Encoder().encode
_decode_mark = msgspec.msgpack.Decoder(Mark).decode


class Task(Generic[S]):
    """What a fold sees: `table` (load, assign), `repeats(cause)`, `next_offset(topic)`; it returns its outputs."""

    def __init__(
        self,
        partition: int,
        sources: tuple[str, ...],
        table: PartitionTable[S],
        outboxes: dict[str, Outbox],
        changelog: Outbox,
        pace_ms: tuple[int, int],
        checkpoint_records: int,
    ) -> None:
        self.partition = partition
        self.sources = sources
        self.table = table
        #: Next offset of each source that the state does not include; sources no longer read stand there too.
        self.vector: Vector = dict.fromkeys(sources, 0)
        self.causes: dict[str, tuple[int, int]] = {}
        #: Keys whose value is ahead of the mark: an unfinished checkpoint before a kill. key -> what it includes.
        self.ahead: dict[bytes, Offsets] = {}
        self.aligned: set[str] = set()
        #: Set when restored, and also when a rebalance comes before that: see `restored`.
        self.ready = asyncio.Event()
        self.restored = False
        self.closed = False
        self.records_total = 0
        self.records_since_checkpoint = 0
        self.checkpoints_total = 0
        self.checkpoint_last_s = 0.0
        self.foreign_rewrites = 0
        #: When the last checkpoint ended, or input came after a quiet time (monotonic).
        self.progress_s = time.monotonic()
        self._outboxes = outboxes
        self._changelog = changelog
        self._pace_ms, self._pace_max_ms = pace_ms
        self._interval_ms = self._pace_ms
        self._checkpoint_records = checkpoint_records
        self._pending: list[Callable[[], Any]] = []
        self._due = asyncio.Event()
        self._checkpointed = asyncio.Event()

    # --- restoring ---

    def load(self, restored: Restore) -> None:
        """Take over where the restored store stands."""
        raw = self.table.store.get(MARK_KEY)
        if raw is not None:
            mark = _decode_mark(raw[self.table.headers.width(raw) :])
            self.vector |= mark.sources
            self.causes = dict(mark.causes)
        ends = self._ends()
        self.ahead = {key: offsets for key, offsets in restored.ahead().items() if reaches_beyond(offsets, ends)}
        self._changelog.next_offset = restored.position
        self.table.rewrite(restored.rewrite)
        self.foreign_rewrites += len(restored.rewrite)

    def start(self) -> None:
        """Let input in."""
        self.restored = True
        self.progress_s = time.monotonic()
        self.ready.set()

    # --- taking input ---

    def next_offset(self, topic: str) -> int:
        """The first offset of that source that the state does not include."""
        return self.vector[topic]

    @property
    def position(self) -> int:
        """The next offset of the first source: what a view says its state stands at."""
        return self.vector[self.sources[0]]

    def _ends(self) -> Offsets:
        return {source_id(topic): offset for topic, offset in self.vector.items()}

    def admit(self, topic: str, rows: list[Any]) -> list[Any]:
        """The records of a run that the state does not include yet; from now on it does."""
        start = self.vector[topic]
        if rows[0].offset < start:
            rows = [row for row in rows if row.offset >= start]
            if not rows:
                return rows
        self.vector[topic] = rows[-1].offset + 1
        if self.ahead:
            source = source_id(topic)
            rows = [row for row in rows if not self._included(source, row)]
        self.records_total += len(rows)
        self.records_since_checkpoint += len(rows)
        return rows

    def _included(self, source: int, row: Any) -> bool:
        offsets = self.ahead.get(row.key)
        if offsets is None or row.offset >= offsets.get(source, 0):
            return False
        # Its effect is in the value, so its cause has been taken: published again later, it must be known.
        self.repeats(_cause_of(row.value))
        return True

    def repeats(self, cause: Cause | None) -> bool:
        """Whether a derived record came before: its writer was killed and published it again at a new offset."""
        if cause is None:
            return False
        source = f"{cause.topic}/{cause.partition}"
        highest = self.causes.get(source)
        if highest is not None and (cause.offset, cause.n) <= highest:
            return True
        self.causes[source] = (cause.offset, cause.n)
        return False

    def publish(self, outputs: Outputs, acknowledge: Callable[[], Any]) -> None:
        """Queue the outputs of a folded batch; `acknowledge` is called when a checkpoint includes it."""
        for topic, rows in outputs.items():
            self._outboxes[topic].put(rows)
        if not self._pending:
            self.progress_s = time.monotonic()
        self._pending.append(acknowledge)
        if self.records_since_checkpoint >= self._checkpoint_records:
            self._due.set()

    @property
    def pending(self) -> int:
        """Batches folded and not yet acknowledged."""
        return len(self._pending)

    @property
    def waiting(self) -> int:
        """Rows that the broker has not acknowledged yet."""
        return self._changelog.waiting + sum(outbox.waiting for outbox in self._outboxes.values())

    @property
    def overfull(self) -> bool:
        """More since the last checkpoint than may be lost to a kill, or than the broker keeps up with."""
        waiting = sum(outbox.waiting for outbox in self._outboxes.values())
        return max(self.records_since_checkpoint, waiting) >= 2 * self._checkpoint_records

    async def wait_checkpoint(self) -> None:
        """Return after the next checkpoint."""
        self._checkpointed.clear()
        self._due.set()
        await self._checkpointed.wait()

    # --- checkpoints ---

    def hasten(self) -> None:
        """Checkpoint at once: a rebalance or the end waits for it. What waits for a restore is let go."""
        self._due.set()
        if not self.restored:
            self.ready.set()

    async def keep_checkpointing(self) -> None:
        """Checkpoint by time, by count, and when hastened, until closed."""
        while not self.closed:
            interval_s = self._interval_ms / 1000
            # At common ticks of the clock: the partitions' changelog batches then share a request to the broker.
            until_tick_s = interval_s - time.monotonic() % interval_s
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), until_tick_s)
            self._due.clear()
            if self._pending or self.table.dirty:
                await self.checkpoint()
            self._checkpointed.set()

    async def checkpoint(self) -> None:
        """One checkpoint, in the order of the module's docstring."""
        started_s = time.monotonic()
        backlog = self.records_since_checkpoint > BACKLOG_RECORDS
        self._interval_ms = min(self._interval_ms * 2, self._pace_max_ms) if backlog else self._pace_ms
        pending, self._pending = self._pending, []
        self.records_since_checkpoint = 0
        queued = {outbox: outbox.queued for outbox in self._outboxes.values()}
        rows = self.table.encode_changes(self.vector, self.ahead)
        rows.append((MARK_KEY, self._mark()))
        if self.ahead:
            ends = self._ends()
            self.ahead = {key: offsets for key, offsets in self.ahead.items() if reaches_beyond(offsets, ends)}
        reach("checkpoint.encoded")
        for outbox, count in queued.items():
            await outbox.wait_acked(count)
        reach("checkpoint.outputs_acked")
        jumps = self._changelog.foreign_jumps
        self._changelog.put([(key, value) for key, value in rows])
        await self._changelog.wait_acked(self._changelog.queued)
        reach("checkpoint.changelog_acked")
        if self.closed:
            return
        foreign = self._changelog.foreign_jumps != jumps
        # A foreign writer was there, or keys are still ahead: a restart must read from before it, or them.
        self.table.store.write(rows, None if foreign or self.ahead else self._changelog.next_offset)
        reach("checkpoint.stored")
        for acknowledge in pending:
            acknowledge()
        reach("checkpoint.source_acked")
        self.table.evict()
        if foreign:
            self._rewrite_everything()
        self.checkpoints_total += 1
        self.progress_s = time.monotonic()
        self.checkpoint_last_s = self.progress_s - started_s

    def _mark(self) -> bytes:
        mark = Mark(self.vector, self.causes)
        return header(self.vector) + _encode_mark(mark)

    def _rewrite_everything(self) -> None:
        # Somebody else wrote to our changelog (a zombie): its values may be the last ones of some keys. Ours must be.
        keys = {key for key, _ in self.table.items()}
        log.error(
            "changelog of %s-%d has a foreign writer: writing %d keys again",
            self.table.table.name,
            self.partition,
            len(keys),
        )
        self.foreign_rewrites += len(keys)
        self.table.rewrite(keys)
        self._due.set()

    def close(self) -> None:
        """The partition is no longer ours. What was not checkpointed is forgotten; its next owner replays it.
        The store is not touched any more: whoever opened it closes it."""
        self.closed = True
        # Nobody may wait for a checkpoint or a restore that will not come.
        for event in (self._due, self._checkpointed, self.ready):
            event.set()
        for outbox in self._outboxes.values():
            outbox.close()
        self._changelog.close()


def _cause_of(value: bytes | None) -> Cause | None:
    try:
        return None if value is None else _decode_caused(value).cause
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def refuse_lost_log(topic: str, partition: int, next_offset: int, log_end: int) -> None:
    """State that is ahead of its source means that the topic was re-created or truncated: no replay can mend it.

    Raises:
        Fatal: with what to do about it.
    """
    if log_end < next_offset:
        raise Fatal(
            f"{topic}-{partition}: expected a log end of at least {next_offset}, was {log_end}: the topic is not "
            f"the one this state was built from; start with a new --data-dir, or rebuild by `replay --from-parquet`"
        )
