"""Which books wait for a snapshot, and when to ask (again). Pure bookkeeping with a clock.

A snapshot that was asked for can itself be lost as the last frame of its sid, which no gap ever shows: hence a
deadline per market. Gaps come in storms: hence a least pause between two requests on one sid.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

ASK_PAUSE_S = 0.1  # between two get_snapshot commands on one sid; what comes meanwhile joins the next one
FIRST_WAIT_S = 0.75  # a snapshot comes within a round trip; the aim is a live book within 2 s of a gap
# A new subscription brings its snapshots unasked. Long, because a replayed capture brings one when the recording did,
# and asking would put a book into it that never was; a snapshot that a gap swallowed is asked for at the gap.
UNASKED_WAIT_S = 120.0
WAIT_S_MAX = 30.0  # between later tries, for a market that never answers
TRIES_BEFORE_REPORT = 4


@dataclass(slots=True)
class _Wait:
    retry_s: float
    is_asked: bool
    tries: int = 0


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

    def tries(self, ticker: str) -> int:
        """How often it was asked for in vain; 0 for a live book."""
        wait = self._waits.get(ticker)
        return wait.tries if wait else 0

    def expect(self, tickers: Iterable[str], wait_s: float = UNASKED_WAIT_S) -> None:
        """The venue sends these by itself (a new subscription); ask only if they do not come within `wait_s`."""
        retry_s = self._clock() + wait_s
        for ticker in tickers:
            self._waits[ticker] = _Wait(retry_s, is_asked=wait_s < UNASKED_WAIT_S)
            self._wanted.pop(ticker, None)

    def ask(self, tickers: Iterable[str]) -> None:
        """These are needed now. One that was asked for already is not asked for twice: a snapshot that arrives after
        the gap is as good as one that was asked for after it."""
        for ticker in tickers:
            wait = self._waits.get(ticker)
            if wait is None or not wait.is_asked:
                self._waits[ticker] = _Wait(self._clock() + FIRST_WAIT_S, is_asked=True)
                self._wanted[ticker] = None

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
