"""Subscriptions that the venue acknowledges and then forgets: no frame, no gap, no error, and the book stands still.

Only a question shows it. Markets that were subscribed together (a cohort) and of which nothing comes while others flow
are probed: `get_snapshot` for a few of them. A book that differs from the last one shown, although no delta came
between, has moved unheard. A quiet market answers what we know, and is asked ever more rarely.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

CHECK_S = 5.0  # how often the cohorts are looked at: a pass over all markets, milliseconds for thousands
PROBE_AFTER_S = 30.0  # of silence; doubled with each probe that changes nothing
PROBE_PAUSE_S_MAX = 600.0  # a night without trading costs six questions an hour and cohort
PROBE_MARKETS = 3  # of a cohort at once, in turn


@dataclass(slots=True)
class LiveBook:
    """A book that may be trusted. `shown` is a hash of its last snapshot, `delta_seq` the seq of its newest delta
    since, 0 for none; it is set for every delta, hence a plain attribute."""

    shown: int
    delta_seq: int = 0


@dataclass(eq=False, slots=True)
class _Cohort:
    sid: int
    tickers: tuple[str, ...]
    heard_s: float
    pause_s: float = PROBE_AFTER_S
    newest_seq: int = 0
    turn: int = 0


def moved_unheard(before: LiveBook | None, shown: int) -> bool:
    """Whether the book that is shown now differs from the one before without any delta between the two."""
    return before is not None and before.delta_seq == 0 and before.shown != shown


class SilenceWatch:
    """All cohorts of one connection."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._cohorts: list[_Cohort] = []
        self._checked_s = clock()
        self._flowed_s = 0.0

    def begin(self, sid: int, tickers: Iterable[str]) -> None:
        """These markets were acknowledged together."""
        self._cohorts.append(_Cohort(sid, tuple(tickers), self._clock(), PROBE_AFTER_S))

    def end(self, sid: int) -> None:
        """The subscription is over."""
        self._cohorts = [cohort for cohort in self._cohorts if cohort.sid != sid]

    def forget(self, tickers: Iterable[str]) -> None:
        """These markets are no longer ours."""
        gone = set(tickers)
        for cohort in self._cohorts:
            if gone.intersection(cohort.tickers):
                cohort.tickers = tuple(ticker for ticker in cohort.tickers if ticker not in gone)
        self._cohorts = [cohort for cohort in self._cohorts if cohort.tickers]

    def heard_trade(self) -> None:
        """The venue is alive and trades."""
        self._flowed_s = self._clock()

    def due(self, live: dict[str, LiveBook]) -> list[tuple[int, list[str]]]:
        """(sid, markets) to probe now; looked at every CHECK_S."""
        now_s = self._clock()
        if now_s - self._checked_s < CHECK_S:
            return []
        self._checked_s = now_s
        for cohort in self._cohorts:
            newest = max((live[t].delta_seq for t in cohort.tickers if t in live), default=0)
            if newest > cohort.newest_seq:
                cohort.heard_s = self._flowed_s = now_s
                cohort.pause_s = PROBE_AFTER_S
            cohort.newest_seq = newest
        if now_s - self._flowed_s > PROBE_AFTER_S:
            return []  # nothing flows at all: a quiet venue, or one that the connection's own watchdog judges
        return [probe for cohort in self._cohorts if (probe := self._probe(cohort, live, now_s))[1]]

    def _probe(self, cohort: _Cohort, live: dict[str, LiveBook], now_s: float) -> tuple[int, list[str]]:
        if now_s - cohort.heard_s < cohort.pause_s:
            return cohort.sid, []
        cohort.heard_s = now_s
        cohort.pause_s = min(PROBE_PAUSE_S_MAX, 2 * cohort.pause_s)
        trusted = [ticker for ticker in cohort.tickers if ticker in live]
        start = cohort.turn % max(1, len(trusted))
        cohort.turn += PROBE_MARKETS
        return cohort.sid, [*trusted[start:], *trusted[:start]][:PROBE_MARKETS]
