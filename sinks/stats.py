"""What a sink did since its start: read when `/metrics` is scraped, changed once per flush and never per record."""

import threading
from bisect import bisect_left
from collections import Counter
from itertools import accumulate

#: Upper bounds of the flush histogram: a Postgres transaction takes milliseconds, a large Parquet file seconds.
FLUSH_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class SinkStats:
    """Counters of one sink. Safe to change from threads: inserts and files are written there.

    `rows` and `sent_bytes` go by table (Parquet: by topic): rows stored, bytes given to the store for them (COPY data,
    Arrow in memory, the file's size). `events` counts what else happened, by a name out of the code: `skipped` (the
    store held it already), `repeats` (a derived record whose cause is stored), `hole_offsets` (gone from the log),
    `refused_<reason>`, and the kinds of failure that a flush recovered from.
    """

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.sent_bytes: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.flush_s = 0.0
        self._flushes = [0] * (len(FLUSH_BUCKETS_S) + 1)
        self._lock = threading.Lock()

    def landed(self, table: str, rows: int, sent_bytes: int) -> None:
        """The store took rows."""
        with self._lock:
            self.rows[table] += rows
            self.sent_bytes[table] += sent_bytes

    def flushed(self, seconds: float) -> None:
        """One transaction, round of inserts or file became durable."""
        with self._lock:
            self.flush_s += seconds
            self._flushes[bisect_left(FLUSH_BUCKETS_S, seconds)] += 1

    def happened(self, event: str, times: int = 1) -> None:
        """Count something else."""
        if times:
            with self._lock:
                self.events[event] += times

    @property
    def flushes(self) -> int:
        """Flushes that became durable."""
        return sum(self._flushes)

    def flush_buckets(self) -> list[tuple[str, float]]:
        """(upper bound in seconds, flushes up to it), as Prometheus has histograms."""
        return list(zip([*map(str, FLUSH_BUCKETS_S), "+Inf"], accumulate(self._flushes), strict=True))
