"""execution.orders, account.order_reports, execution.fills -> table decision_links, execution.decision_links.

An order action names a decision and a client order id; a report or a fill says which order of the venue that is. When
both are known, in whatever order they come, the order's decision is published once; all its fills are linked by it.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from weakref import WeakSet

from domain.decision_links import ClientOrder, Decision, LinkedOrder, decided, named, with_decision
from domain.times import watermark_ms
from schemas.account_records import Fill, FillAmended, OrderReport, RestingOrders
from schemas.codec import encode_record, numbered_key
from schemas.order_records import DecisionLink, DecisionLinkPayload, OrderAction
from schemas.registry import DECISION_LINKS, DLQ, FILLS, ORDER_REPORTS, ORDERS
from tables import decision_links
from tables.decision_links import (
    ORDER,
    TOTALS_KEY,
    WATERMARK_KEY,
    LinkTotals,
    LinkValue,
    client_key,
    client_of,
    clock_of,
    is_expired,
    order_key,
    order_of,
    recounted,
    totals_of,
)
from tables.intake import Intake
from tables.outlets import Outputs
from tables.processor import Processor
from tables.retention import DAY_MS, SWEEP_INTERVAL_MS, sweep
from tables.task import Task

log = logging.getLogger(__name__)
SOURCE = "link_decisions"


class LinkFold:
    """The fold of one process, with its counters (read at scrape time). `retention_ms` is that of fills."""

    def __init__(self, retention_ms: int) -> None:
        self.retention_ms = retention_ms
        self.counts: Counter[str] = Counter()
        self._intake = Intake(SOURCE, self.counts, ORDERS, ORDER_REPORTS, FILLS)
        self._recounted: WeakSet[Task[LinkValue]] = WeakSet()

    def __call__(self, task: Task[LinkValue], topic: str, rows: list[Any]) -> Outputs:
        """Fold a run of one of the three inputs; the links that became known, in order."""
        outputs: Outputs = {DECISION_LINKS.name: []}
        if task.ahead and task not in self._recounted:
            # A checkpoint was cut short by a kill: it may have left the orders without the totals.
            self._recounted.add(task)
            task.table.put(TOTALS_KEY, recounted(task.table))
        newest_ms = clock_of(task.table).newest_ms
        for row, record in self._intake.records(task, topic, rows, outputs):
            newest_ms = watermark_ms(newest_ms, None, record.ts_ingest, row.timestamp or 0)
            if isinstance(record, RestingOrders):
                continue
            outputs[DECISION_LINKS.name] += [(row.key, link) for link in self._learn(task, record)]
        self._forget(task, newest_ms)
        self.counts["records"] += len(rows)
        self.counts["links"] += len(outputs[DECISION_LINKS.name])
        return outputs

    def _learn(self, task: Task[LinkValue], record: OrderAction | OrderReport | Fill | FillAmended) -> Iterable[bytes]:
        payload = record.payload
        if isinstance(record, OrderAction) and record.payload.kind != "place":
            return ()  # a cancel has a decision too, but the fills come from the one that placed the order
        if isinstance(record, Fill):
            self._count_fill(task, record)
        if payload.client_order_id is None:
            return ()  # not placed by us
        before = client_of(task.table, payload.client_order_id)
        if isinstance(record, OrderAction):
            ts_event = record.ts_event if record.ts_event is not None else record.ts_ingest
            after = decided(before, Decision(ts_event, record.payload.decision_id, record.ts_ingest))
        else:
            after = named(before, record.payload.order_id)
        if after is None:
            self.counts["conflicting"] += 1
            event = {"event": "decision_link_conflicting", "client_order_id": payload.client_order_id}
            log.error(json.dumps(event | {"market_ticker": payload.market_ticker}))
            return ()
        if after != before or record.ts_ingest - before.heard_ms > SWEEP_INTERVAL_MS:
            heard_ms = max(before.heard_ms, record.ts_ingest)
            task.table.put(client_key(payload.client_order_id), replace(after, heard_ms=heard_ms))
        if not after.is_linked or before.is_linked:
            return ()
        return (self._link(task, payload.market_ticker, payload.client_order_id, after),)

    def _count_fill(self, task: Task[LinkValue], fill: Fill) -> None:
        """One more fill of its order; not one that its killed writer published again."""
        table, order_id, cause = task.table, fill.payload.order_id, fill.cause
        order = order_of(table, order_id)
        counted = order.counted if cause is None else (cause.offset, cause.n)
        if cause is not None and counted <= order.counted:
            self.counts["repeats"] += 1
            return
        heard_ms = max(order.heard_ms, fill.ts_ingest)
        order = replace(order, fills=order.fills + 1, counted=counted, heard_ms=heard_ms)
        table.put(order_key(order_id), order)
        self._add(task, 1, int(order.decision is not None))

    def _link(self, task: Task[LinkValue], ticker: str, client_order_id: str, client: ClientOrder) -> bytes:
        table, order_id, decision = task.table, client.order_id or "", client.decision
        assert decision is not None
        before = order_of(table, order_id)
        order = replace(with_decision(before, decision), heard_ms=max(before.heard_ms, decision.ts_ingest))
        table.put(order_key(order_id), order)
        if before.decision is None:
            self._add(task, 0, before.fills)
        payload = DecisionLinkPayload(
            market_ticker=ticker,
            order_id=order_id,
            client_order_id=client_order_id,
            decision_id=decision.decision_id,
        )
        return encode_record(
            DecisionLink(
                ts_event=decision.ts_event,
                ts_ingest=decision.ts_ingest,
                source=SOURCE,
                idempotency_key=numbered_key("decision_link", ticker, order_id, client_order_id),
                cause=None,
                payload=payload,
            )
        )

    def _add(self, task: Task[LinkValue], fills: int, linked: int) -> None:
        totals = totals_of(task.table)
        task.table.put(TOTALS_KEY, LinkTotals(max(0, totals.fills + fills), max(0, totals.linked + linked)))
        self.counts["fills"] += max(0, fills)
        self.counts["fills_linked"] += max(0, linked)

    def _forget(self, task: Task[LinkValue], newest_ms: int) -> None:
        horizon_ms = newest_ms - self.retention_ms

        def expired(_: bytes, value: LinkValue) -> bool:
            gone = is_expired(value, horizon_ms)
            if gone and isinstance(value, LinkedOrder):
                self._add(task, -value.fills, -value.fills if value.decision is not None else 0)
            return gone

        clock = sweep(task.table, replace(clock_of(task.table), newest_ms=newest_ms), expired, ORDER)
        task.table.put(WATERMARK_KEY, clock)

    def gauges(self, tasks: Iterable[Task[LinkValue]]) -> dict[str, tuple[str, int]]:
        """name -> (meaning, value) for the metrics."""
        totals = [totals_of(task.table) for task in tasks if task.restored]
        return {
            "fills_remembered": ("fills whose order is remembered", sum(t.fills for t in totals)),
            "fills_linked": ("of them, fills whose decision is known", sum(t.linked for t in totals)),
        }

    def on_hole(self, task: Task[LinkValue], topic: str, start: int, end: int) -> Outputs:
        """Records were deleted before they were read (the topics are kept for ever: somebody did it). Their orders stay
        without a decision, unless a later report names them."""
        self.counts["records_lost_to_holes"] += end - start
        event = {"event": "decision_records_lost", "topic": topic, "partition": task.partition}
        log.error(json.dumps(event | {"from": start, "to": end}))
        return {}


PROCESSOR: Processor[LinkValue] = Processor(
    SOURCE,
    reads=(ORDERS, ORDER_REPORTS, FILLS),
    table=decision_links.DECISION_LINKS,
    writes=(DECISION_LINKS, DLQ),
    fold=lambda conf: LinkFold(conf.fill_retention_days * DAY_MS),
)
