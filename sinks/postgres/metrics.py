"""What the Postgres sink counts. One increment per transaction, never per record."""

from prometheus_client import Counter, Histogram

ROWS = Counter("postgres_sink_rows_total", "Rows that landed, repeats not counted", ["table"])
BYTES = Counter("postgres_sink_copy_bytes_total", "Bytes sent by COPY")
BATCHES = Counter("postgres_sink_batches_total", "Transactions committed", ["topic"])
REPEATS = Counter("postgres_sink_repeats_total", "Derived records skipped: their cause was already stored", ["topic"])
REFUSED = Counter("postgres_sink_refused_total", "Records refused, by reason", ["topic", "reason"])
FAILURES = Counter("postgres_sink_failures_total", "Writes that ended without a known COMMIT, by kind", ["kind"])
HOLES = Counter("postgres_sink_hole_offsets_total", "Offsets the log no longer held", ["topic"])
FLUSH_SECONDS = Histogram(
    "postgres_sink_flush_seconds",
    "From the first statement of a transaction to its COMMIT",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
