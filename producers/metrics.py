"""What producer market measures. One registry per process; /status and /metrics read the same numbers.

Counters that change with every frame are plain integers (`FeedCounts`), collected only when somebody asks: a labelled
Prometheus counter costs as much as the translation of a frame.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass
class FeedCounts:
    """Every frame is counted once in `frames_in` and once in one of the four classes; they always sum up."""

    records_caused_by_frames: int = 0  # frames that became a record of market.book_updates or market.trades
    control_frames: int = 0
    duplicates_ignored: int = 0
    dead_letters: int = 0
    gaps: int = 0
    frames_missing: int = 0  # what the gaps sum to
    trade_gaps: int = 0  # of these, gaps on sids that carry no books
    implausible_times: int = 0  # frames whose time is ahead of our clock beyond belief: taken without it
    reconnects: int = 0
    snapshot_requests_received: int = 0
    snapshot_requests_refused: int = 0
    snapshots_asked: int = 0
    resets: Counter[str] = field(default_factory=Counter)
    venue_errors: Counter[int] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    last_frame_ms: int | None = None

    @property
    def frames_in(self) -> int:
        """Text and binary frames received since the process started."""
        return self.records_caused_by_frames + self.control_frames + self.duplicates_ignored + self.dead_letters


class GaugeSource:
    """Named numbers that somebody computes on demand."""

    def gauges(self) -> dict[str, float]:
        """Metric name (without prefix) to its value now."""
        raise NotImplementedError


_PREFIX = "kalshi_producer_"
_SCALARS = {
    "records_caused_by_frames": "Frames that became a record",
    "control_frames": "Acknowledgements and errors from the venue",
    "duplicates_ignored": "Frames at or below the last seq of their sid",
    "dead_letters": "Frames refused into dlq",
    "gaps": "Holes in the seq of a sid",
    "frames_missing": "Frames that the holes sum to",
    "trade_gaps": "Holes on sids without books",
    "implausible_times": "Frames whose time is ahead of our clock beyond belief, taken without it",
    "reconnects": "Connections lost",
    "snapshot_requests_received": "Requests read from market.snapshot_requests",
    "snapshot_requests_refused": "Requests of another session or another market",
    "snapshots_asked": "Markets for which get_snapshot was sent",
}
_LABELLED = {
    "resets": ("book_reset records", "reason"),
    "venue_errors": ("Error frames from the venue", "code"),
    "refusals": ("Frames refused", "reason"),
}


class FeedCollector(Collector):
    """Turns the plain counts into Prometheus metrics at scrape time."""

    def __init__(self, counts: FeedCounts, sources: list[GaugeSource]) -> None:
        self._counts = counts
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """All metrics, now."""
        counts = self._counts
        yield CounterMetricFamily(_PREFIX + "frames_in", "Frames received", value=counts.frames_in)
        for name, text in _SCALARS.items():
            yield CounterMetricFamily(_PREFIX + name, text, value=getattr(counts, name))
        for name, (text, label) in _LABELLED.items():
            family = CounterMetricFamily(_PREFIX + name, text, labels=[label])
            for key, value in getattr(counts, name).items():
                family.add_metric([str(key)], value)
            yield family
        for source in self._sources:
            for name, value in source.gauges().items():
                yield GaugeMetricFamily(_PREFIX + name, name.replace("_", " "), value=value)


def feed_registry(counts: FeedCounts, sources: list[GaugeSource]) -> CollectorRegistry:
    """A registry of its own, so that tests and processes never share counts."""
    registry = CollectorRegistry()
    registry.register(FeedCollector(counts, sources))
    return registry
