"""Which books wait for a snapshot, and when to ask (again). Pure bookkeeping with a clock.

A snapshot that was asked for can itself be lost as the last frame of its sid, which no gap ever shows: hence a
deadline per market. Gaps come in storms: hence a least pause between two requests on one sid.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

ASK_PAUSE_S = 0.1  # between two get_snapshot commands on one sid; what comes meanwhile joins the next one
FIRST_WAIT_S = 0.5  # a snapshot comes within a round trip; two tries and another way fit into 2 s
# A new subscription brings its snapshots unasked, within a round trip of its acknowledgement. One that is the first
# frame of its sid can be lost without a gap, and the market may be quiet: nothing but this patience ends that wait.
UNASKED_WAIT_S = 1.0
WAIT_S_MAX = 30.0  # between later tries, for a market that never answers
TRIES_BEFORE_REPORT = 4


@dataclass(slots=True)
class _Wait:
    since_s: float
    retry_s: float
    is_asked: bool = False
    tries: int = 0
    declined: int = 0


class SnapshotWaits:
    """Markets whose book is not live. `ask` marks some as wanted now, `due` says whom to ask for."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waits: dict[str, _Wait] = {}
        self._asked_s: dict[int, float] = {}
        self._wanted: dict[str, None] = {}

    def __contains__(self, ticker: str) -> bool:
        return ticker in self._waits

    def __len__(self) -> int:
        return len(self._waits)

    def unanswered(self, ticker: str) -> int:
        """How often it was asked for in vain; 0 for a live book."""
        wait = self._waits.get(ticker)
        return wait.tries - wait.declined if wait else 0

    def is_asked(self, ticker: str) -> bool:
        """An answer is on its way."""
        wait = self._waits.get(ticker)
        return wait is not None and wait.is_asked

    def longer_than(self, wait_s: float) -> list[str]:
        """Markets that have waited for more than this, the longest first."""
        limit_s = self._clock() - wait_s
        late = [(wait.since_s, ticker) for ticker, wait in self._waits.items() if wait.since_s < limit_s]
        return [ticker for _, ticker in sorted(late)]

    def expect(self, tickers: Iterable[str]) -> None:
        """The venue sends these by itself (a new subscription); ask only if they do not come in time."""
        now_s = self._clock()
        for ticker in tickers:
            wait = self._waits.setdefault(ticker, _Wait(now_s, 0.0))
            wait.retry_s, wait.is_asked = now_s + UNASKED_WAIT_S, False
            self._wanted.pop(ticker, None)

    def ask(self, tickers: Iterable[str]) -> None:
        """These are needed now. One that was asked for already is not asked for twice: a snapshot that arrives after
        the gap is as good as one that was asked for after it."""
        now_s = self._clock()
        for ticker in tickers:
            wait = self._waits.setdefault(ticker, _Wait(now_s, 0.0))
            if not wait.is_asked:
                wait.retry_s, wait.is_asked = now_s + FIRST_WAIT_S, True
                self._wanted[ticker] = None

    def decline(self, tickers: Iterable[str]) -> None:
        """The venue answers that it cannot give these now: asked for again later, and no reason to doubt it."""
        for ticker in tickers:
            if wait := self._waits.get(ticker):
                wait.declined = wait.tries

    def arrived(self, ticker: str) -> None:
        """Its book is live."""
        if self._waits.pop(ticker, None) is not None:
            self._wanted.pop(ticker, None)

    def forget(self, tickers: Iterable[str]) -> None:
        """These are no longer ours to wait for."""
        for ticker in tickers:
            self.arrived(ticker)

    def due(self, sid_of: Callable[[str], int | None]) -> dict[int, list[str]]:
        """What to ask for now, per sid: the wanted ones, and those whose patience has run out.

        A market without a sid yet stays; a sid that was asked a moment ago waits for its pause.
        """
        now_s = self._clock()
        late = [ticker for ticker, wait in self._waits.items() if wait.retry_s <= now_s]
        asks: dict[int, list[str]] = {}
        for ticker in dict.fromkeys((*self._wanted, *late)):
            sid = sid_of(ticker)
            if sid is None or now_s - self._asked_s.get(sid, -ASK_PAUSE_S) < ASK_PAUSE_S:
                continue
            asks.setdefault(sid, []).append(ticker)
        for sid, tickers in asks.items():
            self._asked_s[sid] = now_s
            for ticker in tickers:
                self._wanted.pop(ticker, None)
                wait = self._waits[ticker]
                wait.tries += 1
                wait.is_asked = True
                wait.retry_s = now_s + min(WAIT_S_MAX, FIRST_WAIT_S * 2 ** min(wait.tries - 1, 16))
        return asks
