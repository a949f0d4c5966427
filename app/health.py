"""Health by progress: alive, ready and why not, and the end of a process that stands still while input flows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

from faust.types import TP

from domain.errors import Fatal

log = logging.getLogger(__name__)

#: How often progress is looked at.
WATCH_S = 2.0
#: Lag in records up to which a worker counts as caught up (readiness).
LAG_RECORDS_MAX = 100_000


def batched_tps(app: Any) -> list[TP]:
    """The partitions of our stages that this worker owns now."""
    sources = {topic for stage in app.stages for topic in stage.sources}
    try:
        return sorted(tp for tp in app.consumer.assignment() if tp.topic in sources)
    except Exception:
        # Before its first start the consumer has no assignment to tell; that is no error of ours.
        return []


def lags(app: Any) -> dict[str, dict[str, Any]]:
    """Per partition: what the group has committed, where the log ends, and the difference in records; of a sink also
    which store that is, what waits for it, how old the oldest record is that it does not hold, and why it is away."""
    rows: dict[str, dict[str, Any]] = {}
    for tp in batched_tps(app):
        committed = app.consumer._committed_offset.get(tp)
        end = app.consumer.highwater(tp)
        lag = None if end is None else max(0, end - (committed or 0))
        rows[f"{tp.topic}-{tp.partition}"] = {"committed": committed, "log_end": end, "lag_records": lag}
    for stage, feed in _feeds(app):
        row = rows.setdefault(f"{feed.tp.topic}-{feed.tp.partition}", {"lag_records": None})
        row["store"] = stage.name
        row["queued_records"] = feed.queued_records
        row["lag_s"] = round(feed.behind_s(), 3)
        row["unavailable"] = feed.unavailable
    return rows


def _feeds(app: Any) -> Iterator[tuple[Any, Any]]:
    return ((stage, feed) for stage in app.stages for feed in getattr(stage, "feeds", {}).values())


def not_ready_reasons(app: Any) -> list[str]:
    """Why this worker is not ready; empty when it is."""
    reasons: list[str] = []
    if app.rebalancing:
        reasons.append("rebalancing")
    owned = batched_tps(app)
    if not owned:
        reasons.append("no partitions assigned yet")
    for stage in app.stages:
        reasons += _stage_reasons(stage, app.kernel.settings.send_stall_s)
    for name, row in lags(app).items():
        reasons += _lag_reasons(name, row)
    return reasons


def _lag_reasons(name: str, row: dict[str, Any]) -> list[str]:
    """Why this partition is not caught up: its store is away, or the lag is above the bound."""
    records = row["lag_records"] or 0
    behind = f"lag of {records} records" + (f" and {row['lag_s']:.0f} s" if "lag_s" in row else "")
    where = f"{row['store']}: {name}" if "store" in row else name
    if row.get("unavailable"):
        return [f"{where}: {row['unavailable']}; {behind}"]
    return [f"{where}: {behind}, expected at most {LAG_RECORDS_MAX} records"] if records > LAG_RECORDS_MAX else []


def _stage_reasons(stage: Any, send_stall_s: int) -> list[str]:
    reasons = []
    if (reach := getattr(stage, "reach", None)) is not None and reach.unavailable:
        reasons.append(f"{stage.name}: what was written is not final: {reach.unavailable}")
    for job in getattr(stage, "restoring", []):
        left = "" if job.remaining_s is None else f", about {job.remaining_s:.0f} s left"
        reasons.append(
            f"restoring {stage.table.name}-{job.partition}: {job.records} records, {job.percent:.0f} %{left}"
        )
    told = getattr(getattr(stage, "fold", None), "reasons", None)
    if told is not None:
        reasons += told(stage.tasks.values())
    for task in getattr(stage, "tasks", {}).values():
        if task.pending and time.monotonic() - task.progress_s > send_stall_s:
            reasons.append(
                f"{stage.name}-{task.partition}: no checkpoint for {time.monotonic() - task.progress_s:.0f} s"
            )
    return reasons


async def watch_progress(app: Any) -> None:
    """End the process when nothing advances although work waits and the outside world answers."""
    bound_s = app.kernel.settings.commit_stall_s
    committed: dict[TP, tuple[int, float]] = {}
    while not app.should_stop:
        await asyncio.sleep(WATCH_S)
        for stage in app.stages:
            # Rows that the broker does not take are the outside world's fault: not ready, but alive.
            waiting = any(task.waiting for task in getattr(stage, "tasks", {}).values())
            if not waiting and stage.oldest_pending_s() > _bound_s(stage, bound_s):
                app.kernel.fail(
                    f"stage {stage.name}", Fatal(f"expected progress within {_bound_s(stage, bound_s)} s, was none")
                )
        _watch_commits(app, committed, bound_s)


def _bound_s(stage: Any, bound_s: int) -> float:
    """Parquet acknowledges at rotation: its bound lies above the rotation age."""
    rotation = getattr(getattr(stage, "sink", None), "rotation", None)
    return bound_s + (rotation.age_s if rotation is not None else 0.0)


def _watch_commits(app: Any, seen: dict[TP, tuple[int, float]], bound_s: int) -> None:
    now = time.monotonic()
    for tp in batched_tps(app):
        in_flight = app.consumer._in_flight.get(tp)
        offset = app.consumer._committed_offset.get(tp) or 0
        if not in_flight or not in_flight[0].acked or seen.get(tp, (None, 0))[0] != offset:
            seen[tp] = (offset, now)
        elif now - seen[tp][1] > bound_s:
            app.kernel.fail("commit", Fatal(f"{tp}: acknowledged batches were not committed for {bound_s} s"))
