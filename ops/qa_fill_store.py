"""The fills of one store, in one form: the same questions are put to ClickHouse and to Postgres in the same SQL."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from ops.qa_sources import Reader
from sinks.contract import SinkUnavailable

Rows = list[tuple[Any, ...]]
Query = Callable[[str, dict[str, Any]], Rows]


@dataclass(frozen=True)
class FillStore:
    """`valid`: every stored row of a fill that passed the gates; `newest`: one row per fill, with its decision;
    `actions`: the order actions; `positions`: the newest position of each market. All are subselects with the same
    column names, times in ms. `market_is` is the condition that takes the parameter `market`."""

    name: str
    query: Query
    valid: str
    newest: str
    actions: str
    positions: str
    market_is: str

    def rows(self, sql: str, **parameters: Any) -> Rows:
        """The rows of a query; `{valid}`, `{newest}`, .. stand for the subselects. Raises SinkUnavailable."""
        for name in ("valid", "newest", "actions", "positions", "market_is"):
            sql = sql.replace(f"{{{name}}}", getattr(self, name))
        return self.query(sql, parameters)


_COLUMNS = "market_ticker, fill_id, {order_id} as order_id, side, action, price, size, revision"


def _in_clickhouse(table: str, columns: str, ts: str = "ts") -> str:
    times = f"toUnixTimestamp64Milli({ts}) as ts_ms, toUnixTimestamp64Milli(ingest_ts) as ingest_ms"
    return f"(select {columns}, {times} from {table}) as f"  # noqa: S608 - names of ours


def clickhouse_fills(reader: Reader) -> FillStore:
    """As the seeds' tables have them."""
    columns = _COLUMNS.replace("{order_id}", "exchange_order_id")
    latest = "(select * from {db}.mm_positions_raw final order by revision desc limit 1 by market_ticker)"
    return FillStore(
        "clickhouse",
        lambda sql, parameters: reader.rows(sql, parameters or None),
        _in_clickhouse("(select * from {db}.mm_fills_raw final where is_valid = 1)", columns),
        _in_clickhouse("(select * from {db}.mm_fills where is_valid = 1)", f"{columns}, decision_id"),
        _in_clickhouse("{db}.mm_order_actions", "decision_id"),
        _in_clickhouse(latest, "market_ticker, fills"),
        "market_ticker = {market:String}",
    )


def _in_postgres(table: str, columns: str, ts: str) -> str:
    ms = "(extract(epoch from {}) * 1000)::bigint"
    times = f"{ms.format(ts)} as ts_ms, {ms.format('ts_ingest')} as ingest_ms"
    return f"(select {columns}, {times} from {table}) as f"  # noqa: S608 - names of ours


def postgres_fills(connection: "psycopg.Connection[Any]") -> FillStore:
    """As of the connection's transaction."""

    def query(sql: str, parameters: dict[str, Any]) -> Rows:
        try:
            return list(connection.execute(sql, parameters or None).fetchall())
        except psycopg.Error as wrong:
            raise SinkUnavailable(f"postgres: {str(wrong).splitlines()[0]}") from wrong

    columns = _COLUMNS.replace("{order_id}", "order_id")
    actions = "(select * from events_orders where event_type = 'order_action') as o"
    return FillStore(
        "postgres",
        query,
        _in_postgres("events_fills", columns, "fill_ts"),
        _in_postgres("mm_fills", f"{columns}, decision_id", "fill_ts"),
        _in_postgres(actions, "decision_id", "ts_event"),
        _in_postgres("state_positions", "market_ticker, fills", "ts_event"),
        "market_ticker = %(market)s",
    )


Connect = Callable[[], Any]  # -> a context manager of a psycopg connection, one snapshot


def connect_postgres(dsn: str) -> Connect:
    """Each call opens one transaction on what Postgres holds then. Raises SinkUnavailable when it does not answer."""

    @contextmanager
    def snapshot() -> Iterator["psycopg.Connection[Any]"]:
        try:
            connection = psycopg.connect(dsn, connect_timeout=5)
        except psycopg.Error as wrong:
            raise SinkUnavailable(f"postgres: {str(wrong).splitlines()[0]}") from wrong
        with connection:
            connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            connection.set_read_only(True)
            yield connection

    return snapshot
