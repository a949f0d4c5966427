"""The embedded engines: real Kafka and real PostgreSQL from packages, started, checked and stopped by us.

Nothing here knows what runs on top. ClickHouse has no process of its own: chDB lives in the sink-clickhouse worker.
"""

from domain.errors import KalshiStreamsError


class EngineFailed(KalshiStreamsError):
    """An engine did not start, or stopped answering. The text is one line naming the engine, the reason and its log."""
