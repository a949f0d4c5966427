"""The middle of the simulator: markets, connections, and who gets which frame.

A source publishes; the hub folds the truth, numbers and routes. Everything runs on one event loop, so the truth and
the frames handed to the connections are always at the same point.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Protocol

from venues.simulator.channels import BOOK, LIFECYCLE, SILENT, TICKER, TRADE, Channel
from venues.simulator.config import SimConfig
from venues.simulator.exchange import Exchange
from venues.simulator.faults import Faults
from venues.simulator.market import Market
from venues.simulator.market_wire import Series, Trade
from venues.simulator.session import HIGH_WATER_BYTES, Session, Subscription
from venues.simulator.spot import SpotWalk
from venues.simulator.vintages import TODAY, Letter
from venues.simulator.wire import Encoder

SENT_KEPT = 200_000  # stamps for the bench: at 20,000 frames/s ten seconds, some 30 MB
TRADES_KEPT = 20_000  # newest, for REST: about 5 MB
ARCHIVE_MAX = 2_000  # newest archived markets, two days of the generator's
SESSIONS_KEPT = 500  # closed connections in the status


class Source(Protocol):
    """Where frames come from."""

    finished: bool

    def remaining(self, channel: str) -> tuple[int | None, int | None]:
        """Frames still to come, (all, of this channel); None where it has no end or cannot know."""
        ...

    def wants_snapshot(self, market: Market) -> bool:
        """Whether a new book subscription to this market begins with a snapshot of the simulator's."""
        ...

    def knows_book(self, market: Market) -> bool:
        """Whether the truth of this market is the venue's; a recording does not know it before its first snapshot."""
        ...

    def session_lost(self, session: Session) -> None:
        """A connection is gone."""
        ...

    def spot_now(self) -> SpotWalk:
        """The underlying at this moment."""
        ...

    def status(self) -> dict[str, object]:
        """More fields for GET /admin/status."""
        ...


class Hub:
    """All state that more than one module touches."""

    def __init__(self, config: SimConfig) -> None:
        self.config = config
        self.encoder = Encoder(config.vintage)
        self.markets: dict[str, Market] = {}
        #: What REST answers say: before today's vintage all that of 2026.
        self.rest_vintage: Letter = TODAY if config.vintage in ("d", "mixed") else "c"
        self.series: dict[str, Series] = {}
        self.trades: deque[Trade] = deque(maxlen=TRADES_KEPT)
        self.archive: dict[str, Market] = {}
        self.exchange = Exchange()
        self.sessions: list[Session] = []
        self.past_sessions: deque[dict[str, object]] = deque(maxlen=SESSIONS_KEPT)
        self.sent: deque[tuple[int, int, int, int]] = deque(maxlen=SENT_KEPT)
        self.sent_total = 0
        self.stamping = config.stamp_us
        self.source: Source
        self.source_frames: Counter[str] = Counter()
        self.frames_dropped = 0
        self.subscriptions_version = 0  # grows with every change of who listens to what
        self.faults = Faults(self, config.faults)
        self.channels = {
            channel.name: channel
            for channel in (
                Channel(BOOK, sequenced=True, needs_tickers=True, on_subscribe=self._first_snapshots),
                Channel(TRADE, sequenced=True),
                Channel(TICKER, sequenced=False, on_subscribe=self._first_tickers),
                Channel(LIFECYCLE, sequenced=True, ignores_tickers=True),
                *SILENT,
            )
        }
        self._everywhere: dict[str, list[Subscription]] = {}
        self._sessions_opened = 0
        self._served_before = 0
        self._types_before: Counter[str] = Counter()

    # --- connections ---

    def next_connection(self) -> int:
        """Connections are numbered from 1."""
        self._sessions_opened += 1
        return self._sessions_opened

    def detach(self, session: Session) -> None:
        """Forget a connection and all that it listened to; a second call does nothing."""
        if session.closed:
            return
        for sub in list(session.subscriptions.values()):
            self.unroute(sub, None)
        session.closed = True
        self.sessions.remove(session)
        self._served_before += session.frames_served
        self._types_before.update(session.counts)
        self.past_sessions.append(session.status())
        self.source.session_lost(session)

    def frames_served(self) -> tuple[int, dict[str, int]]:
        """Frames written to clients, all connections, and the same by type."""
        by_type = Counter(self._types_before)
        for session in self.sessions:
            by_type.update(session.counts)
        return self._served_before + sum(s.frames_served for s in self.sessions), dict(by_type)

    # --- routing ---

    def add_market(self, market: Market) -> None:
        """List a market; subscriptions to all markets get it too."""
        self.markets[market.ticker] = market
        for name, subs in self._everywhere.items():
            market.targets[name] = (*market.targets.get(name, ()), *subs)

    def forget_market(self, ticker: str) -> None:
        """Take a market off the lists (long settled), into the archive."""
        market = self.markets.pop(ticker, None)
        if market is not None:
            self.archive[ticker] = market
            if len(self.archive) > ARCHIVE_MAX:
                del self.archive[next(iter(self.archive))]

    def route(self, sub: Subscription, tickers: Iterable[str] | None) -> None:
        """Send frames of these markets (None: of all, future ones too) to `sub`."""
        name = sub.channel.name
        if tickers is None:
            self._everywhere.setdefault(name, []).append(sub)
            tickers = self.markets
        for ticker in tickers:
            market = self.markets[ticker]
            market.targets[name] = (*market.targets.get(name, ()), sub)
        self.subscriptions_version += 1

    def unroute(self, sub: Subscription, tickers: Iterable[str] | None) -> None:
        """The opposite; None for all that `sub` has."""
        name = sub.channel.name
        if tickers is None:
            if sub in self._everywhere.get(name, ()):
                self._everywhere[name].remove(sub)
            tickers = self.markets if sub.tickers is None else sub.tickers
        for ticker in tickers:
            if market := self.markets.get(ticker):
                market.targets[name] = tuple(other for other in market.targets.get(name, ()) if other is not sub)
        self.subscriptions_version += 1

    def end_subscription(self, sub: Subscription) -> None:
        """The sid is no more."""
        self.unroute(sub, None)
        sub.session.subscriptions.pop(sub.sid, None)

    # --- publishing ---

    def publish(self, market: Market, channel: str, kind: str, body: str) -> None:
        """One frame of the source to whoever listens. The caller has folded it into the truth."""
        self.source_frames[kind] += 1
        for sub in market.targets.get(channel, ()):
            sub.session.send(sub, kind, body)

    def publish_all(self, channel: str, kind: str, body: str) -> None:
        """One frame that belongs to no market, to subscriptions of all markets."""
        self.source_frames[kind] += 1
        for sub in tuple(self._everywhere.get(channel, ())):
            sub.session.send(sub, kind, body)

    def delta(self, market: Market, side: str, price_e4: int, delta_e2: int, ts_ms: int) -> None:
        """A change of one level: folded, then published."""
        market.book.change(side, price_e4, delta_e2)
        body = self.encoder.delta(market.ticker, market.market_id, side, price_e4, delta_e2, ts_ms)
        self.source_frames["orderbook_delta"] += 1
        for sub in market.targets.get(BOOK, ()):
            sub.session.send(sub, "orderbook_delta", body)

    def snapshot_body(self, market: Market) -> str:
        """The truth of this moment as the `msg` of a snapshot."""
        return self.encoder.snapshot(market.ticker, market.market_id, market.book.yes, market.book.no)

    def answer_snapshot(self, sub: Subscription, market: Market, request_id: int | None = None) -> None:
        """A snapshot for one subscription; never hit by a fault."""
        head = "" if request_id is None else f'"id":{request_id},'
        unnumbered = request_id is not None and self.faults.settings.unnumbered_answers
        seq = "" if unnumbered else f'"seq":{sub.next_seq()},'
        text = f'{{{head}"type":"orderbook_snapshot","sid":{sub.sid},{seq}"msg":{self.snapshot_body(market)}}}'
        sub.session.deliver(sub, "orderbook_snapshot", text)

    def flush(self) -> None:
        """Everything published so far, to the sockets."""
        for session in tuple(self.sessions):
            session.flush()

    async def room(self) -> None:
        """Wait until every client has taken most of what was sent, and while the venue is silenced or paused."""
        while (
            self.faults.silent()
            or not self.exchange.trading
            or any(s.waiting_bytes() > HIGH_WATER_BYTES for s in self.sessions)
        ):
            await asyncio.sleep(0.002)
            self.flush()

    def book_listeners(self) -> bool:
        """Whether anyone listens to any book."""
        return any(s.channel.name == BOOK for session in self.sessions for s in session.subscriptions.values())

    def _first_snapshots(self, sub: Subscription, tickers: Iterable[str]) -> None:
        for ticker in tickers:
            market = self.markets[ticker]
            if self.source.wants_snapshot(market) and not self.faults.loses_snapshot(sub):
                self.answer_snapshot(sub, market)

    def _first_tickers(self, sub: Subscription, tickers: Iterable[str]) -> None:
        ts_ms = time.time_ns() // 1_000_000
        for ticker in tickers:
            sub.session.send(sub, "ticker", self.markets[ticker].ticker_body(ts_ms))
