"""Time in a processor: a tick is written to the log, acknowledged, and only then acted upon.

    cut = the vector of sources at this instant -> tick to the log -> nothing is folded until its acknowledgement
    -> on_time(task, at) -> its outputs, whose cause is the tick

So a kill at any step leaves either no tick, or one that the next owner finds in the log: it folds its sources up to
each cut exactly and computes the tick again, to the same bytes. At assignment an epoch record is written first; what
another incarnation appends behind it is void. `docs/decisions/0016-time-is-a-record.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.errors import Fatal
from schemas.clock_records import SourceEnd, Tick, TickEpoch, TickEpochPayload, TickPayload
from schemas.codec import encode_record, numbered_key
from schemas.records import Cause
from tables.crashpoints import reach
from tables.tick_log import TickLog

if TYPE_CHECKING:
    from tables.outlets import Outputs
    from tables.task import Task

log = logging.getLogger(__name__)

#: How long a wait for the next slot may last before the clock is looked at again: it may have been set.
CLOCK_CHECK_S = 1.0
#: While ticks of the log wait for their input no new one is made; looked at again after this.
PENDING_CHECK_S = 0.05


@dataclass(frozen=True, slots=True)
class Pace:
    """`every_ms`: the grid of the wall clock on which ticks lie (None: only those that a fold wants); `min_gap_ms`: the
    least time between two."""

    every_ms: int | None
    min_gap_ms: int = 0


@dataclass(frozen=True, slots=True)
class At:
    """The moment of a tick: its time, its place in the log, and whether records it should rest on were lost."""

    asof_ms: int
    written_ms: int
    topic: str
    partition: int
    offset: int
    incomplete: bool

    def cause(self, n: int) -> Cause:
        """The cause of the n-th output of this tick."""
        return Cause(self.topic, self.partition, self.offset, n)


OnTime = Callable[["Task[Any]", At], "Outputs"]


class Ticks:
    """The ticks of one task. `follow`: make none, compute those that the log has (for a replay beside the log)."""

    def __init__(
        self, processor: str, topic: str, tick_log: TickLog, pace: Pace, on_time: OnTime, now_ms: Callable[[], int]
    ) -> None:
        self.topic = topic
        self.pending: deque[tuple[int, Tick]] = deque()
        self.in_flight = False
        self.incomplete = False
        self.computed_total = 0
        self.void_total = 0
        self._processor = processor
        self._log = tick_log
        self._pace = pace
        self._on_time = on_time
        self._now_ms = now_ms
        self._incarnation = f"{processor[:40]}-{uuid.uuid4().hex[:12]}"
        self._wanted = asyncio.Event()
        self._chain = ""

    # --- restoring ---

    async def open(self, task: Task[Any]) -> None:
        """Write our epoch, and take up the ticks before it that the state does not include."""
        reach("tick.before_epoch")
        payload = TickEpochPayload(processor=self._processor, partition=task.partition, incarnation=self._incarnation)
        record = TickEpoch(
            ts_event=None,
            ts_ingest=self._now_ms(),
            source=self._processor,
            idempotency_key=numbered_key("tick_epoch", self._processor, task.partition, self._incarnation),
            cause=None,
            payload=payload,
        )
        end = await self._log.append(self._processor, encode_record(record))
        reach("tick.epoch_acked")
        start = task.vector.setdefault(self.topic, 0)
        self._chain = task.incarnation
        self.take(task, await self._log.read(start, end))
        if self.pending:
            log.info("%s-%d: %d ticks to compute again", self._processor, task.partition, len(self.pending))

    def take(self, task: Task[Any], records: list[tuple[int, Tick | TickEpoch]]) -> None:
        """Valid ticks of ours among these become pending; the others are void."""
        for offset, record in records:
            mine = record.payload.processor == self._processor and record.payload.partition == task.partition
            if mine and isinstance(record, TickEpoch):
                self._chain = record.payload.incarnation
            elif mine and isinstance(record, Tick):
                if record.payload.incarnation == self._chain:
                    self.pending.append((offset, record))
                else:
                    self.void_total += 1

    # --- folding up to a cut ---

    def limits(self, task: Task[Any]) -> dict[str, int] | None:
        """How far sources may be folded now; None: as far as they go."""
        if self.in_flight:
            return {}
        return _cut_of(self.pending[0][1]) if self.pending else None

    def compute_due(self, task: Task[Any]) -> Outputs | None:
        """The outputs of the next pending tick once every source has reached its cut; None while one has not."""
        if not self.pending or self.in_flight:
            return None
        offset, tick = self.pending[0]
        if any(task.vector.get(topic, 0) < end for topic, end in _cut_of(tick).items() if topic in task.sources):
            return None
        self.pending.popleft()
        return self._compute(task, offset, tick)

    def _compute(self, task: Task[Any], offset: int, tick: Tick) -> Outputs:
        payload = tick.payload
        task.vector[self.topic] = offset + 1
        task.incarnation, task.asof_ms = payload.incarnation, payload.asof_ms
        at = At(
            payload.asof_ms, tick.ts_ingest, self.topic, task.partition, offset, payload.incomplete or self.incomplete
        )
        self.incomplete = False
        outputs = self._on_time(task, at)
        self.computed_total += 1
        reach("tick.computed")
        return outputs

    # --- making ticks ---

    def want(self) -> None:
        """A fold asks for a tick as soon as the pace allows."""
        self._wanted.set()

    async def keep_ticking(self, task: Task[Any], done: Callable[[Outputs], None]) -> None:
        """Make ticks until the task is closed; `done` takes the outputs of each. None before what is pending is."""
        while not task.closed:
            if self.pending or task.draining or not task.restored:
                await asyncio.sleep(PENDING_CHECK_S)
                continue
            await self._wait_for_slot(task)
            if task.closed or task.draining or self.pending:
                continue
            asof_ms = self._slot(task)
            if asof_ms is not None:
                done(await self._tick(task, asof_ms))

    async def _wait_for_slot(self, task: Task[Any]) -> None:
        now_ms, last_ms, pace = self._now_ms(), task.asof_ms, self._pace
        gap_ms = max(0, last_ms + pace.min_gap_ms - now_ms)
        if self._wanted.is_set() and gap_ms:
            await asyncio.sleep(min(gap_ms / 1000, CLOCK_CHECK_S))
            return
        wait_s = CLOCK_CHECK_S
        if pace.every_ms is not None:
            wait_s = min(wait_s, (pace.every_ms - now_ms % pace.every_ms) / 1000)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), wait_s)

    def _slot(self, task: Task[Any]) -> int | None:
        """The time of the tick that is due now, None if none is. Times rise, whatever the clock does."""
        now_ms, pace = self._now_ms(), self._pace
        if now_ms - task.asof_ms < pace.min_gap_ms:
            return None
        if self._wanted.is_set():
            self._wanted.clear()
            return now_ms if now_ms > task.asof_ms else None
        if pace.every_ms is None:
            return None
        slot_ms = now_ms - now_ms % pace.every_ms
        return slot_ms if slot_ms > task.asof_ms else None

    async def _tick(self, task: Task[Any], asof_ms: int) -> Outputs:
        self.in_flight = True
        cut = [SourceEnd(topic, task.vector[topic]) for topic in task.sources]
        payload = TickPayload(
            processor=self._processor,
            partition=task.partition,
            incarnation=self._incarnation,
            asof_ms=asof_ms,
            cut=cut,
            incomplete=self.incomplete,
        )
        tick = Tick(
            ts_event=asof_ms,
            ts_ingest=self._now_ms(),
            source=self._processor,
            idempotency_key=numbered_key("tick", self._processor, task.partition, self._incarnation, f"{asof_ms:013d}"),
            cause=None,
            payload=payload,
        )
        reach("tick.before_send")
        offset = await self._log.append(self._processor, encode_record(tick))
        reach("tick.acked")
        if self._log.holder(self._processor) != self._incarnation:
            raise Fatal(
                f"{self._processor}-{task.partition}: another worker ticks here: its epoch came before our tick"
            )
        if task.closed:
            return {}
        self.in_flight = False
        return self._compute(task, offset, tick)


def _cut_of(tick: Tick) -> dict[str, int]:
    return {source.topic: source.next_offset for source in tick.payload.cut}
