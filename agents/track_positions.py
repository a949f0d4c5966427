"""execution.fills, account.position_reports -> table positions, execution.positions: our position, from fills alone.

Opening, settlements, corrections and the venue's own word come beside the fills. What is held in the end does not
depend on how the two inputs interleave; what is published on the way does, and after a kill they are read in another
order. So every record makes a revision: it is the number of records that the state includes, and the state with all of
them has the highest, whatever was published before. For the same reason its records have no cause to be skipped by.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from domain.errors import BadInput
from domain.position_ledger import (
    PositionState,
    Step,
    apply_correction,
    apply_fill,
    apply_opening,
    apply_settlement,
    apply_venue_report,
)
from domain.positions import Entry, Opening, Settlement
from domain.times import raised_ms, watermark_ms
from schemas import account_records as a
from schemas.account_build import change_of, position_record_parts
from schemas.codec import encode_record
from schemas.records import Cause, Record
from schemas.registry import DLQ, FILLS, POSITION_REPORTS, POSITIONS
from tables import positions
from tables.intake import Intake
from tables.outlets import Outputs
from tables.positions import MarketPosition, is_over
from tables.processor import Processor
from tables.retention import DAY_MS, SWEEP_INTERVAL_MS, Clock, sweep
from tables.task import Task

log = logging.getLogger(__name__)
SOURCE = "track_positions"
#: Three polls of the account: a difference that outlasts them is no matter of timing.
DRIFT_ALARM_MS = 30_000
#: Markets named in one reason of /readyz; the others are counted.
DRIFT_SHOWN = 8


class PositionFold:
    """The fold of one process, with its counters (read at scrape time)."""

    def __init__(self, retention_ms: int) -> None:
        """`retention_ms`: how long a settled market is remembered after the last word about it."""
        self.counts: Counter[str] = Counter()
        self._retention_ms = retention_ms
        #: Per task: the time of its records, and how far the sweep of settled markets is. Not stored: a new task begins
        #: with a sweep.
        self._clocks: WeakKeyDictionary[Task[MarketPosition], Clock] = WeakKeyDictionary()
        self._intake = Intake(SOURCE, self.counts, FILLS, POSITION_REPORTS)
        #: Per task, the markets that differ from the venue's own, once somebody asked.
        self._drifts: WeakKeyDictionary[Task[MarketPosition], dict[bytes, PositionState]] = WeakKeyDictionary()

    def __call__(self, task: Task[MarketPosition], topic: str, rows: list[Any]) -> Outputs:
        """Fold a run of records of one of the two inputs; the positions after each, in order."""
        outputs: Outputs = {POSITIONS.name: []}
        newest_ms = 0
        for row, record in self._intake.records(task, topic, rows, outputs):
            told_ms = watermark_ms(0, None, record.ts_ingest, row.timestamp or 0)
            newest_ms = max(newest_ms, told_ms)
            self._fold(task, topic, row, record, told_ms, outputs)
        if newest_ms:
            self._let_go(task, newest_ms)
        self.counts["records"] += len(rows)
        self.counts["positions"] += len(outputs[POSITIONS.name])
        return outputs

    def _let_go(self, task: Task[MarketPosition], newest_ms: int) -> None:
        """Settled markets go, a slice at a time: each was past the horizon for a day, so no record misses it."""
        clock = self._clocks.get(task) or Clock(swept_ms=newest_ms - SWEEP_INTERVAL_MS)
        clock = replace(clock, newest_ms=max(newest_ms, clock.newest_ms))
        horizon_ms = newest_ms - self._retention_ms - SWEEP_INTERVAL_MS
        self._clocks[task] = sweep(task.table, clock, lambda _, position: is_over(position, horizon_ms), b"")

    def _fold(
        self, task: Task[MarketPosition], topic: str, row: Any, record: Record, told_ms: int, outputs: Outputs
    ) -> None:
        position, horizon_ms = task.table.get(row.key), told_ms - self._retention_ms
        if position is None or is_over(position, horizon_ms):
            if isinstance(record, a.PositionCorrection) and record.payload.ts_ms < horizon_ms:
                # A person's word on a market that is forgotten, or may be: it would begin at zero.
                ticker = record.payload.market_ticker
                wrong = BadInput("position_too_old", f"{ticker}: settled and forgotten, or never held")
                self._intake.refuse(task, topic, row, ticker, wrong, outputs)
                return
            position = MarketPosition(PositionState(record.payload.market_ticker))  # type: ignore[attr-defined]
        if topic == FILLS.name:
            if _came_before(position, record.cause):
                self.counts["repeats"] += 1
                return
            step = self._fill(position, record)
        else:
            step = self._report(position, record)
        before = position.state
        position.assign(step)
        position.state = replace(position.state, revision=before.revision + 1)
        position.told_ms = max(position.told_ms, told_ms)
        task.table.put(row.key, position)
        self._watch(before, position.state)
        if task in self._drifts:
            self._note_drift(self._drifts[task], row.key, position.state)
        outputs[POSITIONS.name].append((row.key, _encode(position, record)))

    def _fill(self, position: MarketPosition, record: Any) -> Step:
        change = change_of(record.payload)
        self.counts["fills" if change.previous is None else "amendments"] += 1
        return apply_fill(position.state, position.chunks.__getitem__, change.fill, change.previous)

    def _report(self, position: MarketPosition, record: Any) -> Step:
        state, lookup, payload = position.state, position.chunks.__getitem__, record.payload
        if isinstance(record, a.PositionReport):
            return apply_venue_report(state, payload.position_e2, payload.as_of_ms)
        if isinstance(record, a.OpeningPosition):
            opening = Opening(
                payload.position_e2, payload.cost_e6, payload.realized_pnl_e6, payload.fees_e6, payload.as_of_ms
            )
            return apply_opening(state, lookup, opening)
        if isinstance(record, a.SettlementReport):
            settlement = Settlement(payload.value_e4, payload.revenue_e6, payload.settled_ts_ms)
            return apply_settlement(state, settlement)
        if payload.correction_id in position.corrections:
            return Step(state, changed=False)
        position.corrections = (*position.corrections, payload.correction_id)
        return apply_correction(state, lookup, _correction(payload))

    def _watch(self, before: PositionState, after: PositionState) -> None:
        """An alarm, once, for a difference to the venue's own that lasts: fills and positions travel apart, so they
        differ for a moment at every trade."""
        if after.settlement is not None and before.settlement is None:
            self.counts["settlements"] += 1
        if _drift_ms(before) < DRIFT_ALARM_MS <= _drift_ms(after) and after.venue is not None:
            self.counts["drift_alarms"] += 1
            event = {"event": "position_drift", "market_ticker": after.market_ticker, "ours_e2": after.fold.count_e2}
            log.error(json.dumps(event | {"venue_e2": after.venue.position_e2, "since_ms": after.venue.drift_since_ms}))

    def gauges(self, tasks: Iterable[Task[MarketPosition]]) -> dict[str, tuple[str, int]]:
        """name -> (meaning, value) for the metrics."""
        drifting = sum(len(self._drifting(task)) for task in tasks if task.restored)
        return {"positions_drift_markets": ("markets whose position differs from the venue's own", drifting)}

    def reasons(self, tasks: Iterable[Task[MarketPosition]]) -> list[str]:
        """Why the positions are not to be relied on, for readiness: markets that differ for longer than a poll may."""
        lasting = sorted(
            f"{state.market_ticker} (ours {state.fold.count_e2 / 100:.2f}, venue {state.venue.position_e2 / 100:.2f})"
            for task in tasks
            if task.restored
            for state in self._drifting(task).values()
            if _drift_ms(state) >= DRIFT_ALARM_MS and state.venue is not None
        )
        shown = ", ".join(lasting[:DRIFT_SHOWN]) + (
            f" and {len(lasting) - DRIFT_SHOWN} more" * (len(lasting) > DRIFT_SHOWN)
        )
        return [f"positions differ from the venue's own: {shown}"] if lasting else []

    def _drifting(self, task: Task[MarketPosition]) -> dict[bytes, PositionState]:
        """The markets of a task that differ from the venue now. The table is read once, not at each question."""
        known = self._drifts.get(task)
        if known is None:
            known = self._drifts[task] = {}
            for key, position in task.table.items():
                self._note_drift(known, key, position.state)
        return known

    @staticmethod
    def _note_drift(drifts: dict[bytes, PositionState], key: bytes, state: PositionState) -> None:
        if state.venue is not None and state.venue.drift_since_ms is not None:
            drifts[key] = state
        else:
            drifts.pop(key, None)

    def on_hole(self, task: Task[MarketPosition], topic: str, start: int, end: int) -> Outputs:
        """Fills or reports were deleted before they were read (both topics are kept for ever: somebody did it). The
        positions of this partition lack them: the comparison with the venue's own will show where."""
        self.counts["records_lost_to_holes"] += end - start
        event = {"event": "position_records_lost", "topic": topic, "partition": task.partition}
        log.error(json.dumps(event | {"from": start, "to": end}))
        return {}


def _came_before(position: MarketPosition, cause: Cause | None) -> bool:
    """Whether its writer was killed and published this fill again. Judged per market, not by the partition's mark
    (`Task.repeats`): after a checkpoint cut short a market may include a fill that the mark does not know of."""
    if cause is None:
        return False
    if (cause.offset, cause.n) <= position.folded:
        return True
    position.folded = (cause.offset, cause.n)
    return False


def _drift_ms(state: PositionState) -> int:
    """How long ours and the venue's have differed, as of the venue's last word."""
    venue = state.venue
    return 0 if venue is None or venue.drift_since_ms is None else venue.as_of_ms - venue.drift_since_ms


def _correction(payload: a.PositionCorrectionPayload) -> Entry:
    return Entry(
        payload.ts_ms,
        f"correction-{payload.correction_id}",
        payload.signed_count_e2,
        payload.yes_price_e4,
        "correction",
        payload.fees_e6,
    )


def _encode(position: MarketPosition, record: Record) -> bytes:
    position.ts_event_ms = raised_ms(position.ts_event_ms, record.ts_event, record.ts_ingest)
    key, payload = position_record_parts(position.state)
    return encode_record(
        a.Position(
            ts_event=position.ts_event_ms,
            ts_ingest=record.ts_ingest,
            source=SOURCE,
            idempotency_key=key,
            cause=None,
            payload=payload,
        )
    )


PROCESSOR: Processor[MarketPosition] = Processor(
    SOURCE,
    reads=(FILLS, POSITION_REPORTS),
    table=positions.POSITIONS,
    writes=(POSITIONS, DLQ),
    fold=lambda conf: PositionFold(conf.fill_retention_days * DAY_MS),
)
