"""Reading a changelog back: in whole batches, with a deadline, past compacted and tombstone tails.

Every value starts with its header: which offsets of its sources it includes (`tables.headers`). Versions (the sum of a
header) rise along a changelog that has one writer; a fall gives away a foreign writer (a zombie), and then the highest
value of each key wins and is written again by the caller.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from domain.errors import Fatal
from tables.headers import Headers, Offsets, reaches_beyond
from tables.store import MARK_KEY, PartitionStore

#: How long one poll waits for records; bounds how late the end is noticed.
POLL_TIMEOUT_MS = 200
#: Answers of the broker without data, at an unchanged position below the end, after which the rest of the log is known
#: to be empty (its last records were compacted away). Answers are counted, not time: a frozen broker answers nothing.
EMPTY_ANSWERS_AT_END = 2


@dataclass
class Restore:
    """One partition's restore: progress while it runs, findings when it is done."""

    partition: int
    store: PartitionStore
    headers: Headers
    start: int = 0
    end: int = 0
    position: int = 0
    records: int = 0
    done: bool = False
    high_version: int = -1
    #: Keys whose last record is not their highest: a foreign writer was there. To be written again.
    rewrite: set[bytes] = field(default_factory=set)
    #: Keys ahead of the last mark: of a checkpoint that was not finished, and not yet caught up with. key -> value.
    since_mark: dict[bytes, bytes] = field(default_factory=dict)
    started_s: float = 0.0
    finished_s: float = 0.0
    _empty_answers: int = 0
    _last_answer: int | None = None

    def apply(self, rows: list[Any]) -> None:
        """Write a run of changelog records to the store, the highest value of each key."""
        latest: dict[bytes, bytes | None] = {}
        version_of = self.headers.version
        high = self.high_version
        marked: int | None = None
        for row in rows:
            key, value = row.key, row.value
            if value is None:
                latest[key] = None
                self.since_mark.pop(key, None)
                continue
            version = version_of(value)
            if version < high and self._is_lower(key, version, latest):
                # The next checkpoint writes a mark anyway, and a mark is no state that could be read and assigned.
                if key != MARK_KEY:
                    self.rewrite.add(key)
                continue
            if version > high:
                high = self.high_version = version
            latest[key] = value
            if key == MARK_KEY:
                self._forget_included(value, version)
                if not self.since_mark:
                    marked = row.offset + 1
            else:
                self.since_mark[key] = value
        self.high_version = high
        self.records += len(rows)
        self.position = rows[-1].offset + 1
        # The store's position stays behind what a warm start must find again if we are killed before our next
        # checkpoint: values ahead of their mark, and keys to be written again.
        self.store.write(latest.items(), None if self.rewrite else marked)

    def _forget_included(self, mark: bytes, version: int) -> None:
        """Keep what is ahead of this mark: a restart wrote it before it had caught up with what a kill left."""
        ends = self.headers.offsets(mark)
        if len(ends) == 1 and version >= self.high_version:
            self.since_mark.clear()
            return
        self.since_mark = {
            key: value for key, value in self.since_mark.items() if reaches_beyond(self.headers.offsets(value), ends)
        }

    def ahead(self) -> dict[bytes, Offsets]:
        """What each key of an unfinished checkpoint includes."""
        return {key: self.headers.offsets(value) for key, value in self.since_mark.items()}

    def finish(self) -> None:
        """The store is at the end of its changelog."""
        self.done = True
        self.finished_s = time.monotonic()
        self.position = max(self.position, self.end)
        if not self.since_mark and not self.rewrite:
            self.store.write([], self.position)

    def _is_lower(self, key: bytes, version: int, latest: dict[bytes, bytes | None]) -> bool:
        known = latest[key] if key in latest else self.store.get(key)
        return known is not None and self.headers.version(known) > version

    @property
    def percent(self) -> float:
        """How far the restore is, 0 to 100."""
        if not self.started_s:  # the store is still being opened
            return 0.0
        span = self.end - self.start
        return 100.0 if self.done or span <= 0 else 100.0 * (self.position - self.start) / span

    @property
    def remaining_s(self) -> float | None:
        """Estimate from the rate so far; None while nothing is known."""
        elapsed = time.monotonic() - self.started_s
        done = self.position - self.start
        return None if done <= 0 else elapsed * (self.end - self.position) / done


async def restore(
    consumer: AIOKafkaConsumer,
    topic: str,
    restores: list[Restore],
    sources: list[TopicPartition],
    deadline_s: float,
    yield_: Callable[[], Awaitable[None]],
) -> None:
    """Bring each store to the end its changelog has now. The consumer is started, belongs to no group, and is ours.

    `sources` are assigned and paused, so that the client knows their leaders when their offsets are asked for (it
    would look for each unknown one for a second).

    Raises:
        Fatal: no record and no empty answer for `deadline_s`: the process ends rather than hang in recovery.
    """
    by_tp = {TopicPartition(topic, r.partition): r for r in restores}
    consumer.assign([*by_tp, *sources])
    consumer.pause(*sources)
    starts, ends = await consumer.beginning_offsets(list(by_tp)), await consumer.end_offsets(list(by_tp))
    for tp, job in by_tp.items():
        job.started_s = time.monotonic()
        job.end = ends[tp]
        job.start = job.position = max(job.store.position() or 0, starts[tp])
        consumer.seek(tp, job.position)
    last_progress_s = time.monotonic()
    while True:
        open_tps = [tp for tp, job in by_tp.items() if not _finish(consumer, tp, job)]
        if not open_tps:
            return
        consumer.resume(*open_tps)
        consumer.pause(*[tp for tp in by_tp if tp not in open_tps])
        fetched = await consumer.getmany(*open_tps, timeout_ms=POLL_TIMEOUT_MS)
        for tp, runs in fetched.items():
            for rows in runs:
                by_tp[tp].apply(rows)
                await yield_()
        if fetched or any(_answered(consumer, tp, by_tp[tp]) for tp in open_tps):
            last_progress_s = time.monotonic()
        for tp in open_tps:
            if tp in fetched:
                by_tp[tp]._empty_answers = 0
            by_tp[tp].position = max(by_tp[tp].position, await consumer.position(tp))
        if time.monotonic() - last_progress_s > deadline_s:
            stuck = {tp.partition: (by_tp[tp].position, by_tp[tp].end) for tp in open_tps}
            raise Fatal(f"{topic}: expected progress within {deadline_s} s, was none; at {stuck}")


def _answered(consumer: AIOKafkaConsumer, tp: TopicPartition, job: Restore) -> bool:
    answer = consumer.last_poll_timestamp(tp)
    if answer is None or answer == job._last_answer:
        return False
    job._last_answer = answer
    job._empty_answers += 1
    return True


def _finish(consumer: AIOKafkaConsumer, tp: TopicPartition, job: Restore) -> bool:
    at_end = job.position >= job.end
    # `>`: the first answer counted may have been on its way before the last record was taken.
    compacted_tail = job._empty_answers > EMPTY_ANSWERS_AT_END and (consumer.highwater(tp) or 0) >= job.end
    if not job.done and (at_end or compacted_tail):
        job.finish()
    return job.done
