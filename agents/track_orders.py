"""account.order_reports -> table open_orders, execution.order_states: what rests, from the venue's reports.

Push and poll tell the same in any order; the state is a maximum (`domain.orders`). What rests in a market is counted
from its live orders at each change, never rolled forward.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from domain.orders import LIVE, KnownOrder, apply_report, open_inventory, order_drift
from domain.times import raised_ms, watermark_ms
from schemas.account_build import order_record_parts
from schemas.account_records import OrderReport, OrderState, RestingOrders
from schemas.codec import encode_record
from schemas.records import Cause
from schemas.registry import DLQ, ORDER_REPORTS, ORDER_STATES
from tables.intake import Intake
from tables.open_orders import (
    OPEN_ORDERS,
    ORDER,
    WATERMARK_KEY,
    MarketOrders,
    OrderValue,
    clock_of,
    heard_ms_of,
    is_expired,
    live_orders,
    market_key,
    market_of,
    markets,
    order_key,
    order_of,
)
from tables.outlets import Outputs
from tables.processor import Processor
from tables.retention import DAY_MS, Clock, sweep
from tables.task import Task

log = logging.getLogger(__name__)
SOURCE = "track_orders"


class OrderFold:
    """The fold of one process, with its counters (read at scrape time). Orders are kept as long as fills."""

    def __init__(self, retention_ms: int) -> None:
        self.retention_ms = retention_ms
        self.counts: Counter[str] = Counter()
        self._intake = Intake(SOURCE, self.counts, ORDER_REPORTS)

    def __call__(self, task: Task[OrderValue], topic: str, rows: list[Any]) -> Outputs:
        """Fold a run of reports; the orders that changed, in order."""
        outputs: Outputs = {ORDER_STATES.name: []}
        clock = clock_of(task.table)
        for row, record in self._intake.records(task, topic, rows, outputs):
            if isinstance(record, RestingOrders):
                self._compare(task, record)
            else:
                clock = self._fold(task, clock, row, record, outputs)
        horizon_ms = clock.newest_ms - self.retention_ms
        clock = sweep(task.table, clock, lambda _, value: is_expired(value, horizon_ms), ORDER)
        task.table.put(WATERMARK_KEY, clock)
        self.counts["records"] += len(rows)
        return outputs

    def _fold(self, task: Task[OrderValue], clock: Clock, row: Any, record: OrderReport, outputs: Outputs) -> Clock:
        table, report = task.table, record.payload
        heard_ms = heard_ms_of(report)
        newest_ms = watermark_ms(clock.newest_ms, heard_ms or 0, record.ts_ingest, row.timestamp or 0)
        clock = replace(clock, newest_ms=newest_ms)
        known = order_of(table, report.order_id)
        if known is None and report.status not in LIVE and (heard_ms or 0) < clock.newest_ms - self.retention_ms:
            # Ended before the horizon: it may have been forgotten, and is not begun again.
            self.counts["too_old"] += 1
            return clock
        step = apply_report(known, report)
        self.counts[step.move] += 1
        if step.move == "impossible":
            log.warning(
                json.dumps({"event": "order_impossible", "market_ticker": report.market_ticker, "detail": step.detail})
            )
        changed = known is None or step.move == "changed"
        if changed:
            table.put(order_key(report.order_id), step.order)
        market = self._listed(task, step.order, record)
        if changed:
            outputs[ORDER_STATES.name].append((row.key, _encode(task, step.order, market, row.offset, record)))
        return replace(clock, entries=clock.entries + (known is None))

    def _listed(self, task: Task[OrderValue], order: KnownOrder, record: OrderReport) -> MarketOrders:
        """The market's list, holding the order exactly when it rests: also after a checkpoint cut short, which may
        have left the order without the list. Its time counts repeated reports too, for the same reason."""
        market = market_of(task.table, order.market_ticker)
        before = live = market.live
        ts_ms = raised_ms(market.ts_event_ms, record.ts_event, record.ts_ingest)
        if order.status in LIVE and order.order_id not in live:
            live = tuple(sorted((*live, order.order_id)))
        elif order.status not in LIVE and order.order_id in live:
            live = tuple(order_id for order_id in live if order_id != order.order_id)
        if live is not before or ts_ms != market.ts_event_ms:
            market = replace(market, live=live, ts_event_ms=ts_ms)
            if order.order_id in market.drift and live is not before:
                market = _with_drift(market, tuple(name for name in market.drift if name != order.order_id))
            task.table.put(market_key(order.market_ticker), market)
        return market

    def _compare(self, task: Task[OrderValue], record: RestingOrders) -> None:
        """The venue's list of resting orders beside ours: an alarm for each order that only one of us has."""
        report = record.payload
        market = market_of(task.table, report.market_ticker)
        if market.venue_as_of_ms is not None and report.as_of_ms < market.venue_as_of_ms:
            return
        live = live_orders(task.table, market)
        drift = order_drift(live, report.order_ids, lambda name: order_of(task.table, name), report.as_of_ms)
        new = [name for name in drift if name not in market.drift]
        task.table.put(
            market_key(report.market_ticker), _with_drift(replace(market, venue_as_of_ms=report.as_of_ms), drift)
        )
        self.counts["compared"] += 1
        if new:
            self.counts["drift_alarms"] += 1
            event = {"event": "open_orders_drift", "market_ticker": market.market_ticker, "orders": len(drift)}
            log.error(json.dumps(event | {"ours": len(live), "venue": len(report.order_ids), "first": new[0]}))

    def gauges(self, tasks: Iterable[Task[OrderValue]]) -> dict[str, tuple[str, int]]:
        """name -> (meaning, value) for the metrics."""
        drifting = [len(market.drift) for task in tasks if task.restored for market in markets(task.table)]
        return {"open_orders_drift": ("orders that rest only by our state or only by the venue's list", sum(drifting))}

    def on_hole(self, task: Task[OrderValue], topic: str, start: int, end: int) -> Outputs:
        """Reports were deleted before they were read (the topic is kept for ever: somebody did it). Polling says what
        rests again within its interval."""
        self.counts["reports_lost_to_holes"] += end - start
        log.error(json.dumps({"event": "order_reports_lost", "partition": task.partition, "from": start, "to": end}))
        return {}


def _with_drift(market: MarketOrders, drift: tuple[str, ...]) -> MarketOrders:
    """`drift_since_ms` is set at the first difference, cleared when there is none left."""
    since_ms = market.drift_since_ms if market.drift_since_ms is not None else market.venue_as_of_ms
    return replace(market, drift=drift, drift_since_ms=since_ms if drift else None)


def _encode(task: Task[OrderValue], order: KnownOrder, market: MarketOrders, offset: int, record: OrderReport) -> bytes:
    key, payload = order_record_parts(order, open_inventory(live_orders(task.table, market)))
    return encode_record(
        OrderState(
            ts_event=market.ts_event_ms,
            ts_ingest=record.ts_ingest,
            source=SOURCE,
            idempotency_key=key,
            cause=Cause(ORDER_REPORTS.name, task.partition, offset, 0),
            payload=payload,
        )
    )


PROCESSOR: Processor[OrderValue] = Processor(
    SOURCE,
    reads=(ORDER_REPORTS,),
    table=OPEN_ORDERS,
    writes=(ORDER_STATES, DLQ),
    fold=lambda conf: OrderFold(conf.fill_retention_days * DAY_MS),
)
