"""Which books of a connection may be trusted, and how those that may not get their snapshots.

Every followed market is either in `live` or in `waits`. Snapshots come unasked with a subscription, or are asked for by
`get_snapshot`; where that does not work, by subscribing again.
"""

import logging
from collections.abc import Callable, Iterable

from producers.commands import CommandDesk, Verb
from producers.sids import BOOK, SidMap
from producers.silence import LiveBook, SilenceWatch, moved_unheard
from producers.snapshots import TRIES_BEFORE_REPORT, SnapshotWaits
from schemas.records import ResetReason
from venues.kalshi.messages import SnapshotFrame

log = logging.getLogger(__name__)

TRIES_BEFORE_DOUBT = 2  # unanswered on a connection where none was ever answered: get_snapshot does not work there


class LiveBooks:
    """Of one connection. `resubscribe(sid, reason)` brings fresh snapshots of all books of a sid."""

    def __init__(
        self,
        desk: CommandDesk,
        sids: SidMap,
        markets_per_command: int,
        clock: Callable[[], float],
        resubscribe: Callable[[int, ResetReason], None],
    ) -> None:
        self.live: dict[str, LiveBook] = {}
        self.waits = SnapshotWaits(clock)
        self.silence = SilenceWatch(clock)
        self.can_ask = True
        self._desk = desk
        self._sids = sids
        self._markets_per_command = markets_per_command
        self._resubscribe = resubscribe
        self._was_answered = False
        self._silent_sids: dict[int, None] = {}

    def acknowledged(self, sid: int, tickers: list[str]) -> None:
        """The venue will send these snapshots by itself now."""
        self.waits.expect(ticker for ticker in tickers if ticker not in self.live)
        self.silence.begin(sid, tickers)

    def lose(self, tickers: Iterable[str]) -> None:
        """These books are not live; their snapshots come with the next subscription."""
        lost = list(tickers)
        for ticker in lost:
            self.live.pop(ticker, None)
        self.waits.expect(lost)

    def forget(self, tickers: list[str]) -> None:
        """These markets are no longer ours."""
        for ticker in tickers:
            self.live.pop(ticker, None)
        self.waits.forget(tickers)
        self.silence.forget(tickers)

    def ask(self, tickers: Iterable[str]) -> None:
        """These books are not live; get fresh snapshots, at once or as soon as the pause of their sid allows."""
        lost = list(tickers)
        for ticker in lost:
            self.live.pop(ticker, None)
        self.waits.ask(lost)
        self._ask_due()

    def tick(self) -> None:
        """Many times a second: what was not answered, and who is silent."""
        self._ask_due()
        silent, self._silent_sids = self._silent_sids, {}
        for sid in silent:
            self._resubscribe(sid, "channel_error")
        if self.can_ask:
            for sid, tickers in self.silence.due(self.live):
                self._desk.update(Verb.SNAPSHOT, sid, tickers)

    def on_snapshot(self, frame: SnapshotFrame) -> None:
        """This book is live. Where it answers a probe and shows what no delta told, its sid is silent."""
        ticker, sid = frame.market_ticker, frame.sid
        before, shown = self.live.get(ticker), hash((frozenset(frame.yes), frozenset(frame.no)))
        is_answer = self._take_answer(frame)
        self._was_answered = self._was_answered or is_answer or self.waits.is_asked(ticker)
        if is_answer and moved_unheard(before, shown):
            log.warning("sid %d is silent: the book of %s moved without a frame; subscribing again", sid, ticker)
            self._silent_sids[sid] = None  # at the next tick: its resets must come after this snapshot
        self.live[ticker] = LiveBook(shown)
        self.waits.arrived(ticker)

    def on_early_delta(self, sid: int, ticker: str) -> None:
        """A delta of a book that waits: the market flows, so its snapshot was lost, or is late and needed now."""
        if self._sids.sid_of(BOOK, ticker) == sid and not self.waits.is_asked(ticker):
            self.ask([ticker])

    def on_unnumbered(self, ticker: str | None, command_id: int | None) -> bool:
        """A snapshot without seq. True: it answers get_snapshot, which is no way to a book at this venue then."""
        command = self._desk.pending.get(command_id or 0)
        is_answer = command is not None and command.verb is Verb.SNAPSHOT
        if not is_answer and not self.waits.is_asked(ticker or ""):
            return False
        self._desk.take(command_id)
        self.stop_asking("answered without seq")
        sid = self._sids.sid_of(BOOK, ticker or "")
        if sid is not None and (ticker or "") in self.waits:
            self._resubscribe(sid, "gap")
        return True

    def on_declined(self, tickers: Iterable[str]) -> None:
        """The venue answers a get_snapshot with `not now`."""
        self._was_answered = True
        self.waits.decline(tickers)

    def stop_asking(self, why: str) -> None:
        """From here on snapshots come by subscribing again."""
        if self.can_ask:
            self.can_ask = False
            log.warning("get_snapshot is %s at this venue: from here on we unsubscribe and subscribe instead", why)

    def _take_answer(self, frame: SnapshotFrame) -> bool:
        command = self._desk.pending.get(frame.command_id or 0)
        if command is None or command.verb is not Verb.SNAPSHOT:
            return False
        command.answered.add(frame.market_ticker)
        if command.answered.issuperset(command.tickers):
            self._desk.take(command.command_id)
        return True

    def _ask_due(self) -> None:
        for sid, tickers in self.waits.due(lambda ticker: self._sids.sid_of(BOOK, ticker)).items():
            tries = [self.waits.unanswered(ticker) for ticker in tickers]
            hopeless = [t for t, n in zip(tickers, tries, strict=True) if n == TRIES_BEFORE_REPORT]
            if hopeless:
                log.warning("no snapshot comes for %s, does it exist? The others go on", ", ".join(hopeless))
            if not self._was_answered and max(tries) > TRIES_BEFORE_DOUBT:
                self.stop_asking("not answered")
            is_whole = len(tickers) == len(self._sids.tickers(BOOK, sid))
            if self.can_ask and not (hopeless and is_whole):
                for start in range(0, len(tickers), self._markets_per_command):
                    self._desk.update(Verb.SNAPSHOT, sid, tickers[start : start + self._markets_per_command])
            elif is_whole or min(tries) <= TRIES_BEFORE_REPORT:
                self._resubscribe(sid, "gap")
