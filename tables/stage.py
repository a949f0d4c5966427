"""One stage of the topology: sources -> fold -> one table and outputs, with a task for each partition this worker owns.

The Faust agent around it is three lines (`agents/`): it hands its stream to `consume`. Restore, alignment with the
source, checkpoints, and what a rebalance does to all this live here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from schemas.registry import Topic
from tables.changelog import Restore
from tables.checkpointed import CheckpointedTable, PartitionTable
from tables.headers import Headers, require_distinct
from tables.inbox import INBOX_RECORDS_MAX, Waiting
from tables.kernel import Kernel
from tables.outlets import Outlets, Outputs, Place, always
from tables.recovery import explain_gap, recover
from tables.run import rows_of
from tables.standby import Standby
from tables.store import MemoryStore, Stores
from tables.task import Task
from tables.ticks import Pace, Ticks

log = logging.getLogger(__name__)
S = TypeVar("S")

Fold = Callable[[Task[S], str, list[Any]], Outputs]
OnHole = Callable[[Task[S], str, int, int], Outputs]


@dataclass
class Stage(Generic[S]):
    """`fold(task, topic, rows)` gets records that the state does not include yet, in offset order, and returns what to
    publish, in order. `on_hole(task, topic, a, b)` is told that offsets [a, b) were lost before they were read."""

    name: str
    sources: tuple[str, ...]
    table: CheckpointedTable[S]
    outputs: tuple[str, ...]
    fold: Fold[S]
    on_hole: OnHole[S]
    changelog: str
    kernel: Kernel
    #: Partitions of its sources, and of its task's.
    partitions: int = 0
    #: Topic -> partition of a key, for outputs that do not go to the partition of the task that makes them.
    places: dict[str, Place] = field(default_factory=dict)
    pace: Pace | None = None
    tick_topic: Topic | None = None
    tasks: dict[int, Task[S]] = field(default_factory=dict)
    restores: dict[int, Restore] = field(default_factory=dict)
    holes: list[tuple[str, int, int, int]] = field(default_factory=list)
    _running: list[asyncio.Task[None]] = field(default_factory=list)
    _held_back: set[Any] = field(default_factory=set)

    def __post_init__(self) -> None:
        require_distinct(self.sources)
        self.stores = Stores(self.kernel.store_options)
        #: Follows the partitions that are another worker's.
        self.standby = Standby(self.kernel, self.stores, self.table, self.changelog)

    # --- rebalance ---

    def assign(self, partitions: Iterable[int]) -> None:
        """These partitions are ours now: open, restore, start checkpointing. The others are followed."""
        self.standby.release()
        new = sorted(set(partitions) - self.tasks.keys())
        for partition in new:
            self.tasks[partition] = self._new_task(partition)
        if new:
            self._run(partial(self._restore, new), f"restore of table {self.table.name} {new}")
        self.standby.follow(sorted(set(range(self.partitions)) - self.tasks.keys()))

    def revoke(self) -> None:
        """Nothing is ours until the next assignment. What was taken has been acknowledged before (`hasten`)."""
        self.standby.release()
        for running in self._running:
            running.cancel()
        self._running.clear()
        for task in self.tasks.values():
            task.close()
        self.stores.close([task.table.store for task in self.tasks.values()])
        self.tasks.clear()
        self.restores.clear()
        self._held_back.clear()

    async def stop(self) -> None:
        """The end; everything taken has been acknowledged before."""
        self.revoke()
        await self.stores.closed()

    def hasten(self) -> None:
        """A rebalance or the end waits: checkpoint everything now, let go what is not folded; it comes again."""
        for task in self.tasks.values():
            task.draining = True
            for event in task.inbox.clear():
                self.kernel.release(event.message)
            task.hasten()

    def _new_task(self, partition: int) -> Task[S]:
        kernel, store = self.kernel, MemoryStore()  # until it is opened
        self.restores[partition] = Restore(partition, store, Headers(self.table.first_sources))
        own = always(partition)
        places = {topic: self.places.get(topic, own) for topic in self.outputs}
        task = Task(
            partition,
            self.sources,
            PartitionTable(self.table, store, kernel.value_max_bytes),
            Outlets(places, kernel.outbox),
            kernel.outbox(self.changelog, partition),
            kernel.pace_ms,
            kernel.checkpoint_records,
        )
        task.on_checkpoint = partial(self._guarded, task)
        if self.pace is not None and self.tick_topic is not None:
            task.ticks = Ticks(
                self.name, self.tick_topic.name, kernel.tick_log(self.tick_topic, partition), self.pace,
                self.fold.on_time, kernel.now_ms,  # type: ignore[attr-defined]
            )  # fmt: skip
        return task

    async def _restore(self, partitions: list[int]) -> None:
        await recover(self, partitions)
        for partition in partitions:
            await self._start(partition)

    async def _start(self, partition: int) -> None:
        task = self.tasks[partition]
        if self.table.residents_max is None:
            task.table.warm()
        if task.ticks is not None:
            await task.ticks.open(task)
        task.start()
        self._run(task.keep_checkpointing, f"checkpoint of {self.table.name}-{partition}")
        if task.ticks is not None:
            self._run(
                partial(task.ticks.keep_ticking, task, partial(self._ticked, task)), f"ticks of {self.name}-{partition}"
            )
        self._work(task)
        await self.kernel.breathe()

    def _run(self, work: Callable[[], Coroutine[Any, Any, None]], what: str) -> None:
        self._running = [running for running in self._running if not running.done()]
        self._running.append(asyncio.create_task(self._guard(work, what), name=what))

    async def _guard(self, work: Callable[[], Coroutine[Any, Any, None]], what: str) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.kernel.fail(what, error)

    def _ticked(self, task: Task[S], outputs: Outputs) -> None:
        task.publish(outputs, lambda: None)
        self._work(task)

    # --- input ---

    async def consume(self, stream: Any) -> None:
        """Take events until the stream ends. Each is a run of records of one partition (`app.transport`)."""
        async for event in stream.noack().events():
            if self.kernel.transient and event.message.partition not in self.tasks:
                self.assign([event.message.partition])
            try:
                self.offer(event)
            except BaseException as error:
                # Faust would acknowledge the batch of an agent that raises: the process ends instead.
                self.kernel.fail(f"stage {self.name} at {event.message.tp}", error)

    def offer(self, event: Any) -> None:
        """Fold one run of records, or keep it in the inbox of its partition until it may be folded. What comes of it is
        queued; it is durable, and acknowledged, with the next checkpoint."""
        message = event.message
        task = self.tasks.get(message.partition)
        if task is None or task.draining or task.closed:
            rows_of(event.value)  # another agent of the topic may still want them, we do not
            self.kernel.release(message)
            return
        task.inbox.put(message.topic, event, rows_of(event.value))
        self._work(task)
        if task.inbox.records > INBOX_RECORDS_MAX and message.tp not in self._held_back:
            self._held_back.add(message.tp)
            self.kernel.hold_back(message.tp)

    def _guarded(self, task: Task[S]) -> None:
        try:
            self._work(task)
        except BaseException as error:
            self.kernel.fail(f"stage {self.name}-{task.partition}", error)

    def _work(self, task: Task[S]) -> None:
        """Fold what may be folded now: nothing while the partition restores, is overfull or waits for a tick; up to the
        next cut while ticks of the log are computed again."""
        while task.restored and not task.draining and not task.closed and not task.explaining:
            if task.overfull:
                task.hasten()
                break
            if task.ticks is not None and (outputs := task.ticks.compute_due(task)) is not None:
                task.publish(outputs, lambda: None)
                continue
            limits = None if task.ticks is None else task.ticks.limits(task)
            found = task.inbox.next(limits)
            if found is None:
                break
            self._fold(task, *found, limits)
        if self._held_back and task.inbox.records < INBOX_RECORDS_MAX // 2:
            for tp in [tp for tp in self._held_back if tp.partition == task.partition]:
                self._held_back.discard(tp)
                self.kernel.let_go(tp)

    def _fold(self, task: Task[S], topic: str, waiting: Waiting, limits: dict[str, int] | None) -> None:
        if waiting.rows[0].offset > task.next_offset(topic) and not waiting.explained:
            task.explaining = True
            self._run(partial(self._explain, task, topic, waiting), f"gap in {topic}-{task.partition}")
            return
        if not waiting.begun and not self.kernel.begin(waiting.event.message):
            task.inbox.drop(topic)
            self.kernel.release(waiting.event.message)
            return
        waiting.begun = True
        rows, whole = task.inbox.cut(topic, waiting, limits)
        outputs: Outputs = {}
        # While keys are ahead of the mark, record by record: what is skipped must be known before what follows it.
        for part in [[row] for row in rows] if task.ahead else [rows]:
            new = task.admit(topic, part)
            for name, sent in self.fold(task, topic, new).items() if new else ():
                outputs.setdefault(name, []).extend(sent)
        task.publish(outputs, waiting.event.ack if whole else lambda: None)

    async def _explain(self, task: Task[S], topic: str, waiting: Waiting) -> None:
        await explain_gap(self, task, topic, waiting.rows[0].offset)
        waiting.explained, task.explaining = True, False
        self._work(task)

    # --- reading ---

    def state(self, partition: int, key: bytes) -> tuple[S | None, int] | None:
        """(live state, next offset of the first source) of a key, or None if this worker does not own the partition."""
        task = self.tasks.get(partition)
        if task is None or not task.restored:
            return None
        return task.table.get(key), task.position

    @property
    def restoring(self) -> list[Restore]:
        """Restores under way."""
        return [self.restores[p] for p, task in self.tasks.items() if not task.restored]

    def oldest_pending_s(self) -> float:
        """Seconds since the last checkpoint of the partition that waits longest."""
        now = time.monotonic()
        return max((now - t.progress_s for t in self.tasks.values() if t.pending), default=0.0)
