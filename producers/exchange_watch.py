"""Whether the exchange trades, asked now and then: books that stand still are right while it does not."""

import asyncio
import logging

from domain.errors import KalshiStreamsError
from producers.metrics import GaugeSource
from venues.kalshi.exchange import pause_of
from venues.kalshi.rest import KalshiRest

log = logging.getLogger(__name__)

POLL_S = 30.0  # one request of the tier's smallest budget, 20 a second


class ExchangeWatch(GaugeSource):
    """`pause` says what does not trade, None while everything does or nothing is known."""

    def __init__(self, poll_s: float = POLL_S) -> None:
        self.pause: str | None = None
        self._poll_s = poll_s
        self._known = False

    async def watch(self, rest: KalshiRest) -> None:
        """Until cancelled. A venue that does not answer changes nothing; others say so."""
        while True:
            try:
                self._say(pause_of(await rest.get("/exchange/status")))
            except KalshiStreamsError as wrong:
                log.debug("exchange status: %s", wrong)
            await asyncio.sleep(self._poll_s)

    def _say(self, pause: str | None) -> None:
        if pause != self.pause:
            if pause is None:
                log.info("the exchange trades again")
            else:
                log.warning("%s", pause)
        self.pause, self._known = pause, True

    def gauges(self) -> dict[str, float]:
        """Absent until the venue has said it."""
        return {"exchange_trading": float(self.pause is None)} if self._known else {}
