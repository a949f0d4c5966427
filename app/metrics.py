"""Prometheus metrics, computed when they are scraped: nothing is paid per record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from app.health import lags, not_ready_reasons
from sinks.stats import SinkStats

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
        for name, (text, value) in getattr(stage.fold, "gauges", _no_gauges)(stage.tasks.values()).items():
            yield GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)
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
            ("sink_lag_s", "age of the oldest record that is not durable in the store", "behind_s"),
        ):
            gauge = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=["sink", "topic", "partition"])
            for feed in stage.feeds.values():
                value = getattr(feed, attribute)
                value = value() if callable(value) else value
                gauge.add_metric([stage.name, feed.tp.topic, str(feed.tp.partition)], value)
            yield gauge
        yield from _sink_stats(stage.name, stage.sink.stats)
        for companion in stage.companions:
            if hasattr(companion, "lag_s_by_ticker"):
                yield _levels_lag(companion.lag_s_by_ticker)


def _sink_stats(sink: str, stats: SinkStats) -> Iterator[Metric]:
    """What the sink itself counts: rows and bytes by table, seconds per flush, and what else happened."""
    for name, text, label, counts in (
        ("sink_rows", "rows stored, repeats not counted", "table", stats.rows),
        ("sink_sent_bytes", "bytes given to the store for them", "table", stats.sent_bytes),
        ("sink_events", "what else happened", "event", stats.events),
    ):
        family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=["sink", label])
        for value, count in sorted(counts.items()):
            family.add_metric([sink, value], count)
        yield family
    flushes = HistogramMetricFamily(
        f"{PREFIX}_sink_flush_seconds", "a transaction, a round of inserts, or a file", labels=["sink"]
    )
    flushes.add_metric([sink], buckets=stats.flush_buckets(), sum_value=stats.flush_s)
    yield flushes


def _levels_lag(lag_s_by_ticker: dict[str, float]) -> Metric:
    """The worst few markets only: tickers come and go without end."""
    family = GaugeMetricFamily(
        f"{PREFIX}_latest_levels_lag_s_by_ticker",
        "newest event minus newest level, the worst markets with events in the last minute",
        labels=["market_ticker"],
    )
    for ticker, lag_s in lag_s_by_ticker.items():
        family.add_metric([ticker], lag_s)
    return family


def _no_gauges(_tasks: Any) -> dict[str, tuple[str, int]]:
    return {}


def registry_of(app: Any) -> CollectorRegistry:
    """A registry of this worker and its process."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(app))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
