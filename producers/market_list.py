"""Which markets to follow: the fixed list of MARKET_TICKERS, or what a series or event lists as open, polled."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from domain.errors import KalshiStreamsError
from venues.kalshi.rest import KalshiRest

log = logging.getLogger(__name__)

MARKETS_MAX = 5_000  # followed at once; at 50 a subscription that is 100 sids, more than any venue documents
#: A market that is no longer listed as open still sends its last cancels and its empty snapshot; it is removed when it
#: was missing from this many polls in a row.
POLLS_MISSING = 2


class MarketList:
    """Polls the venue. `problem` says why the list may be old."""

    def __init__(self, rest: KalshiRest, series: Iterable[str], events: Iterable[str], poll_interval_s: float) -> None:
        self.problem: str | None = "the list of markets has not been read yet"
        self._rest = rest
        self._filters = [{"series_ticker": s, "status": "open"} for s in series]
        self._filters += [{"event_ticker": e, "status": "open"} for e in events]
        self._poll_interval_s = poll_interval_s
        self._missed: dict[str, int] = {}

    async def watch(self, on_change: Callable[[list[str]], None]) -> None:
        """Until cancelled: poll and hand over the whole list. An unreachable venue leaves the last list as it is."""
        while True:
            try:
                on_change(self._settle(await self._poll()))
                self.problem = None
            except KalshiStreamsError as wrong:
                self.problem = f"the list of markets cannot be read: {wrong}"
                log.warning("%s", self.problem)
            await asyncio.sleep(self._poll_interval_s)

    async def _poll(self) -> list[str]:
        tickers: dict[str, None] = {}
        for wanted in self._filters:
            tickers.update(dict.fromkeys(market.ticker for market in await self._rest.markets(wanted)))
        return list(tickers)

    def _settle(self, listed: list[str]) -> list[str]:
        """What to follow after this poll: all listed, and those missing for less than POLLS_MISSING polls."""
        self._missed = {
            **dict.fromkeys(listed, 0),
            **{t: missed + 1 for t, missed in self._missed.items() if t not in set(listed)},
        }
        self._missed = {t: missed for t, missed in self._missed.items() if missed < POLLS_MISSING}
        follow = sorted(self._missed, key=lambda ticker: self._missed[ticker])
        if len(follow) > MARKETS_MAX:
            log.error("%d markets are listed, the first %d are followed", len(follow), MARKETS_MAX)
        return follow[:MARKETS_MAX]
