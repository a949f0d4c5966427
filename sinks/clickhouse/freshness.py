"""Watches that events written imply levels written: `latest_levels_lag_s_by_ticker`, the worst five, as log and metric.

The store is asked, not the sink's memory: what is wrong in the fold or in an insert must show. A market counts while it
has fresh deltas or snapshot levels; its lag is from its newest level to its newest event. One flush writes both, so the
lag is near 0; a market whose book waits for its snapshot grows one until that comes.
"""

import asyncio
import logging
import time
from typing import Any

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from sinks.clickhouse.store import Store, first_line
from sinks.contract import SinkUnavailable

LOOK_S = 30.0  # a look costs one core 75 to 175 ms with 5 million events in the newest parts: half a percent
FRESH_MS = 60_000  # events of the last minute imply level writes
WINDOW_MS = 120_000  # events looked at: parts without any are not opened; the most that a market without levels shows
LAG_LIMIT_S = 60.0  # above it the line is a warning
WORST_SHOWN = 5  # bounds the line and the metric's labels

_LAGS = """
with e as (
    select market_ticker, max(ingest_ts) as newest, min(ingest_ts) as oldest from {db}.orderbook_events_raw
    where ingest_ts > fromUnixTimestamp64Milli({now:Int64} - {window:Int64}) and type in ('delta', 'snapshot')
    group by market_ticker having newest > fromUnixTimestamp64Milli({now:Int64} - {fresh:Int64})
)
select market_ticker, greatest(0, toUnixTimestamp64Milli(newest) - toUnixTimestamp64Milli(if(shown = 0, oldest, shown)))
from e left join (
    select market_ticker, max(ingest_ts) as shown from {db}.latest_levels
    where market_ticker in (select market_ticker from e) group by market_ticker
) as l using market_ticker
order by 2 desc, 1 limit {shown_max:UInt32} settings max_threads = 1"""

log = logging.getLogger(__name__)


def level_lags_s(client: Any, database: str, now_ms: int, worst: int = WORST_SHOWN) -> dict[str, float]:
    """Seconds by which the newest level of a market is older than its newest event, worst first, fresh markets only."""
    parameters = {"now": now_ms, "window": WINDOW_MS, "fresh": FRESH_MS, "shown_max": worst}
    rows = client.query(_LAGS.replace("{db}", database), parameters=parameters).result_rows
    return {ticker: lag_ms / 1_000 for ticker, lag_ms in rows}


class LevelFreshness:
    """Looks every LOOK_S while started, with a handle of its own: inserts do not wait for it."""

    def __init__(self, store: Store, look_s: float = LOOK_S) -> None:
        self.lag_s_by_ticker: dict[str, float] = {}
        self._store = store
        self._client: Any = None
        self._look_s = look_s
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin looking, at once; after the sink has connected and migrated."""
        await self.look()
        self._running = asyncio.create_task(self._keep_looking(), name="latest_levels lag")

    async def stop(self) -> None:
        """End, after the query under way: the engine must not be closed below it."""
        self._stopping.set()
        if self._running is not None:
            await self._running
        if self._client is not None:
            self._client.close()

    async def _keep_looking(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._stopping.wait(), self._look_s)
                return
            except TimeoutError:
                await self.look()

    async def look(self) -> None:
        """Ask the store once, remember the answer for the metric, log it. A store that is away is only logged."""
        try:
            self.lag_s_by_ticker = await asyncio.to_thread(self._ask)
        except (ClickHouseError, OSError, RuntimeError, SinkUnavailable) as wrong:
            log.warning("latest_levels_lag_s_by_ticker: %s", first_line(wrong))
            return
        worst = max(self.lag_s_by_ticker.values(), default=0.0)
        level = logging.WARNING if worst > LAG_LIMIT_S else logging.INFO
        shown = {ticker: round(lag_s, 1) for ticker, lag_s in self.lag_s_by_ticker.items()}
        log.log(level, "latest_levels_lag_s_by_ticker=%s", shown)

    def _ask(self) -> dict[str, float]:
        if self._client is None:  # kept: connecting to chDB holds up every thread of the process for 0.1 s
            self._client = self._store.new_client()
        return level_lags_s(self._client, self._store.database, time.time_ns() // 1_000_000)
