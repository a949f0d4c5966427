"""Prometheus metrics, computed when they are scraped: nothing is paid per record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.health import lags, not_ready_reasons

PREFIX = "kalshi_streams"


class WorkerCollector:
    """Reads the live counters of a worker's stages."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
        """All metrics, at this moment."""
        yield GaugeMetricFamily(
            f"{PREFIX}_ready", "1 when the worker is ready", value=int(not not_ready_reasons(self._app))
        )
        yield self._lag()
        for stage in self._app.stages:
            if hasattr(stage, "tasks"):
                yield from self._tasks(stage)
            else:
                yield from self._feeds(stage)

    def _lag(self) -> Metric:
        lag = GaugeMetricFamily(f"{PREFIX}_lag_records", "log end minus commit", labels=["topic", "partition"])
        for name, row in lags(self._app).items():
            topic, _, partition = name.rpartition("-")
            lag.add_metric([topic, partition], row["lag_records"] or 0)
        return lag

    def _tasks(self, stage: Any) -> Iterator[Metric]:
        counts = CounterMetricFamily(f"{PREFIX}_stage_events", "what became of the records", labels=["stage", "event"])
        for event, count in getattr(stage.fold, "counts", {}).items():
            counts.add_metric([stage.name, event], count)
        yield counts
        for name, text, attribute in (
            ("records", "records folded", "records_total"),
            ("checkpoints", "checkpoints finished", "checkpoints_total"),
            ("foreign_rewrites", "values written again after a foreign changelog writer", "foreign_rewrites"),
        ):
            family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=["stage", "partition"])
            for task in stage.tasks.values():
                family.add_metric([stage.name, str(task.partition)], getattr(task, attribute))
            yield family
        for name, text, read in (
            ("checkpoint_last_s", "duration of the last checkpoint", lambda t: t.checkpoint_last_s),
            ("residents", "states in memory", lambda t: len(t.table.residents)),
            ("unsent_rows", "rows the broker has not acknowledged", lambda t: t.waiting),
        ):
            gauge = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=["stage", "partition"])
            for task in stage.tasks.values():
                gauge.add_metric([stage.name, str(task.partition)], read(task))
            yield gauge
        holes = CounterMetricFamily(f"{PREFIX}_lost_offsets", "offsets deleted before they were read", labels=["stage"])
        holes.add_metric([stage.name], sum(end - start for _, _, start, end in stage.holes))
        yield holes

    def _feeds(self, stage: Any) -> Iterator[Metric]:
        for name, text, attribute in (
            ("sink_records", "records written", "records_total"),
            ("sink_writes", "writes finished", "writes_total"),
            ("sink_retries", "writes repeated because the store was away", "retries_total"),
        ):
            family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=["sink", "topic", "partition"])
            for feed in stage.feeds.values():
                family.add_metric([stage.name, feed.tp.topic, str(feed.tp.partition)], getattr(feed, attribute))
            yield family
        for name, text, attribute in (
            ("sink_queued_records", "records waiting for the store", "queued_records"),
            ("sink_write_last_s", "duration of the last write", "write_last_s"),
        ):
            gauge = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=["sink", "topic", "partition"])
            for feed in stage.feeds.values():
                gauge.add_metric([stage.name, feed.tp.topic, str(feed.tp.partition)], getattr(feed, attribute))
            yield gauge


def registry_of(app: Any) -> CollectorRegistry:
    """A registry of this worker and its process."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(app))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
