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

from domain.errors import ForeignLog
from tables.changelog import Restore
from tables.checkpointed import PartitionTable
from tables.crashpoints import reach
from tables.inbox import Inbox
from tables.outbox import Outbox
from tables.outlets import Outlets, Outputs
from tables.progress import Progress
from tables.store import MARK_KEY
from tables.ticks import Ticks

log = logging.getLogger(__name__)
S = TypeVar("S")

#: Above so many records since the last checkpoint it is backlog: checkpoints grow apart, up to CHECKPOINT_MAX_MS.
BACKLOG_RECORDS = 5_000
#: Keys written again in one checkpoint after a foreign writer: some 12 ms of the loop.
REWRITE_KEYS_MAX = 1_000


class Task(Progress, Generic[S]):
    """What a fold sees: `table` (load, assign), `repeats(cause)`, `next_offset(topic)`, `want_tick()`; it returns its
    outputs. `ticks` are there where the processor acts by the clock."""

    def __init__(
        self,
        partition: int,
        sources: tuple[str, ...],
        table: PartitionTable[S],
        outlets: Outlets,
        changelog: Outbox,
        pace_ms: tuple[int, int],
        checkpoint_records: int,
    ) -> None:
        super().__init__(sources)
        self.partition = partition
        self.table = table
        self.ticks: Ticks | None = None
        self.inbox = Inbox()
        self.aligned: set[str] = set()
        self.restored = False
        #: What comes is let go, to come again: a rebalance or the end waits.
        self.draining = False
        #: A gap in the offsets is being looked into; nothing is folded meanwhile.
        self.explaining = False
        self.closed = False
        self.records_total = 0
        self.records_since_checkpoint = 0
        self.checkpoints_total = 0
        self.checkpoint_last_s = 0.0
        self.foreign_rewrites = 0
        #: While every key is written again after a foreign writer: the last key done.
        self._rewritten: bytes | None = None
        #: When the last checkpoint ended, or input came after a quiet time (monotonic).
        self.progress_s = time.monotonic()
        self._outlets = outlets
        #: Called after each checkpoint: what was too much before may be folded now.
        self.on_checkpoint: Callable[[], None] = lambda: None
        self._changelog = changelog
        self._pace_ms, self._pace_max_ms = pace_ms
        self._interval_ms = self._pace_ms
        self._checkpoint_records = checkpoint_records
        self._pending: list[Callable[[], Any]] = []
        self._due = asyncio.Event()

    # --- restoring ---

    def load(self, restored: Restore) -> None:
        """Take over where the restored store stands."""
        self.load_mark(self.table.store.get(MARK_KEY), self.table.headers, restored.ahead())
        self._changelog.next_offset = restored.position
        self.table.rewrite(restored.rewrite)
        self.foreign_rewrites += len(restored.rewrite)

    def start(self) -> None:
        """Let input in."""
        self.restored = True
        self.progress_s = time.monotonic()

    # --- taking input ---

    def admit(self, topic: str, rows: list[Any]) -> list[Any]:
        """The records of a run that the state does not include yet; from now on it does."""
        rows = self.take(topic, rows)
        self.records_total += len(rows)
        self.records_since_checkpoint += len(rows)
        return rows

    def want_tick(self) -> None:
        """Ask for a tick at once. For processors that act by the clock; others have none to ask for."""
        assert self.ticks is not None, "expected a processor with a pace of ticks"
        self.ticks.want()

    def publish(self, outputs: Outputs, acknowledge: Callable[[], Any]) -> None:
        """Queue the outputs of a folded batch; `acknowledge` is called when a checkpoint includes it."""
        self._outlets.put(outputs)
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
        return self._changelog.waiting + self._outlets.waiting

    @property
    def overfull(self) -> bool:
        """More since the last checkpoint than may be lost to a kill, or than the broker keeps up with."""
        return max(self.records_since_checkpoint, self._outlets.waiting) >= 2 * self._checkpoint_records

    # --- checkpoints ---

    def hasten(self) -> None:
        """Checkpoint at once."""
        self._due.set()

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
            self.on_checkpoint()

    async def checkpoint(self) -> None:
        """One checkpoint, in the order of the module's docstring."""
        started_s = time.monotonic()
        backlog = self.records_since_checkpoint > BACKLOG_RECORDS
        self._interval_ms = min(self._interval_ms * 2, self._pace_max_ms) if backlog else self._pace_ms
        pending, self._pending = self._pending, []
        self.records_since_checkpoint = 0
        queued = self._outlets.queued()
        rows = self.table.encode_changes(self.vector, self.ahead)
        rows.append((MARK_KEY, self.mark()))
        self.forget_caught_up()
        reach("checkpoint.encoded")
        for outbox, count in queued.items():
            await outbox.wait_acked(count)
        reach("checkpoint.outputs_acked")
        jumps = self._changelog.foreign_jumps
        self._changelog.put([(key, value) for key, value in rows], whole=self.ticks is not None)
        await self._changelog.wait_acked(self._changelog.queued)
        reach("checkpoint.changelog_acked")
        if self.closed:
            return
        foreign = self._changelog.foreign_jumps != jumps
        # A foreign writer was there, or keys are still ahead: a restart must read from before it, or them.
        whole = not foreign and self._rewritten is None and not self.ahead
        self.table.store.write(rows, self._changelog.next_offset if whole else None)
        reach("checkpoint.stored")
        for acknowledge in pending:
            acknowledge()
        reach("checkpoint.source_acked")
        self.table.evict()
        if foreign:
            self._note_foreign_writer()
        self._rewrite_more()
        self.checkpoints_total += 1
        self.progress_s = time.monotonic()
        self.checkpoint_last_s = self.progress_s - started_s

    def _note_foreign_writer(self) -> None:
        # Somebody else wrote to our changelog (a zombie): its values may be the last ones of some keys. Ours must be.
        name = f"{self.table.table.name}-{self.partition}"
        log.error("changelog of %s has a foreign writer: every key is written again", name)
        self._rewritten = b""

    def _rewrite_more(self) -> None:
        """Some keys more, until all are done: all at once would hold up the loop for seconds."""
        if self._rewritten is None:
            return
        keys = self.table.keys_after(self._rewritten, REWRITE_KEYS_MAX)
        self.foreign_rewrites += len(keys)
        self.table.rewrite(set(keys))
        self._rewritten = keys[-1] if len(keys) == REWRITE_KEYS_MAX else None
        self._due.set()

    def close(self) -> None:
        """The partition is no longer ours. What was not checkpointed is forgotten; its next owner replays it.
        The store is not touched any more: whoever opened it closes it."""
        self.closed = True
        self._due.set()
        self._outlets.close()
        self._changelog.close()


def refuse_lost_log(topic: str, partition: int, next_offset: int, log_end: int) -> None:
    """State that is ahead of its source means that the topic was re-created or truncated: no replay can mend it.

    Raises:
        ForeignLog: with what to do about it.
    """
    if log_end < next_offset:
        raise ForeignLog(
            f"{topic}-{partition}: expected a log end of at least {next_offset}, was {log_end}: the topic is not "
            f"the one this state was built from; start with a new --data-dir, or rebuild by `replay --from-parquet`"
        )
