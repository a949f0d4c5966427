"""What went wrong at Postgres, sorted into the three kinds of failure the project knows (style 4.6).

a row's own data     -> RowRefused        bisect, dead letter, go on
the outside world    -> SinkUnavailable   pause, retry with backoff
our bug              -> Fatal             end the process; the store and the log restore everything
"""

import asyncio

import psycopg
from psycopg_pool import PoolTimeout

from domain.errors import Fatal
from sinks.contract import SinkUnavailable

# SQLSTATE classes (PostgreSQL manual, appendix A) that depend on the data of a row alone: data exception, integrity
# violation, program limit (an index row too long).
_CLASSES_OF_DATA = ("22", "23", "54")
# Syntax error or access rule: only a bug of ours or a schema changed under us, except for missing rights.
_CLASS_OF_STATEMENTS = "42"


class RowRefused(Exception):
    """The server refuses the data of at least one row of the batch. `reason` is a stable code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class KeyTaken(Exception):
    """An idempotency_key of the batch is stored already: COPY cannot pass it by, `insert .. on conflict` can."""


class PartitionMissing(Exception):
    """The day partition of a row is gone (retention ran, or someone dropped it)."""


class CursorMoved(Exception):
    """The compare-and-swap on sink_offsets touched no row: another writer, or our own lost COMMIT, was first."""


class OutcomeUnknown(SinkUnavailable):
    """The connection failed: what was asked of it may or may not have happened."""


def sorted_failure(wrong: BaseException) -> Exception:
    """The project's exception for one of psycopg's, asyncio's or the system's."""
    if isinstance(wrong, TimeoutError):
        return SinkUnavailable("postgres: no answer within the transaction's deadline")
    if isinstance(wrong, OSError):
        return SinkUnavailable(f"postgres: {one_line(wrong)}")
    if not isinstance(wrong, psycopg.Error):
        raise wrong
    state = wrong.sqlstate or ""
    if isinstance(wrong, psycopg.errors.CheckViolation) and wrong.diag.constraint_name is None:
        return PartitionMissing(one_line(wrong))
    if isinstance(wrong, psycopg.errors.UniqueViolation):
        return KeyTaken(one_line(wrong))
    if state.startswith(_CLASSES_OF_DATA):
        return RowRefused(f"postgres_{state.lower()}", one_line(wrong))
    if state.startswith(_CLASS_OF_STATEMENTS) and not isinstance(wrong, psycopg.errors.InsufficientPrivilege):
        return Fatal(f"postgres: {one_line(wrong)}; was the schema changed under a running worker?")
    return SinkUnavailable(f"postgres: {one_line(wrong)}")


async def reason_unreachable(dsn: str) -> str:
    """Why the pool has no connection, in one line: asks the server once, the pool does not tell."""
    try:
        connection = await asyncio.wait_for(psycopg.AsyncConnection.connect(dsn, connect_timeout=3), timeout=5)
    except (psycopg.Error, OSError, TimeoutError) as wrong:
        return f"postgres: {one_line(wrong)}"
    await connection.close()
    return "postgres: every connection of the pool is busy (PG_POOL_MAX)"


def is_outside(wrong: BaseException) -> bool:
    """Whether the connection itself is in doubt, so that the outcome of a COMMIT may be unknown."""
    return isinstance(wrong, psycopg.OperationalError | TimeoutError | OSError) and not isinstance(wrong, PoolTimeout)


def one_line(wrong: BaseException) -> str:
    """The first line of a message, bounded. libpq's messages name host, port and user, never a password."""
    lines = str(wrong).strip().splitlines()
    return (lines[0] if lines else type(wrong).__name__)[:500]
