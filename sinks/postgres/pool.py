"""The connections: their bounds, their time-outs, and what the server sees of us."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from domain.errors import UserMistake
from sinks.contract import SinkUnavailable
from sinks.postgres.failures import OutcomeUnknown, is_outside, reason_unreachable, sorted_failure

CONNECT_TIMEOUT_S = 5
# The pool gives one attempt up after this and starts afresh with the next caller: its own growing delays would leave
# it asleep long after the server is back.
RECONNECT_TIMEOUT_S = 2.0
# A client-side bound above the server's own: a frozen server cancels nothing. Connecting and two slow statements fit.
DEADLINE_STATEMENTS = 3


@dataclass(frozen=True)
class PoolConfig:
    """How to reach Postgres. `statement_timeout_ms` bounds every statement, lock wait and idle transaction there."""

    dsn: str
    size_min: int
    size_max: int
    statement_timeout_ms: int
    application_name: str = "kalshi-streams-sink-postgres"


def checked_dsn(dsn: str) -> str:
    """The DSN, if libpq can read it.

    Raises:
        UserMistake: malformed. libpq's own words repeat the text around the mistake, which may be the password.
    """
    try:
        conninfo_to_dict(dsn)
    except psycopg.Error:
        raise UserMistake(
            "PG_DSN: expected postgresql://user:password@host:port/database (a % in a password is written %25) or "
            "key=value pairs, was malformed"
        ) from None
    return dsn


def build_pool(config: PoolConfig) -> "AsyncConnectionPool[AsyncConnection[Any]]":
    """A closed pool of autocommit connections; transactions are explicit."""
    timeout_ms = config.statement_timeout_ms
    return AsyncConnectionPool(
        config.dsn,
        open=False,
        min_size=min(config.size_min, config.size_max),
        max_size=config.size_max,
        timeout=timeout_ms / 1_000,
        reconnect_timeout=RECONNECT_TIMEOUT_S,
        name=config.application_name,
        kwargs={
            "autocommit": True,
            "application_name": config.application_name,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "client_encoding": "UTF8",
            # A stopped or unreachable server is noticed within the statement's time, also while we only wait for it.
            "tcp_user_timeout": timeout_ms,
            "keepalives_idle": 10,
            "options": (
                f"-c statement_timeout={timeout_ms} -c lock_timeout={timeout_ms} "
                f"-c idle_in_transaction_session_timeout={timeout_ms} -c timezone=UTC -c client_min_messages=warning"
            ),
        },
    )


class Connections:
    """The pool, with a deadline on every use and the project's exceptions at its border."""

    def __init__(self, config: PoolConfig) -> None:
        self._dsn = config.dsn
        self._pool = build_pool(config)
        self._deadline_s = DEADLINE_STATEMENTS * config.statement_timeout_ms / 1_000

    async def open(self) -> None:
        """Start connecting in the background. Repeatable."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def take(self) -> AsyncIterator["AsyncConnection[Any]"]:
        """A connection for one piece of work.

        Raises:
            OutcomeUnknown: the connection failed inside the piece of work.
            SinkUnavailable: there is none to be had, or the server cannot do it now.
            RowRefused, PartitionMissing, Fatal: see `failures`.
        """
        try:
            async with asyncio.timeout(self._deadline_s), self._pool.connection() as connection:
                yield connection
        except PoolTimeout:
            raise SinkUnavailable(await reason_unreachable(self._dsn)) from None
        except (psycopg.Error, TimeoutError, OSError) as wrong:
            failure = sorted_failure(wrong)
            if is_outside(wrong) and isinstance(failure, SinkUnavailable):
                await self._pool.drain()  # its other connections are as dead as this one
                raise OutcomeUnknown(str(failure)) from wrong
            raise failure from wrong
