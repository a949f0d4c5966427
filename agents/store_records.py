"""Agent store_records: every record of a sink's topics into its store, acknowledged after it is durable there.

One writer per topic partition: a slow or absent store pauses its own partitions and nothing else. The sink itself is
the truth about what it holds (`sinks.contract`); this module only feeds it in order, waits, and acknowledges.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from faust.types import TP

from domain.errors import Fatal
from schemas.codec import encode_record
from schemas.dead_letters import refused_input
from schemas.records import Cause
from schemas.registry import DLQ
from sinks.contract import DeadLetterNote, Sink, SinkUnavailable, SourceBatch, SourceRecord
from tables.crashpoints import reach
from tables.kernel import Kernel, refuse_commit_ahead
from tables.partition_feed import PartitionFeed, Reach, Taken
from tables.run import rows_of

log = logging.getLogger(__name__)

#: Records kept for one partition before no more are fetched; again below half of it: bounds memory while a store is
#: away. What one fetch has brought already comes on top.
QUEUE_RECORDS_MAX = 50_000
#: Backoff while a store is unavailable: full jitter up to this.
BACKOFF_MAX_S = 5.0
#: How often a sink that holds files open is asked whether one is due.
TICK_S = 1.0


class Companion(Protocol):
    """Something that lives as long as the sink is started (ClickHouse's HTTP interface over its own handle)."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class SinkStage:
    """The stage of one sink: feeds by topic partition while this worker owns them."""

    def __init__(self, sink: Sink, kernel: Kernel, records_max: int, companions: Sequence[Companion] = ()) -> None:
        """`records_max` bounds one write (one run of records at least). A write takes what is there when the one before
        it has ended; how much that is, the pace of the fetches says (`app.fetching`)."""
        self.name = sink.name
        self.companions = companions
        self._started = False
        self._starting = asyncio.Lock()
        self.sink = sink
        self.sources = sink.topics
        self.feeds: dict[TP, PartitionFeed] = {}
        self.reach = Reach()  # of what makes final what was written; each feed has its own for its writes
        self.dead_letters = 0
        self._kernel = kernel
        self._records_max = records_max
        self._running: list[asyncio.Task[None]] = []
        self._hurry = False
        self._flushing = asyncio.Lock()

    # --- life ---

    async def _start(self, feed: PartitionFeed) -> None:
        """Once, by the first writer: a store that is away when the worker starts is waited for like any other time."""
        async with self._starting:
            if self._started:
                return
            await self._retrying(feed, self._start_sink)
            for companion in self.companions:
                await companion.start()
            self._started = True

    async def _start_sink(self) -> None:
        incarnations = getattr(self.sink, "incarnations", None)
        if incarnations is not None:
            incarnations.update(await self._kernel.incarnations())
        expect = getattr(self.sink, "expect_incarnations", None)
        if expect is not None:
            expect(await self._kernel.incarnations())
        await self.sink.start()

    async def stop(self) -> None:
        """Flush and close the store; after the last acknowledgement."""
        self.revoke()
        for companion in self.companions:
            await companion.stop()
        if self._started:
            await self.sink.stop()

    # --- rebalance ---

    def assign(self, tps: set[TP]) -> None:
        """Start a writer for each partition."""
        self._hurry, self.reach = False, Reach()
        for tp in sorted(tps - self.feeds.keys()):
            feed = self.feeds[tp] = PartitionFeed(tp)
            self._running.append(asyncio.create_task(self._guard(self._write_all(feed)), name=f"write {tp}"))
        self._running.append(asyncio.create_task(self._guard(self._keep_ticking()), name=f"tick {self.name}"))

    def revoke(self) -> None:
        """Nothing is ours until the next assignment."""
        for running in self._running:
            running.cancel()
        self._running.clear()
        self.feeds.clear()

    def hasten(self) -> None:
        """A rebalance or the end waits: write what was taken, make it final, acknowledge."""
        self._hurry = True
        for feed in self.feeds.values():
            feed.wake.set()
        self._running.append(asyncio.ensure_future(self._guard(self._flush())))

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._kernel.fail(f"sink {self.name}", error)

    # --- input ---

    async def consume(self, stream: Any) -> None:
        """Queue each run of records for its partition's writer."""
        async for event in stream.noack().events():
            message = event.message
            feed = self.feeds.get(message.tp)
            if feed is None or self._hurry or not self._kernel.begin(message):
                self._kernel.release(message)
                continue
            if feed.oldest is None:
                feed.progress_s = time.monotonic()
            taken = Taken(event, rows_of(event.value))
            feed.queue.append(taken)
            feed.queued_records += len(taken.rows)
            feed.wake.set()
            if feed.queued_records > QUEUE_RECORDS_MAX and not feed.paused:
                feed.paused = True
                self._kernel.app.consumer.hold_back(message.tp)

    async def _write_all(self, feed: PartitionFeed) -> None:
        await self._start(feed)
        expected = await self._retrying(feed, lambda: self.sink.assign(feed.tp.topic, feed.tp.partition))
        feed.next_offset = expected or 0
        while True:
            while not feed.queue:
                feed.wake.clear()
                await feed.wake.wait()
            rows = self._take(feed)
            if not feed.aligned:
                await self._align(feed, rows[0].offset)
            await self._refuse_dropped(feed, rows)
            await self._write(feed, rows)
            del rows
            feed.keep_written()
            self._acknowledge(feed)
            if self._hurry:
                await self._flush()

    def _take(self, feed: PartitionFeed) -> list[Any]:
        """The records of the next batch; their events are `feed.writing`."""
        rows: list[Any] = []
        while feed.queue and (not rows or len(rows) + len(feed.queue[0].rows) <= self._records_max):
            taken = feed.queue.popleft()
            feed.writing.append(taken)
            rows += taken.rows
        feed.queued_records -= len(rows)
        if feed.paused and feed.queued_records < QUEUE_RECORDS_MAX // 2:
            feed.paused = False
            self._kernel.app.consumer.let_go(feed.tp)
        return rows

    async def _align(self, feed: PartitionFeed, first: int) -> None:
        """The first batch must begin where the store ends, unless the log begins later (the sink records that)."""
        feed.aligned, tp, end = True, feed.tp, feed.next_offset
        if first <= end or await self._kernel.log_start(tp.topic, tp.partition) > end:
            return
        await refuse_commit_ahead(self._kernel, f"store {self.name}", tp, {tp: end})

    async def _refuse_dropped(self, feed: PartitionFeed, rows: list[Any]) -> None:
        """Offsets that we did not get and the log has were lost on the way to us: die, and read them again. The sink
        would take them for lost by the log, and the commit would pass them."""
        tp, kernel, expected = feed.tp, self._kernel, min(feed.next_offset, rows[0].offset)
        if rows[-1].offset - expected == len(rows) - 1:
            return
        for row in rows:
            at, expected, wanted = row.offset, row.offset + 1, expected
            if at != wanted and (first := await kernel.first_record(tp.topic, tp.partition, wanted)) < at:
                raise Fatal(f"{tp}: expected {first}, which the log has, was {at}: read again from there")

    async def _write(self, feed: PartitionFeed, rows: list[Any]) -> None:
        records = [SourceRecord(row.offset, row.key, row.value, row.timestamp or 0) for row in rows]
        batch = SourceBatch(feed.tp.topic, feed.tp.partition, records, records[-1].offset + 1)
        started_s = time.monotonic()
        reach("sink.before_write")
        notes = await self._retrying(feed, lambda: self.sink.write(batch))
        reach("sink.after_write")
        if notes:
            await self._send_dead_letters(feed, notes)
        now_s = time.monotonic()
        feed.next_offset = batch.next_offset
        feed.records_total += len(rows)
        feed.writes_total += 1
        feed.write_last_s, feed.progress_s = now_s - started_s, now_s

    async def _retrying(self, reach: Reach, call: Callable[[], Any]) -> Any:
        """Until the store answers: full jitter, bounded, readiness says why. Everything else is our bug and ends us."""
        backoff_s = 0.1
        while True:
            try:
                result = await call()
            except SinkUnavailable as away:
                reach.note(self.name, away)
                reach.retries_total += 1
                await asyncio.sleep(random.uniform(0, backoff_s))  # noqa: S311 - jitter, not a secret
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
            else:
                reach.note(self.name, None)
                return result

    async def _send_dead_letters(self, feed: PartitionFeed, notes: list[DeadLetterNote]) -> None:
        outbox = self._kernel.outbox(DLQ.name, feed.tp.partition)
        rows: list[tuple[bytes | None, bytes | None]] = []
        for note in notes:
            record, cause = note.record, Cause(feed.tp.topic, feed.tp.partition, note.record.offset, 0)
            name, ts_ms = f"{cause.topic}:{cause.partition}:{cause.offset}:{self.name}", max(record.timestamp_ms, 0)
            letter = refused_input(f"sink_{self.name}", name, ts_ms, record.value or b"", None, note, cause=cause)
            rows.append((record.key, encode_record(letter)))
        outbox.put(rows)
        await outbox.wait_acked(len(rows))
        self.dead_letters += len(notes)

    # --- output ---

    def _acknowledge(self, feed: PartitionFeed) -> None:
        durable = self.sink.durable_next_offset(feed.tp.topic, feed.tp.partition)
        while feed.written and durable is not None and feed.written[0].event.message.offset < durable:
            feed.written.popleft().event.ack()
            feed.progress_s = time.monotonic()

    async def _flush(self) -> None:
        """Until everything is final. The drain bounds it (`BatchConsumer.wait_empty`)."""
        if self._started:
            await self._finish(self.sink.flush)

    async def _keep_ticking(self) -> None:
        tick = getattr(self.sink, "tick", None)
        while tick is not None:
            await asyncio.sleep(TICK_S)
            if self._started:
                await self._finish(tick)

    async def _finish(self, call: Callable[[], Any]) -> None:
        async with self._flushing:
            await self._retrying(self.reach, partial(self._acknowledge_after, call))

    async def _acknowledge_after(self, call: Callable[[], Any]) -> None:
        try:
            await call()
        finally:  # one partition failed: the others are durable
            for feed in self.feeds.values():
                self._acknowledge(feed)

    def oldest_pending_s(self) -> float:
        """Seconds since the partition that waits longest made progress; what waits for an absent store is left out."""
        now, reach = time.monotonic(), self.reach
        feeds = [f for f in self.feeds.values() if f.oldest is not None and not f.unavailable and not reach.unavailable]
        return max((now - max(f.progress_s, reach.progress_s) for f in feeds), default=0.0)
