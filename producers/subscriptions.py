"""The subscriptions of one connection: which markets are followed, by which sid, and what to say to the venue about it.

Synchronous and free of I/O: frames come in, commands go out through the desk, and the two callbacks tell the feed
which books lost their trust and which markets are gone. Books are keyed by ticker; a sid is only where they come from.
"""

import logging
from collections.abc import Callable, Iterable

from producers.commands import Command, CommandDesk, Verb
from producers.live_books import LiveBooks
from producers.sids import BOOK, TRADE, SidMap
from producers.snapshots import TRIES_BEFORE_REPORT
from schemas.records import ResetReason
from venues.kalshi.messages import SnapshotFrame

log = logging.getLogger(__name__)

RESUBSCRIBE_PAUSE_S_MAX = 30.0
RESUBSCRIBE_PAUSE_FIRST_S = 0.5  # doubled each time; a subscription that is lost for the first time waits for nothing


class Subscriptions:
    """All subscriptions of one connection. `untrusted(tickers, reason)` must publish resets before it returns."""

    def __init__(
        self,
        desk: CommandDesk,
        group_size: int,
        clock: Callable[[], float],
        untrusted: Callable[[Iterable[str], ResetReason], None],
        removed: Callable[[Iterable[str]], None],
    ) -> None:
        """`group_size`: how many markets one command names, and how many we put on one sid by ourselves."""
        self.desk = desk
        self.sids = SidMap()
        self.books = LiveBooks(desk, self.sids, group_size, clock, self.resubscribe)
        self.followed: set[str] = set()
        self.not_found: set[str] = set()
        #: Set where only a new connection helps; the text is the reason.
        self.reconnect_reason: str | None = None
        self._group_size = group_size
        self._clock = clock
        self._untrusted = untrusted
        self._removed = removed
        self._leaving: set[str] = set()  # delete_markets is under way
        self._returning: set[str] = set()  # of these, wanted again meanwhile
        self._failures: dict[tuple[str, str], int] = {}  # (channel, market) -> subscriptions lost since it last flowed
        self._later: list[tuple[float, Callable[[], None]]] = []

    # --- what the feed asks for ---

    def add(self, tickers: Iterable[str]) -> None:
        """Subscribe markets: on sids with room, else by new subscribes."""
        wanted = dict.fromkeys(tickers)
        self._returning.update(self._leaving.intersection(wanted))
        fresh = [ticker for ticker in wanted if ticker not in self.followed]
        self.followed.update(fresh)
        self.not_found.difference_update(fresh)
        self.books.lose(fresh)
        while fresh and (book := self._roomiest(BOOK)) and (trade := self._roomiest(TRADE)):
            room = min(book[1], trade[1])
            joining, fresh = fresh[:room], fresh[room:]
            self.desk.update(Verb.ADD, book[0], joining)
            self.desk.update(Verb.ADD, trade[0], joining)
        self.subscribe(fresh, (BOOK, TRADE))

    def subscribe(self, tickers: Iterable[str], channels: tuple[str, ...], tries: int = 1) -> None:
        """New subscribes, in groups, for those of these markets that are followed and that a channel does not bring."""
        missing = [
            ticker
            for ticker in tickers
            if ticker in self.followed
            and ticker not in self._leaving
            and any(self.sids.sid_of(channel, ticker) is None for channel in channels)
        ]
        for start in range(0, len(missing), self._group_size):
            self.desk.subscribe(missing[start : start + self._group_size], channels, tries)

    def remove(self, tickers: Iterable[str]) -> None:
        """Unsubscribe markets; `removed` is called when the venue has confirmed that nothing more of them comes."""
        by_sid: dict[str, dict[int, list[str]]] = {
            TRADE: {},
            BOOK: {},
        }  # books last: their answer is the one that counts
        for ticker in tickers:
            self._returning.discard(ticker)
            if self.sids.sid_of(BOOK, ticker) is None:
                self._finish([ticker])
                continue
            self._leaving.add(ticker)
            for channel, leaving in by_sid.items():
                if (sid := self.sids.sid_of(channel, ticker)) is not None:
                    leaving.setdefault(sid, []).append(ticker)
        for leaving in by_sid.values():
            for sid, gone in leaving.items():
                self.desk.update(Verb.DELETE, sid, gone)

    def ask_snapshots(self, tickers: Iterable[str]) -> None:
        """Get fresh snapshots of these markets, as far as they are followed."""
        self.books.ask(ticker for ticker in tickers if ticker in self.followed)

    def tick(self) -> list[Command]:
        """Many times a second: retries, pauses that are over, who is silent. Returns what was not answered in time."""
        self.books.tick()
        now_s = self._clock()
        ripe = [act for when_s, act in self._later if when_s <= now_s]
        self._later = [(when_s, act) for when_s, act in self._later if when_s > now_s]
        for act in ripe:
            act()
        if self.desk.is_overrun:
            self.reconnect_reason = "the venue answers no commands"
        return self.desk.overdue()

    # --- what frames tell ---

    def bind(self, channel: str, sid: int, tickers: Iterable[str]) -> None:
        """The venue has acknowledged these on this sid. What is no longer followed is taken off it again."""
        named = list(tickers)
        mine = [ticker for ticker in named if ticker in self.followed]
        self.sids.bind(channel, sid, mine)
        if channel == BOOK:
            self.books.acknowledged(sid, mine)
        stray = [ticker for ticker in named if ticker not in self.followed and ticker not in self.not_found]
        if stray:
            self.desk.update(Verb.DELETE, sid, stray)

    def on_snapshot(self, frame: SnapshotFrame) -> None:
        """The book of a followed market is live."""
        self._adopt(BOOK, frame.sid, frame.market_ticker)
        self._failures.pop((BOOK, frame.market_ticker), None)
        self.books.on_snapshot(frame)

    def on_early_delta(self, sid: int, ticker: str) -> None:
        """A delta of a followed market whose book is not live."""
        if not self.sids.has_ended(sid):
            self._adopt(BOOK, sid, ticker)
        self.books.on_early_delta(sid, ticker)

    def on_trade(self, sid: int, ticker: str) -> None:
        """The venue trades, and the trades of this market come by this sid."""
        self.books.silence.heard_trade()
        if ticker in self.followed and not self.sids.has_ended(sid):
            self._adopt(TRADE, sid, ticker)
            if self._failures:
                self._failures.pop((TRADE, ticker), None)

    def books_of(self, sid: int) -> set[str]:
        """The markets whose books come by this sid; empty for trades and for unknown sids."""
        return self.sids.tickers(BOOK, sid)

    def state(self, ticker: str) -> str:
        """One word for /status."""
        if ticker in self.not_found:
            return "not_found"
        if self.sids.sid_of(BOOK, ticker) is None:
            return "subscribing"
        if ticker in self.books.live:
            return "live"
        return "no_snapshot" if self.books.waits.unanswered(ticker) >= TRIES_BEFORE_REPORT else "waiting_snapshot"

    # --- mending ---

    def lose_sid(self, sid: int, reason: ResetReason) -> None:
        """The venue ended this subscription: all its books are stale now, all its markets are subscribed again."""
        channel = self.sids.channel_of(sid)
        if channel is None and self.sids.has_ended(sid):
            return  # we were quicker
        if channel is None:
            self.reconnect_reason = f"the venue ended an unknown subscription (sid {sid})"
            return
        tickers = self.sids.tickers(channel, sid)
        if channel == BOOK:
            self._untrusted(sorted(tickers), reason)
        self._subscribe_again(sid, channel, tickers)

    def resubscribe(self, sid: int, reason: ResetReason) -> None:
        """Fresh snapshots of all books of a sid, by unsubscribe and subscribe."""
        tickers = self.sids.tickers(BOOK, sid)
        if tickers:  # else under way already
            self._untrusted(sorted(tickers.intersection(self.books.live)), reason)
            self.desk.unsubscribe(sid)
            self._subscribe_again(sid, BOOK, tickers)

    def drop(self, tickers: Iterable[str]) -> None:
        """Forget these markets; nothing is said to the venue."""
        gone = list(tickers)
        self.books.forget(gone)
        self.sids.release(gone)
        for ticker in gone:
            self.followed.discard(ticker)
            self._leaving.discard(ticker)
            for channel in (BOOK, TRADE):
                self._failures.pop((channel, ticker), None)

    def deleted(self, tickers: Iterable[str]) -> None:
        """The venue sends no books of these any more."""
        gone = [ticker for ticker in tickers if ticker in self._leaving]
        returning = [ticker for ticker in gone if ticker in self._returning]
        self._returning.difference_update(returning)
        self._finish(gone)
        self.add(returning)

    def later(self, pause_s: float, act: Callable[[], None]) -> None:
        """Do it at the first tick after the pause."""
        self._later.append((self._clock() + pause_s, act))

    def _finish(self, tickers: list[str]) -> None:
        self.drop(tickers)
        self.not_found.difference_update(tickers)
        self._removed(tickers)

    def _subscribe_again(self, sid: int, channel: str, tickers: set[str]) -> None:
        """At once the first time; markets that lose their subscription again and again wait longer each time."""
        self.sids.end(sid)
        self.books.silence.end(sid)
        if channel == BOOK:
            self.deleted(tickers & self._leaving)
            self.books.lose(tickers & self.followed)
        failures = max((self._failures.get((channel, ticker), 0) for ticker in tickers), default=0)
        self._failures.update(dict.fromkeys(((channel, t) for t in tickers & self.followed), failures + 1))
        if failures:
            pause_s = min(RESUBSCRIBE_PAUSE_S_MAX, RESUBSCRIBE_PAUSE_FIRST_S * 2 ** min(failures - 1, 10))
            self.later(pause_s, lambda: self.subscribe(sorted(tickers), (channel,)))
        else:
            self.subscribe(sorted(tickers), (channel,))

    def _adopt(self, channel: str, sid: int, ticker: str) -> None:
        """The acknowledgement of this market was lost: with it, that of all markets of its command."""
        if self.sids.sid_of(channel, ticker) is not None:
            return
        for command in self.desk.pending.values():
            if ticker in command.tickers and channel in self.channels_of(command):
                command.answered.add(channel)
                self.bind(channel, sid, command.tickers)
                return
        self.bind(channel, sid, [ticker])

    def channels_of(self, command: Command) -> tuple[str, ...]:
        """The channels on which a subscribe or an add_markets brings its markets."""
        if command.verb is Verb.SUBSCRIBE:
            return command.channels
        channel = self.sids.channel_of(command.sid) if command.verb is Verb.ADD else None
        return (channel,) if channel else ()

    def _roomiest(self, channel: str) -> tuple[int, int] | None:
        """(sid, room) of the sid of this channel that can take the most markets."""
        rooms = [
            (self._group_size - carried - self.desk.joining(sid), sid) for sid, carried in self.sids.of_channel(channel)
        ]
        room, sid = max(rooms, default=(0, 0))
        return (sid, room) if room > 0 else None
