"""One stage of the topology: sources -> fold -> one table and outputs, with a task for each partition this worker owns.

The Faust agent around it is three lines (`agents/`): it hands its stream to `consume`. Restore, alignment with the
source, checkpoints, and what a rebalance does to all this live here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition

from domain.errors import Fatal
from tables.changelog import Restore, restore
from tables.checkpointed import CheckpointedTable, PartitionTable
from tables.headers import Headers, require_distinct
from tables.kernel import Kernel, refuse_commit_ahead
from tables.standby import Standby
from tables.store import MemoryStore, Stores
from tables.task import Outputs, Task, refuse_lost_log

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
    tasks: dict[int, Task[S]] = field(default_factory=dict)
    restores: dict[int, Restore] = field(default_factory=dict)
    holes: list[tuple[str, int, int, int]] = field(default_factory=list)
    _running: list[asyncio.Task[None]] = field(default_factory=list)

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
            self._running.append(asyncio.create_task(self._restore(new), name=f"restore {self.name} {new}"))
        self.standby.follow(sorted(set(range(self.kernel.settings.topic_partitions)) - self.tasks.keys()))

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

    async def stop(self) -> None:
        """The end; everything taken has been acknowledged before."""
        self.revoke()
        await self.stores.closed()

    def hasten(self) -> None:
        """Checkpoint everything now."""
        for task in self.tasks.values():
            task.hasten()

    def _new_task(self, partition: int) -> Task[S]:
        kernel, store = self.kernel, MemoryStore()  # until it is opened
        self.restores[partition] = Restore(partition, store, Headers(self.table.first_sources))
        return Task(
            partition,
            self.sources,
            PartitionTable(self.table, store, kernel.value_max_bytes),
            {topic: kernel.outbox(topic, partition) for topic in self.outputs},
            kernel.outbox(self.changelog, partition),
            kernel.pace_ms,
            kernel.checkpoint_records,
        )

    def _path(self, partition: int) -> Path | None:
        return self.kernel.store_path(self.table.name, partition)

    async def _open(self, partition: int) -> None:
        store, damage = await self.stores.open(self._path(partition))
        if damage:
            log.error(
                "%s-%d: the local store was damaged (%s); restoring it from the changelog",
                self.table.name,
                partition,
                damage,
            )
        self.tasks[partition].table.store = self.restores[partition].store = store

    async def _restore(self, partitions: list[int]) -> None:
        try:
            for partition in partitions:
                await self._open(partition)
            if self.kernel.transient:
                for partition in partitions:
                    self.tasks[partition].load(self.restores[partition])
                    self._start(partition)
                return
            consumer = await self.kernel.new_reader()
            try:
                await self._restore_from(consumer, partitions)
            finally:
                await consumer.stop()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.kernel.fail(f"restore of table {self.table.name}", error)

    async def _restore_from(self, consumer: AIOKafkaConsumer, partitions: list[int]) -> None:
        changelogs = [TopicPartition(self.changelog, p) for p in partitions]
        consumer.assign(changelogs)
        for tp, end in (await consumer.end_offsets(changelogs)).items():
            if (self.restores[tp.partition].store.position() or 0) > end:
                await self._start_over(tp.partition)
        jobs = [self.restores[p] for p in partitions]
        for job in jobs:
            mark = job.store.position()
            log.info(
                "restoring %s-%d from %s",
                self.table.name,
                job.partition,
                "the start" if mark is None else f"offset {mark}",
            )
        tps = [TopicPartition(topic, p) for topic in self.sources for p in partitions]
        await restore(consumer, self.changelog, jobs, tps, self.kernel.recovery_deadline_s, self.kernel.breathe)
        starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        for partition in partitions:
            self._check_sources(self.tasks[partition], self.restores[partition], starts, ends)
            await self.kernel.breathe()

    def _check_sources(
        self, task: Task[S], job: Restore, starts: dict[TopicPartition, int], ends: dict[TopicPartition, int]
    ) -> None:
        task.load(job)
        for topic in self.sources:
            tp = TopicPartition(topic, task.partition)
            refuse_lost_log(topic, task.partition, task.next_offset(topic), ends[tp])
            if starts[tp] > task.next_offset(topic):
                self._note_hole(task, topic, starts[tp])
        log.info(
            "restored %s-%d: %d records in %.2f s, resuming at %s",
            self.table.name, task.partition, job.records, job.finished_s - job.started_s,
            task.vector,
        )  # fmt: skip
        self._start(task.partition)

    async def _start_over(self, partition: int) -> None:
        """The local store is ahead of its changelog: the changelog was re-created. What it says is the truth."""
        log.error(
            "%s-%d: the local store is ahead of its changelog; restoring from the changelog", self.table.name, partition
        )
        table, job = self.tasks[partition].table, self.restores[partition]
        table.store = job.store = await self.stores.start_over(self._path(partition), job.store)

    def _start(self, partition: int) -> None:
        task = self.tasks[partition]
        if self.table.residents_max is None:
            task.table.warm()
        task.start()
        self._running.append(asyncio.create_task(self._keep(task), name=f"checkpoint {self.name}-{partition}"))

    async def _keep(self, task: Task[S]) -> None:
        try:
            await task.keep_checkpointing()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.kernel.fail(f"checkpoint of {self.table.name}-{task.partition}", error)

    # --- input ---

    async def consume(self, stream: Any) -> None:
        """Take events until the stream ends. Each is a run of records of one partition (`app.transport`)."""
        async for event in stream.noack().events():
            try:
                await self.take(event)
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                # Faust would acknowledge the batch of an agent that raises: the process ends instead.
                self.kernel.fail(f"stage {self.name} at {event.message.tp}", error)

    async def take(self, event: Any) -> None:
        """Fold one run of records and queue what comes of it; return before it is durable."""
        message = event.message
        topic, rows = message.topic, event.value
        task = self.tasks.get(message.partition)
        if task is None and self.kernel.transient:
            self.assign([message.partition])
            task = self.tasks[message.partition]
        if task is not None:
            await task.ready.wait()
        if task is None or task.closed or not task.restored or not self.kernel.begin(message):
            self.kernel.release(message)
            return
        if rows[0].offset > task.next_offset(topic):
            await self._explain_gap(task, topic, rows[0].offset)
            if task.closed:
                return
        outputs: Outputs = {}
        # While keys are ahead of the mark, record by record: what is skipped must be known before what follows it.
        for part in [[row] for row in rows] if task.ahead else [rows]:
            new = task.admit(topic, part)
            for name, sent in self.fold(task, topic, new).items() if new else ():
                outputs.setdefault(name, []).extend(sent)
        # Only the acknowledgement is kept until the checkpoint, not a second's worth of records with it.
        event.value = message.value = None
        task.publish(outputs, event.ack)
        if task.overfull:
            await task.wait_checkpoint()

    async def _explain_gap(self, task: Task[S], topic: str, first: int) -> None:
        """Offsets between the state and this run: lost to retention (a hole), skipped by a commit that is ahead of the
        state (rewind it and start again), or never records (transaction markers, compaction)."""
        if self.kernel.transient:
            return
        expected = task.next_offset(topic)
        log_start = await self.kernel.log_start(topic, task.partition)
        if log_start > expected:
            self._note_hole(task, topic, min(log_start, first))
            task.aligned.add(topic)
            return
        if topic not in task.aligned:
            # All commits of the stage: a new table beside old topics is behind in all of them, and must not cost a
            # restart for each.
            restored = [one for one in self.tasks.values() if one.restored]
            ends = {(name, one.partition): one.next_offset(name) for one in restored for name in self.sources}
            await refuse_commit_ahead(self.kernel, f"table {self.table.name}", (topic, task.partition), ends)
        if (found := await self.kernel.first_record(topic, task.partition, expected)) < first:
            raise Fatal(
                f"{topic}-{task.partition}: expected the record at {found} after {expected}, came {first}: some were "
                f"lost on their way; nothing of this is committed, the next start replays them"
            )
        task.aligned.add(topic)

    def _note_hole(self, task: Task[S], topic: str, end: int) -> None:
        start = task.next_offset(topic)
        log.error("%s-%d: offsets [%d, %d) were deleted before they were read", topic, task.partition, start, end)
        self.holes.append((topic, task.partition, start, end))
        task.vector[topic] = end
        task.publish(self.on_hole(task, topic, start, end), lambda: None)

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
