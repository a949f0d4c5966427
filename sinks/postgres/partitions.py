"""Day partitions of the event tables: made ahead, made on demand, dropped after the retention."""

import logging
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import psycopg
from psycopg import AsyncConnection

from sinks.contract import SinkUnavailable
from sinks.postgres.destinations import DAY_MS
from sinks.postgres.failures import one_line

DAYS_AHEAD = 2  # an outage of the maintenance of two days is covered; on demand covers the rest
# Remembered (table, day) pairs; a replay of years still fits, and forgetting costs one cheap call per day.
KNOWN_MAX = 20_000
_EPOCH = date(1970, 1, 1)

log = logging.getLogger(__name__)


def day_of(ts_ms: int) -> int:
    """Days since 1970-01-01 (UTC)."""
    return ts_ms // DAY_MS


class Partitions:
    """Knows which partitions exist, so that the common case costs no call."""

    def __init__(self) -> None:
        self._known: set[tuple[str, int]] = set()

    async def ensure(self, connection: "AsyncConnection[Any]", needed: Iterable[tuple[str, int]]) -> None:
        """Make the partitions of these (table, day) that are not known to exist. Outside any transaction of rows."""
        for table, day in sorted(set(needed) - self._known):
            await self._make(connection, table, _EPOCH + timedelta(days=day))
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known.add((table, day))

    async def _make(self, connection: "AsyncConnection[Any]", table: str, day: date) -> None:
        try:
            made = await connection.execute("select ensure_event_partition(%s, %s)", (table, day))
        except (psycopg.DataError, psycopg.IntegrityError) as wrong:
            # No row is to blame, so none may be refused for it.
            raise SinkUnavailable(f"postgres: no partition of {table} for {day}: {one_line(wrong)}") from wrong
        row = await made.fetchone()
        if row is not None and row[0]:
            log.info("postgres: made the partition of %s for %s", table, day)

    def forget(self) -> None:
        """Ask again for every partition: one was missing, or some were dropped."""
        self._known.clear()

    async def maintain(
        self, connection: "AsyncConnection[Any]", tables: Iterable[str], today: int, keep_days: int
    ) -> int:
        """Make today's and the coming days' partitions, drop what is past its retention. Returns how many went."""
        await self.ensure(connection, [(table, today + ahead) for table in tables for ahead in range(DAYS_AHEAD + 1)])
        done = await connection.execute("select drop_event_partitions(%s)", (keep_days,))
        row = await done.fetchone()
        dropped = int(row[0]) if row is not None else 0
        if dropped:
            log.info("postgres: dropped %d event partitions older than %d days", dropped, keep_days)
            self.forget()
        return dropped
