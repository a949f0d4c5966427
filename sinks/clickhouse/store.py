"""The connection: chDB in this process or a ClickHouse server, behind the few calls the sink makes.

All calls block and belong in a thread. One INSERT is one block: settings see to it that nothing splits or joins it.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from domain.errors import UserMistake
from sinks.contract import SinkUnavailable

BLOCK_ROWS_MAX = 1_000_000  # ClickHouse splits no block below this; the sink cuts far below
CONNECT_TIMEOUT_S = 10
QUERY_TIMEOUT_S = 60  # an insert of 100,000 rows takes under a second; beyond this the outcome counts as unknown
INSERT_PREFIX = "kalshi-streams-sink"


class Store:
    """One database of one ClickHouse. `path` is set for chDB, which only one process may open."""

    def __init__(self, database: str, path: Path | None = None, **server: Any) -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", database):
            raise UserMistake(f"CLICKHOUSE_DATABASE: expected a plain name, was {database!r}")
        self.database = database
        self.path = path
        self._server = server
        self._client: Any = None
        self._inserting = threading.Lock()  # a client serves one call at a time; a second one has queries of its own

    @property
    def client(self) -> Any:
        """The clickhouse-connect client. Raises SinkUnavailable before `open`."""
        if self._client is None:
            raise SinkUnavailable("clickhouse: not connected")
        return self._client

    def open(self) -> None:
        """Connect. Raises SinkUnavailable."""
        if self._client is None:
            self._client = self.new_client()

    def new_client(self) -> Any:
        """A further client of the same store (a reader beside the writer). Raises SinkUnavailable."""
        try:
            if self.path is not None:
                self.path.mkdir(parents=True, exist_ok=True)
                return clickhouse_connect.get_client(dsn=f"chdb:///{self.path.absolute()}")
            return clickhouse_connect.get_client(
                **self._server,
                connect_timeout=CONNECT_TIMEOUT_S,
                send_receive_timeout=QUERY_TIMEOUT_S,
                autogenerate_session_id=False,
            )
        except (ClickHouseError, OSError, RuntimeError) as wrong:
            raise SinkUnavailable(f"clickhouse: {first_line(wrong)}") from wrong

    def close(self) -> None:
        """Disconnect; what was inserted is durable already."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a query. `{db}` in the text is the database. Raises SinkUnavailable."""
        with self._one_call() as client:
            result = client.query(sql.replace("{db}", self.database), parameters=parameters)
            return [tuple(row) for row in result.result_rows]

    def command(self, sql: str) -> None:
        """Run a statement. Raises SinkUnavailable."""
        with self._one_call() as client:
            client.command(sql.replace("{db}", self.database))

    @contextmanager
    def _one_call(self, what: str = "") -> Iterator[Any]:
        """The client, for one call of one thread; after an error the next call gets another one, because chDB puts what
        a failed query had written before the next answer of its handle. Raises SinkUnavailable."""
        with self._inserting:
            client = self.client
            try:
                yield client
            except (ClickHouseError, OSError, RuntimeError) as wrong:
                if self.path is not None:
                    self._client = self.new_client()  # before the old one goes: the engine stays open
                    client.close()
                raise SinkUnavailable(f"clickhouse: {what}{first_line(wrong)}") from wrong

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        """Insert one block. The outcome of an error is unknown: it may be there. Raises SinkUnavailable."""
        settings = {
            "insert_deduplication_token": token,
            "insert_deduplicate": 1,
            "async_insert": 0,
            "max_insert_block_size": BLOCK_ROWS_MAX,
            "min_insert_block_size_rows": 0,
            "min_insert_block_size_bytes": 0,
            "input_format_arrow_allow_missing_columns": 0,
        }
        if self.path is None:
            settings["query_id"] = f"{INSERT_PREFIX}-{table}-{token}"[:200]
        with self._one_call(f"{table}: ") as client:
            client.insert_arrow(f"{self.database}.{table}", rows.combine_chunks(), settings=settings)

    def await_own_inserts(self, table: str, topic: str, partition: int) -> None:
        """End inserts of ours that a server still runs for this partition (their sender died or gave up), so that
        what is asked next is final. chDB's inserts die with their process. Raises SinkUnavailable."""
        if self.path is not None:
            return
        prefix = f"{INSERT_PREFIX}-{table}-{topic}:{partition}:"
        mine = "query_id like {p:String} and user = currentUser()"
        if self.rows(f"select count() from system.processes where {mine}", {"p": f"{prefix}%"})[0][0]:  # noqa: S608
            self.rows(f"kill query where {mine} sync", {"p": f"{prefix}%"})


def first_line(wrong: BaseException) -> str:
    """The first line of an error, bounded, for a message to a person."""
    return (str(wrong).strip().splitlines() or [type(wrong).__name__])[0][:300]
