"""Polling of settlements. Some are listed late, with a time older than the newest that was seen before."""

import time

from producers.account_mark import Mark
from producers.account_reporter import AccountReporter, Item
from producers.account_walk import walk
from venues.kalshi.account_rest import AccountRest

#: How far behind the newest a poll reaches. A busy account has a thousand settlements a day, five pages.
NEAR_MS = 86_400_000
#: How far the first poll reaches, and one in `FAR_EVERY_S`.
FAR_MS = 7 * 86_400_000
FAR_EVERY_S = 3_600.0


class SettlementPoller:
    """Part of the account's poller: says every settlement since the opening, as far back as it reaches."""

    def __init__(self, rest: AccountRest, reporter: AccountReporter, overlap_ms: int) -> None:
        self._rest, self._reporter, self._overlap_ms = rest, reporter, overlap_ms
        self._far_due_s = 0.0

    async def poll(self, mark: Mark) -> tuple[int, str | None]:
        """The newest time seen, and what was wrong (then 0)."""
        is_far = time.monotonic() >= self._far_due_s
        reach_ms = max(self._overlap_ms, FAR_MS if is_far else NEAR_MS)
        cutoff_ms = max(0, mark.opening_ms, mark.settlements_ms - reach_ms)
        newest_ms = 0

        def on_page(items: list[Item]) -> bool:
            nonlocal newest_ms
            told = [self._reporter.say_settlement(item) for item in items]
            newest_ms = max([newest_ms, *(s.settled_ts_ms for s in told if s is not None)])
            return bool(told) and all(s is not None and s.settled_ts_ms < cutoff_ms for s in told)

        params = {"min_ts": cutoff_ms // 1_000} if cutoff_ms else {}
        result = await walk(self._rest, "/portfolio/settlements", "settlements", params, on_page)
        if not result.complete:
            return 0, result.problem
        if is_far:
            self._far_due_s = time.monotonic() + FAR_EVERY_S
        return newest_ms, result.problem
