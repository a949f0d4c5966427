"""The subscriptions of one connection: which market belongs to which sid, and what to say to the venue about it.

Synchronous and free of I/O: frames come in, commands go out through the desk, and the two callbacks tell the feed
which books lost their trust and which markets are gone. Books are keyed by ticker; a sid is only where they come from.
"""

import logging
from collections.abc import Callable, Iterable

from producers.commands import Command, CommandDesk, Group, Verb
from producers.snapshots import FIRST_WAIT_S, TRIES_BEFORE_REPORT, SnapshotWaits
from schemas.records import ResetReason
from venues.kalshi.messages import ControlFrame

log = logging.getLogger(__name__)

BOOK = "orderbook_delta"
TRADE = "trade"
RESUBSCRIBE_PAUSE_S_MAX = 30.0


class Subscriptions:
    """All groups of one connection. `untrusted(tickers, sid, reason)` must publish resets before it returns."""

    def __init__(
        self,
        desk: CommandDesk,
        group_size: int,
        clock: Callable[[], float],
        untrusted: Callable[[Iterable[str], ResetReason], None],
        removed: Callable[[Iterable[str]], None],
    ) -> None:
        self.desk = desk
        self.waits = SnapshotWaits(clock)
        self.groups: list[Group] = []
        self.not_found: set[str] = set()
        #: Set where only a new connection helps; the text is the reason.
        self.reconnect_reason: str | None = None
        self.can_ask_snapshot = True
        self._group_size = group_size
        self._clock = clock
        self._untrusted = untrusted
        self._removed = removed
        self._group_of: dict[str, Group] = {}
        self._by_book_sid: dict[int, Group] = {}
        self._by_trade_sid: dict[int, Group] = {}
        self._later: list[tuple[float, Callable[[], None]]] = []

    # --- what the feed asks for ---

    def add(self, tickers: Iterable[str]) -> None:
        """Subscribe markets: into groups with room where they are acknowledged, else in new groups."""
        fresh = [ticker for ticker in dict.fromkeys(tickers) if ticker not in self._group_of]
        for group in self.groups:
            room = self._group_size - len(group.tickers)
            if room > 0 and fresh and group.book_sid is not None and group.trade_sid is not None:
                joining, fresh = fresh[:room], fresh[room:]
                self._join(group, joining)
                self.desk.update(Verb.ADD, group, group.book_sid, joining)
                self.desk.update(Verb.ADD, group, group.trade_sid, joining)
        for start in range(0, len(fresh), self._group_size):
            self.open_group(fresh[start : start + self._group_size])

    def open_group(self, tickers: Iterable[str]) -> None:
        """One new subscription for these markets."""
        group = Group(set())
        self.groups.append(group)
        self._join(group, list(tickers))
        self.desk.subscribe(group, (BOOK, TRADE))

    def remove(self, tickers: Iterable[str]) -> None:
        """Unsubscribe markets; `removed` is called when the venue has confirmed that nothing more of them comes."""
        by_group: dict[Group, list[str]] = {}
        for ticker in tickers:
            if group := self._group_of.get(ticker):
                by_group.setdefault(group, []).append(ticker)
            else:
                self.not_found.discard(ticker)
                self._removed([ticker])
        for group, leaving in by_group.items():
            if group.trade_sid is not None:
                self.desk.update(Verb.DELETE, group, group.trade_sid, leaving)
            if group.book_sid is not None:
                self.desk.update(Verb.DELETE, group, group.book_sid, leaving)
            else:
                self.drop(leaving)
                self._removed(leaving)

    def ask_snapshots(self, tickers: Iterable[str]) -> None:
        """Get fresh snapshots of these markets, at once or as soon as the pause of their sid allows."""
        self.waits.ask(tickers)
        self._ask_due()

    def tick(self) -> None:
        """Ten times a second: retries, pauses that are over, answers that never came."""
        self._ask_due()
        now_s = self._clock()
        ripe = [act for when_s, act in self._later if when_s <= now_s]
        self._later = [(when_s, act) for when_s, act in self._later if when_s > now_s]
        for act in ripe:
            act()
        for command in self.desk.overdue():
            self._unanswered(command)
        if self.desk.is_overrun:
            self.reconnect_reason = "the venue answers no commands"

    # --- what frames tell ---

    def on_acknowledged(self, frame: ControlFrame) -> None:
        """`subscribed`, `ok`, `unsubscribed`."""
        if frame.kind != "subscribed":
            command = self.desk.take(frame.command_id)
            # Both sids confirm a removal; the books' one is the one that counts.
            if command is not None and command.verb is Verb.DELETE and frame.sid == command.group.book_sid:
                self.finish_removal(command)
            return
        command = self.desk.pending.get(frame.command_id or 0)
        if command is None or frame.sid is None:
            return
        channel = frame.channel or ""
        self.bind(command.group, channel, frame.sid)
        command.acknowledged.add(channel)
        if command.acknowledged >= set(command.channels):
            self.desk.take(command.command_id)

    def on_snapshot(self, sid: int, ticker: str) -> None:
        """A book is live on this sid."""
        self.waits.arrived(ticker)
        group = self._group_of.get(ticker)
        if group is not None:
            group.failures = 0
            if group.book_sid is None:  # the acknowledgement itself was lost
                self.bind(group, BOOK, sid)

    def on_trade(self, sid: int, ticker: str) -> None:
        """A trade on a sid that was never acknowledged belongs to the group of its market."""
        group = self._group_of.get(ticker)
        if group is not None and group.trade_sid is None:
            self.bind(group, TRADE, sid)

    def bind(self, group: Group, channel: str, sid: int) -> None:
        """From here on this sid is the group's, for that channel."""
        if channel == BOOK:
            group.book_sid = sid
            self._by_book_sid[sid] = group
        elif channel == TRADE:
            group.trade_sid = sid
            self._by_trade_sid[sid] = group

    def sid_of(self, ticker: str) -> int | None:
        """The sid that carries this market's book."""
        group = self._group_of.get(ticker)
        return group.book_sid if group else None

    def books_of(self, sid: int) -> set[str]:
        """The markets whose books come by this sid; empty for trades and for unknown sids."""
        group = self._by_book_sid.get(sid)
        return set(group.tickers) if group else set()

    def state(self, ticker: str) -> str:
        """One word for /status."""
        if ticker in self.not_found:
            return "not_found"
        group = self._group_of.get(ticker)
        if group is None or group.book_sid is None:
            return "subscribing"
        if ticker not in self.waits:
            return "live"
        return "no_snapshot" if self.waits.tries(ticker) >= TRIES_BEFORE_REPORT else "waiting_snapshot"

    # --- mending ---

    def lose_sid(self, sid: int, reason: ResetReason) -> None:
        """The venue ended this subscription: its books are stale now, its markets are subscribed again."""
        if group := self._by_book_sid.pop(sid, None):
            self._untrusted(sorted(group.tickers), reason)
            group.book_sid = None
            self._subscribe_again(group, BOOK)
        elif group := self._by_trade_sid.pop(sid, None):
            group.trade_sid = None
            self._subscribe_again(group, TRADE)
        else:
            self.reconnect_reason = f"the venue ended an unknown subscription (sid {sid})"

    def resubscribe(self, group: Group) -> None:
        """Fresh snapshots by unsubscribe and subscribe, where `get_snapshot` is refused."""
        sid = group.book_sid
        if sid is None:
            return  # under way already
        self._untrusted(sorted(group.tickers), "gap")
        self.desk.unsubscribe(group, [sid])
        self._by_book_sid.pop(sid, None)
        group.book_sid = None
        self._subscribe_again(group, BOOK)

    def drop(self, tickers: Iterable[str]) -> None:
        """Forget these markets; nothing is said to the venue."""
        gone = list(tickers)
        self.waits.forget(gone)
        for ticker in gone:
            if group := self._group_of.pop(ticker, None):
                group.tickers.discard(ticker)
                if not group.tickers and group.book_sid is None and group in self.groups:
                    self.groups.remove(group)

    def later(self, pause_s: float, act: Callable[[], None]) -> None:
        """Do it at the first tick after the pause."""
        self._later.append((self._clock() + pause_s, act))

    def _join(self, group: Group, tickers: list[str]) -> None:
        group.tickers.update(tickers)
        for ticker in tickers:
            self._group_of[ticker] = group
            self.not_found.discard(ticker)
        self.waits.expect(tickers)

    def _subscribe_again(self, group: Group, channel: str) -> None:
        """At once the first time; a subscription that keeps failing waits longer each time."""
        pause_s = 0.0 if group.failures == 0 else min(RESUBSCRIBE_PAUSE_S_MAX, 0.25 * 2 ** min(group.failures, 10))
        group.failures += 1

        def act() -> None:
            if group.tickers:
                self.desk.subscribe(group, (channel,))
                if channel == BOOK:
                    self.waits.expect(group.tickers, FIRST_WAIT_S)

        if pause_s:
            self.later(pause_s, act)
        else:
            act()

    def _ask_due(self) -> None:
        for sid, tickers in self.waits.due(self.sid_of).items():
            group = self._by_book_sid.get(sid)
            if group is None:
                continue
            hopeless = [t for t in tickers if self.waits.tries(t) == TRIES_BEFORE_REPORT]
            if hopeless:
                log.warning("no snapshot comes for %s, does it exist? The others go on", ", ".join(hopeless))
            if self.can_ask_snapshot and len(hopeless) < len(group.tickers):
                self.desk.update(Verb.SNAPSHOT, group, sid, tickers)
            elif all(self.waits.tries(t) < TRIES_BEFORE_REPORT for t in tickers) or len(tickers) == len(group.tickers):
                self.resubscribe(group)

    def finish_removal(self, command: Command) -> None:
        """Nothing more of these markets comes."""
        self.drop(command.tickers)
        self._removed(command.tickers)

    def _unanswered(self, command: Command) -> None:
        if command.verb is Verb.DELETE and set(command.tickers) & command.group.tickers:
            self.finish_removal(command)
        elif command.verb is Verb.SUBSCRIBE and command.group.tickers:
            bound = command.group.book_sid if BOOK in command.channels else command.group.trade_sid
            if bound is None:
                self.reconnect_reason = "the venue did not answer a subscribe"
