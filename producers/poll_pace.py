"""When the next poll of the account is due: at the interval, or sooner while what is pushed is not heard."""

import asyncio
import random
import time
from collections.abc import Callable

#: While pushes are not heard, polling is their only substitute.
#: At the default interval that is a poll each 2 s: a third of our share in the budget of the lowest tier.
HURRIED_SHARE = 0.2
HURRIED_S_MIN = 1.0
TICK_S = 0.25  # how soon the end of the pushes is noticed between two polls


class PollPace:
    """`is_hurried`: whether pushes are missing now."""

    def __init__(self, interval_s: float, is_hurried: Callable[[], bool]) -> None:
        self._interval_s = interval_s
        self._hurried_s = min(interval_s, max(HURRIED_S_MIN, interval_s * HURRIED_SHARE))
        self._is_hurried = is_hurried

    async def wait(self, started_s: float) -> None:
        """Until the poll after the one that began at `started_s` (monotonic) is due; what is asked of us can change
        meanwhile."""
        # Full jitter over a tenth: several pollers of one key do not fall into step.
        jitter = random.uniform(0.9, 1.1)  # noqa: S311
        while True:
            interval_s = self._hurried_s if self._is_hurried() else self._interval_s
            left_s = started_s + jitter * interval_s - time.monotonic()
            if left_s <= 0:
                return
            await asyncio.sleep(min(left_s, TICK_S))
