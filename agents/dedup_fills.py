"""account.fill_reports -> table seen_fills, execution.fills: each fill once, however often and however it is reported.

What is refused (a contradiction, a fill older than the horizon) goes to the dead letters and raises an alarm: nothing
is guessed. The sequence of fills depends on the reports alone, never on batching or timing.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from domain.errors import BadInput
from domain.fills import FillChange, Judgement, judge
from domain.times import raised_ms, watermark_ms
from schemas.account_build import fill_record_parts
from schemas.account_records import Fill, FillAmended, FillAmendedPayload, FillReport
from schemas.codec import encode_record
from schemas.records import Cause
from schemas.registry import DLQ, FILL_REPORTS, FILLS
from tables.intake import Intake
from tables.outlets import Outputs
from tables.processor import Processor
from tables.retention import DAY_MS, Clock, sweep
from tables.seen_fills import (
    FILL,
    SEEN_FILLS,
    WATERMARK_KEY,
    MarketTime,
    SeenValue,
    clock_of,
    entry_of,
    is_expired,
    market_key,
    table_key,
)
from tables.task import Task

log = logging.getLogger(__name__)
SOURCE = "dedup_fills"
#: Log lines of counts come at most this often: a storm of repeated pages must not become a storm of lines.
LOG_INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class Horizon:
    """`retention_ms`: how long an id is remembered, in event time. `entries_max`: fills per partition above which an
    alarm says that the table grows beyond what was planned; nothing is ever evicted for it."""

    retention_ms: int
    entries_max: int


class FillFold:
    """The fold of one process, with its counters (read at scrape time)."""

    def __init__(self, horizon: Horizon) -> None:
        self.horizon = horizon
        self.counts: Counter[str] = Counter()
        self._intake = Intake(SOURCE, self.counts, FILL_REPORTS)
        self.newest_fill_ms = 0
        self._logged: Counter[str] = Counter()
        self._logged_s = time.monotonic()
        self._alarmed: set[int] = set()

    def __call__(self, task: Task[SeenValue], topic: str, rows: list[Any]) -> Outputs:
        """Judge a run of reports; the fills, in order."""
        outputs: Outputs = {FILLS.name: []}
        clock, added = clock_of(task.table), 0
        newest_ms = clock.newest_ms
        for row, record in self._intake.records(task, topic, rows, outputs):
            newest_ms = watermark_ms(newest_ms, record.payload.ts_ms, record.ts_ingest, row.timestamp or 0)
            added += self._judge(task, newest_ms, row, record, outputs)
        clock = replace(clock, newest_ms=newest_ms, entries=clock.entries + added)
        horizon_ms = newest_ms - self.horizon.retention_ms
        clock = sweep(task.table, clock, lambda _, value: is_expired(task.table, value, horizon_ms), FILL)
        task.table.put(WATERMARK_KEY, clock)
        self.counts["records"] += len(rows)
        self._watch_bound(task.partition, clock)
        self._log_counts()
        return outputs

    def _judge(self, task: Task[SeenValue], newest_ms: int, row: Any, record: FillReport, outputs: Outputs) -> int:
        """Publish what one report says that is new; how many fills that are."""
        table = task.table
        judgement = judge(
            record.payload,
            lambda name: entry_of(table, name),
            newest_ms,
            self.horizon.retention_ms,
            check_twins=bool(task.ahead),
        )
        self.counts[judgement.verdict] += 1
        for name, entry in judgement.writes:
            table.put(table_key(name), entry)
        # Of every report, also the repeated: after a kill what was new the first time may be a repetition.
        ts_ms = self._market_ms(task, record)
        if judgement.verdict in ("conflicting", "too_old"):
            self._refuse(task, row, record, judgement, outputs)
        if not judgement.changes:
            return 0
        for n, change in enumerate(judgement.changes):
            cause = Cause(FILL_REPORTS.name, task.partition, row.offset, n)
            outputs[FILLS.name].append((row.key, _encode(change, record, ts_ms, cause)))
            self.newest_fill_ms = max(self.newest_fill_ms, change.fill.ts_ms)
        added = sum(change.previous is None for change in judgement.changes)
        self.counts["fills"] += added
        return added

    def _market_ms(self, task: Task[SeenValue], record: FillReport) -> int:
        key = market_key(record.payload.market_ticker)
        before = task.table.get(key)
        before_ms = before.ts_event_ms if isinstance(before, MarketTime) else 0
        ts_ms = raised_ms(before_ms, record.ts_event, record.ts_ingest)
        if ts_ms != before_ms:
            task.table.put(key, MarketTime(ts_ms))
        return ts_ms

    def _refuse(
        self, task: Task[SeenValue], row: Any, record: FillReport, judgement: Judgement, outputs: Outputs
    ) -> None:
        ticker = record.payload.market_ticker
        event = {"event": f"fill_{judgement.verdict}", "market_ticker": ticker, "detail": judgement.detail}
        log.error(json.dumps(event))
        wrong = BadInput(f"fill_{judgement.verdict}", judgement.detail)
        self._intake.refuse(task, FILL_REPORTS.name, row, ticker, wrong, outputs)

    def _watch_bound(self, partition: int, clock: Clock) -> None:
        if clock.entries > self.horizon.entries_max and partition not in self._alarmed:
            self._alarmed.add(partition)
            self.counts["bound_alarms"] += 1
            event = {"event": "seen_fills_bound", "partition": partition, "entries": clock.entries}
            log.error(json.dumps(event | {"entries_max": self.horizon.entries_max}))

    def _log_counts(self) -> None:
        """The seeds' events `fills_deduped`, `fills_ingested`, `fill_pipeline_stats`, of what came since the last."""
        if time.monotonic() - self._logged_s < LOG_INTERVAL_S:
            return
        since = self.counts - self._logged
        self._logged, self._logged_s = self.counts.copy(), time.monotonic()
        deduped = {"total_rows": since["records"], "new_rows": since["fills"], "amended": since["amended"]}
        log.info(json.dumps({"event": "fills_deduped", **deduped, "duplicates_filtered": since["duplicate"]}))
        if not since["fills"]:
            return
        log.info(json.dumps({"event": "fills_ingested", "count": since["fills"]}))
        now_ms = time.time_ns() // 1_000_000
        newest = {"first_fill_ts_iso": _iso(self.newest_fill_ms), "now_iso": _iso(now_ms)}
        log.info(
            json.dumps(
                {"event": "fill_pipeline_stats", **newest, "ts_age_sec": (now_ms - self.newest_fill_ms) // 1_000}
            )
        )

    def on_hole(self, task: Task[SeenValue], topic: str, start: int, end: int) -> Outputs:
        """Reports were deleted before they were read (the topic is kept for ever: somebody did it): say so. What they
        said comes again with the next complete walk of the venue's pages, if it is asked for."""
        self.counts["reports_lost_to_holes"] += end - start
        log.error(json.dumps({"event": "fill_reports_lost", "partition": task.partition, "from": start, "to": end}))
        return {}


def _encode(change: FillChange, record: FillReport, ts_ms: int, cause: Cause) -> bytes:
    key, payload = fill_record_parts(change)
    kind: type[Fill | FillAmended] = FillAmended if isinstance(payload, FillAmendedPayload) else Fill
    return encode_record(
        kind(
            ts_event=ts_ms,
            ts_ingest=record.ts_ingest,
            source=SOURCE,
            idempotency_key=key,
            cause=cause,
            payload=payload,  # type: ignore[arg-type]
        )
    )


def _iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms // 1_000))


PROCESSOR: Processor[SeenValue] = Processor(
    SOURCE,
    reads=(FILL_REPORTS,),
    table=SEEN_FILLS,
    writes=(FILLS, DLQ),
    fold=lambda conf: FillFold(Horizon(conf.fill_retention_days * DAY_MS, conf.seen_fills_max)),
)
