"""How a stage comes to its state: the local store, the tail of its changelog, and what the sources say to it.

Nothing is believed without a look: a store ahead of its changelog, a commit ahead of the state, a log that starts later
or ends earlier than the state expects.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from domain.errors import Fatal
from tables.changelog import Restore, restore
from tables.kernel import refuse_commit_ahead
from tables.task import Task, refuse_lost_log

if TYPE_CHECKING:
    from tables.stage import Stage

log = logging.getLogger(__name__)


async def recover(stage: Stage[Any], partitions: list[int]) -> None:
    """Bring the tasks of these partitions to the end of their changelog, and check it against their sources."""
    for partition in partitions:
        await _open(stage, partition)
    if stage.kernel.transient:
        for partition in partitions:
            stage.tasks[partition].load(stage.restores[partition])
        return
    consumer = await stage.kernel.new_reader()
    try:
        await _restore_from(stage, consumer, partitions)
    finally:
        await consumer.stop()


def _path(stage: Stage[Any], partition: int) -> Path | None:
    return stage.kernel.store_path(stage.table.name, partition)


async def _open(stage: Stage[Any], partition: int) -> None:
    store, damage = await stage.stores.open(_path(stage, partition))
    if damage:
        log.error(
            "%s-%d: the local store was damaged (%s); restoring it from the changelog",
            stage.table.name,
            partition,
            damage,
        )
    stage.tasks[partition].table.store = stage.restores[partition].store = store


async def _restore_from(stage: Stage[Any], consumer: AIOKafkaConsumer, partitions: list[int]) -> None:
    changelogs = [TopicPartition(stage.changelog, p) for p in partitions]
    consumer.assign(changelogs)
    for tp, end in (await consumer.end_offsets(changelogs)).items():
        if (stage.restores[tp.partition].store.position() or 0) > end:
            await _start_over(stage, tp.partition)
    jobs = [stage.restores[p] for p in partitions]
    for job in jobs:
        mark = job.store.position()
        log.info(
            "restoring %s-%d from %s",
            stage.table.name,
            job.partition,
            "the start" if mark is None else f"offset {mark}",
        )
    tps = [TopicPartition(topic, p) for topic in stage.sources for p in partitions]
    await restore(consumer, stage.changelog, jobs, tps, stage.kernel.recovery_deadline_s, stage.kernel.breathe)
    starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    for partition in partitions:
        _check_sources(stage, stage.tasks[partition], stage.restores[partition], starts, ends)
        await stage.kernel.breathe()


def _check_sources(
    stage: Stage[Any], task: Task[Any], job: Restore, starts: dict[TopicPartition, int], ends: dict[TopicPartition, int]
) -> None:
    task.load(job)
    for topic in stage.sources:
        tp = TopicPartition(topic, task.partition)
        refuse_lost_log(topic, task.partition, task.next_offset(topic), ends[tp])
        if starts[tp] > task.next_offset(topic):
            note_hole(stage, task, topic, starts[tp])
    log.info(
        "restored %s-%d: %d records in %.2f s, resuming at %s",
        stage.table.name, task.partition, job.records, job.finished_s - job.started_s,
        task.vector,
    )  # fmt: skip


async def _start_over(stage: Stage[Any], partition: int) -> None:
    """The local store is ahead of its changelog: the changelog was re-created. What it says is the truth."""
    log.error(
        "%s-%d: the local store is ahead of its changelog; restoring from the changelog", stage.table.name, partition
    )
    table, job = stage.tasks[partition].table, stage.restores[partition]
    table.store = job.store = await stage.stores.start_over(_path(stage, partition), job.store)


async def explain_gap(stage: Stage[Any], task: Task[Any], topic: str, first: int) -> None:
    """Offsets between the state and this run: lost to retention (a hole), skipped by a commit that is ahead of the
    state (rewind it and start again), or never records (transaction markers, compaction)."""
    if stage.kernel.transient:
        return
    expected = task.next_offset(topic)
    log_start = await stage.kernel.log_start(topic, task.partition)
    if log_start > expected:
        note_hole(stage, task, topic, min(log_start, first))
        task.aligned.add(topic)
        return
    if topic not in task.aligned:
        # All commits of the stage: a new table beside old topics is behind in all of them, and must not cost a
        # restart for each.
        restored = [one for one in stage.tasks.values() if one.restored]
        ends = {(name, one.partition): one.next_offset(name) for one in restored for name in stage.sources}
        await refuse_commit_ahead(stage.kernel, f"table {stage.table.name}", (topic, task.partition), ends)
    if (found := await stage.kernel.first_record(topic, task.partition, expected)) < first:
        raise Fatal(
            f"{topic}-{task.partition}: expected the record at {found} after {expected}, came {first}: some were "
            f"lost on their way; nothing of this is committed, the next start replays them"
        )
    task.aligned.add(topic)


def note_hole(stage: Stage[Any], task: Task[Any], topic: str, end: int) -> None:
    """Offsets up to `end` are lost to the log: said, counted, and the fold is told; a tick over it is incomplete."""
    start = task.next_offset(topic)
    log.error("%s-%d: offsets [%d, %d) were deleted before they were read", topic, task.partition, start, end)
    stage.holes.append((topic, task.partition, start, end))
    task.vector[topic] = end
    if task.ticks is not None:
        task.ticks.incomplete = True
    task.publish(stage.on_hole(task, topic, start, end), lambda: None)
