"""The venue's archived tier: what is older than its live lists is under /historical, with cutoffs of weeks to months.

It is asked only where something can be in it: after a long absence, or for an order that the live tier forgot.
"""

import time
from dataclasses import dataclass

from domain.errors import MalformedFrame
from venues.kalshi import account_fields as f
from venues.kalshi.account_rest import AccountRest
from venues.kalshi.rest import RestRefused

#: The cutoffs move with time, so they are asked again after an hour; a poll that failed asks at once.
ASK_AGAIN_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """What is older than these is archived; 0 where the venue says none."""

    fills_ms: int = 0
    orders_ms: int = 0


class Archive:
    """Knows when the archive has to be read."""

    def __init__(self, rest: AccountRest) -> None:
        self._rest = rest
        self._read_s: float | None = None

    async def cutoffs(self) -> Cutoffs:
        """The venue's, or none where the archive was read lately or the venue has no such thing."""
        if self._read_s is not None and time.monotonic() - self._read_s < ASK_AGAIN_S:
            return Cutoffs()
        try:
            body = await self._rest.get("/historical/cutoff")
        except RestRefused as refused:
            if refused.status in (401, 403):
                raise
            return Cutoffs()
        item = body if isinstance(body, dict) else {}
        return Cutoffs(_ms(item, "trades_created_ts"), _ms(item, "orders_updated_ts"))

    def was_read(self) -> None:
        """A whole poll went well: what was archived until now is known."""
        self._read_s = time.monotonic()


def _ms(item: f.Item, name: str) -> int:
    try:
        return f.time_ms(item, name) or 0
    except MalformedFrame:
        return 0
