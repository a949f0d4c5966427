"""ClickHouse's HTTP interface, read-only, over the embedded engine: every reader (qa, Grafana, curl) speaks HTTP."""

from app.http_guard import guarded, http_guard
from app.settings import Settings
from domain.errors import UserMistake
from sinks.clickhouse.http import ReadOnlyHttp
from sinks.clickhouse.store import Store

LOOPBACK = "127.0.0.1"
#: What clickhouse-connect, ClickHouse's own clients and curl (`--data-binary`) give a query's text.
QUERY_TYPES = frozenset({"", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded"})


class ClickHouseHttp:
    """Made when the sink has opened the engine; only this process may have its path open."""

    def __init__(self, store: Store, conf: Settings) -> None:
        self._store = store
        self._port = conf.clickhouse_http_port
        self._guard = guarded(http_guard(LOOPBACK, conf.http_allowed_hosts, QUERY_TYPES))
        self._http: ReadOnlyHttp | None = None

    async def start(self) -> None:
        """Listen on 127.0.0.1:CLICKHOUSE_HTTP_PORT. Raises UserMistake when the port is taken."""
        self._http = ReadOnlyHttp(self._store, self._guard)
        try:
            await self._http.start(LOOPBACK, self._port)
        except OSError as taken:
            raise UserMistake(f"CLICKHOUSE_HTTP_PORT {self._port}: {taken.strerror}") from None

    async def stop(self) -> None:
        """Stop listening."""
        if self._http is not None:
            await self._http.stop()
