"""What `qa fills` reads from Postgres, in one transaction."""

from collections.abc import Callable
from decimal import Decimal

import psycopg

from ops.qa_fills import Books
from sinks.contract import SinkUnavailable

_FILLS = """
select distinct on (market_ticker, fill_id) market_ticker, fill_id, revision
from events_fills order by market_ticker, fill_id, revision desc"""
_ORDERS = "select order_id, initial_size from state_orders where initial_size is not null"
_POSITIONS = """
select market_ticker, fills, drift,
       coalesce((payload ->> 'venue_as_of_ms')::bigint - (payload ->> 'drift_since_ms')::bigint, 0)
from state_positions"""


def postgres_books(dsn: str) -> Callable[[], Books]:
    """A reader of what Postgres holds now. Raises SinkUnavailable when called and it does not answer."""

    def read() -> Books:
        try:
            with psycopg.connect(dsn, connect_timeout=5) as connection:
                connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
                fills = {(ticker, fill_id): revision for ticker, fill_id, revision in connection.execute(_FILLS)}
                orders: dict[str, Decimal] = dict(connection.execute(_ORDERS).fetchall())
                positions = {row[0]: (row[1], row[2], row[3]) for row in connection.execute(_POSITIONS)}
        except psycopg.Error as wrong:
            raise SinkUnavailable(f"postgres: {str(wrong).splitlines()[0]}") from wrong
        return Books(fills, orders, positions)

    return read
