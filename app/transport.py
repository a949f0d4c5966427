"""Batched transport: one Faust event per run of consecutive records of one partition.

Stock Faust spends about 60 µs of task switching on each record before any work, and its commit can pass unfinished
events (docs/decisions/0001-batched-transport.md). Topics named in `Transport.batched_topics` arrive instead as lists
of records; all other topics work as in stock Faust.

The commit of a batched partition is the end of the longest prefix of acknowledged batches, never beyond. A batch counts
from `begin`, called where the agent takes it: what the fetcher or a rebalance drops was never begun and never commits.

Overridden private methods of Faust and aiokafka are listed in `app.upstream_uses` and guarded by a test.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import faust
from aiokafka.consumer import fetcher as aiokafka_fetcher
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode.services import WaitResults
from mode.utils.futures import notify

from app.eager import Done, step
from app.fetching import FetchPace
from app.one_loop import LoopConsumer
from domain.errors import Fatal
from tables.run import Run

#: Records in one event: a fold of about 1 µs each keeps the event loop free within some milliseconds.
BATCH_RECORDS_MAX = 2_000
#: Bytes of values in one event, so that large snapshots do not make an event of gigabytes.
BATCH_BYTES_MAX = 4 << 20

_lean_topics: set[str] = set()


class LeanPartitionRecords(aiokafka_fetcher.PartitionRecords):
    """Hands over whole Kafka record batches of lean topics as lists of the raw records (offset, timestamp, key, value,
    headers), instead of an 11-field frozen dataclass for each: that took 35 % of a run, and set off collections.

    Control batches, aborted transactions, compacted gaps and checksums are treated as by the base class.
    """

    def _unpack_records(self) -> Iterator[Any]:
        if self._tp.topic not in _lean_topics:
            yield from super()._unpack_records()
            return
        records = self._records
        while records.has_next():
            batch = records.next_batch()
            if self._check_crcs and not batch.validate_crc():
                raise aiokafka_fetcher.Errors.CorruptRecordException(f"expected a valid CRC in {self._tp}, was not")
            if self._is_aborted(batch) or batch.is_control_batch:
                self.next_fetch_offset = batch.next_offset
                continue
            rows = list(batch)
            if rows and rows[0].offset < self.next_fetch_offset:
                # A fetch from the middle of a compressed batch returns the whole of it.
                rows = [row for row in rows if row.offset >= self.next_fetch_offset]
            self.next_fetch_offset = batch.next_offset
            if rows:
                yield rows

    def _is_aborted(self, batch: Any) -> bool:
        if self._isolation_level != aiokafka_fetcher.READ_COMMITTED or batch.producer_id is None:
            return False
        self._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and self._contains_abort_marker(batch):
            self._aborted_producers.discard(batch.producer_id)
        return bool(batch.is_transactional and batch.producer_id in self._aborted_producers)


def read_lean(topics: Sequence[str]) -> None:
    """From now on every aiokafka consumer of this process reads these topics as lists of raw records."""
    _lean_topics.update(topics)
    aiokafka_fetcher.PartitionRecords = LeanPartitionRecords


class BatchConsumer(driver.Consumer):
    """Faust's consumer, with runs of records as events for batched topics and a commit that counts batches."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._batched: frozenset[str] = self.transport.batched_topics
        # Batches taken by an agent, oldest first, per partition.
        self._in_flight: defaultdict[TP, deque[ConsumerMessage]] = defaultdict(deque)
        # Not fetched from at an agent's wish; what was fetched already is still delivered.
        self._held_back: set[TP] = set()
        #: Called when everything taken must be finished soon: before a revoke and before the end.
        self.on_drain: list[Callable[[], None]] = []

    def _new_consumer_thread(self) -> LoopConsumer:
        return LoopConsumer(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        fetched, active = await self._wait_next_records(timeout)
        generation_id = self.app.consumer_generation_id
        if fetched is None or self.should_stop:
            return
        if not self.flow_active:
            try:
                await self.perform_seek()
            except Exception as error:
                # Partitions may be lost meanwhile; recovery seeks again before the flow resumes (as in stock Faust).
                self.log.warning("no seek to the commit while the flow is stopped: %r", error)
            return
        batched = {tp: runs for tp, runs in fetched.items() if tp.topic in self._batched}
        single = {tp: records for tp, records in fetched.items() if tp.topic not in self._batched}
        for tp, message in self._messages(batched, single, generation_id):
            if not self.flow_active or self.app.consumer_generation_id != generation_id:
                return
            # Faust skips what it has fetched of a partition that is paused meanwhile, and never fetches it again.
            if active is None or tp in active or tp in self._buffered_partitions or tp in self._held_back:
                yield tp, message

    def _messages(
        self, batched: dict[TP, list[list[Any]]], single: dict[TP, list[Any]], generation_id: int
    ) -> Iterator[tuple[TP, ConsumerMessage]]:
        for tp, runs in batched.items():
            for records in _cut(runs):
                yield tp, batch_message(tp, records, generation_id, self.transport.takers[tp.topic])
        for tp, record in self.scheduler.iterate(single):
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            yield tp, self._to_message(tp, record)

    def hold_back(self, tp: TP) -> None:
        """Fetch no more from a partition until `let_go`. What one fetch has brought already comes all the same."""
        self._held_back.add(tp)
        self.pause_partitions([tp])

    def let_go(self, tp: TP) -> None:
        """Fetch again from a partition that was held back."""
        self._held_back.discard(tp)
        self.resume_partitions([tp])

    async def wait_first(self, *coros: Any, timeout: Any = None) -> WaitResults:
        """As Faust's, which makes four tasks and ends three for each message it queues, a fifth of the worker's time at
        5,000 records/s: queueing waits only when the queue is full, and has else come to its end at the first step."""
        if timeout is not None or not asyncio.iscoroutine(coros[0]) or self.suspend_flow.is_set():
            return await super().wait_first(*coros, timeout=timeout)
        first = step(coros[0])
        if not isinstance(first, Done):
            return await super().wait_first(first, *coros[1:])
        for other in coros[1:]:
            other.close()
        return WaitResults([coros[0]], [first.value], False)

    def on_buffer_full(self, tp: TP) -> None:
        # Faust leaves the partition out of the fetches until the agent's queue is half empty, but a fetch that waits
        # meanwhile waits on for its second. Batched topics need no such brake: queueing waits for room in the queue.
        if tp.topic not in self._batched:
            super().on_buffer_full(tp)

    def begin(self, message: ConsumerMessage) -> bool:
        """The agent takes this batch: from now on the commit waits for it. False: it is of an older generation, comes
        again, and must not be worked on."""
        if message.generation_id != self.app.consumer_generation_id:
            # Left unacknowledged it would block the rebalance for ever.
            self._unacked_messages.discard(message)
            return False
        self._in_flight[message.tp].append(message)
        return True

    def ack(self, message: ConsumerMessage) -> bool:
        if message.tp.topic not in self._batched:
            return bool(super().ack(message))
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        self._acked[message.tp]  # the commit looks at the partitions that stand in this defaultdict
        self._n_acked += 1
        notify(self._waiting_for_ack)
        return True

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        # Offsets missing inside a batched partition need no bookkeeping: batches are counted, not offsets.
        if tp.topic not in self._batched:
            await super()._add_gap(tp, offset_from, offset_to)

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic not in self._batched:
            return super()._new_offset(tp)
        in_flight, offset = self._in_flight[tp], None
        while in_flight and in_flight[0].acked:
            offset = in_flight.popleft().offset
        if offset is None:
            return None
        committed = self._committed_offset[tp]
        return None if committed is not None and offset + 1 <= committed else offset + 1

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._drain()
        await super().on_partitions_revoked(revoked)
        self._in_flight.clear()
        self._held_back.clear()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._in_flight.clear()
        self._held_back.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    async def wait_empty(self) -> None:
        self._drain()
        # A revoke has emptied this before it comes here: what is done and not committed must be looked at again.
        for tp in [tp for tp, batches in self._in_flight.items() if batches]:
            self._acked[tp]
        # Nothing else bounds this wait: with a broker or a store that does not come back it would last for ever.
        bound_s = self.app.kernel.settings.commit_stall_s
        give_up = asyncio.get_running_loop().call_later(bound_s, self._give_up, bound_s)
        try:
            await super().wait_empty()
        finally:
            give_up.cancel()

    def _give_up(self, bound_s: int) -> None:
        left = len(self._unacked_messages)
        self.app.kernel.fail("drain", Fatal(f"expected all batches to be done within {bound_s} s, {left} were not"))

    def _drain(self) -> None:
        for callback in self.on_drain:
            callback()

    def batches_in_flight(self, tp: TP) -> int:
        """Batches taken and not yet committed."""
        return len(self._in_flight.get(tp, ()))


def _cut(runs: list[list[Any]]) -> Iterator[list[Any]]:
    """Record batches, as they came, to events bounded in records and bytes. Small ones are put together."""
    event: list[Any] = []
    size = 0
    for run in runs:
        for start in range(0, len(run), BATCH_RECORDS_MAX):
            part = run[start : start + BATCH_RECORDS_MAX]
            part_size = sum([len(r.value) for r in part if r.value is not None])
            if event and (len(event) + len(part) > BATCH_RECORDS_MAX or size + part_size > BATCH_BYTES_MAX):
                yield event
                event, size = [], 0
            if part_size > BATCH_BYTES_MAX:
                yield from ([record] for record in part)
                continue
            event = event + part if event else part
            size += part_size
    if event:
        yield event


def batch_message(tp: TP, records: list[Any], generation_id: int = 0, takers: int = 1) -> ConsumerMessage:
    """One event for a run of records, for that many agents; its offset is that of the last one."""
    last = records[-1]
    timestamp_s = (last.timestamp or 0) / 1000.0
    return ConsumerMessage(
        tp.topic, tp.partition, last.offset, timestamp_s, last.timestamp_type, [], None,
        Run(records, takers), None, 0, 0, tp,
        generation_id=generation_id,
    )  # fmt: skip


class Transport(driver.Transport):
    """Set as `app.transport`. `batched_topics` must be complete before the consumer is made."""

    Consumer = BatchConsumer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batched_topics: frozenset[str] = frozenset()
        #: Topic -> how many agents of this process take its runs.
        self.takers: Counter[str] = Counter()
        #: Of the worker's fetches; before the consumer is made.
        self.pace = FetchPace()

    def batch(self, topics: Sequence[str]) -> None:
        """Deliver these topics as runs of records; a topic is named once for each agent that takes it."""
        self.takers.update(topics)
        self.batched_topics = self.batched_topics | frozenset(topics)
        read_lean(topics)


class BatchSchema(faust.Schema):
    """Passes the list of records through; decoding is the agent's, inside its own bounds for poison records."""

    def loads_key(self, app: Any, message: Any, **kwargs: Any) -> Any:
        return None

    def loads_value(self, app: Any, message: Any, **kwargs: Any) -> Any:
        return message.value
