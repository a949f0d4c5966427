"""A recording served again: the same frames in the same order, numbered anew, cut where the recording was cut.

The feed waits until the capture's markets are subscribed and adds no snapshot of its own unless asked; after a client
was lost in the middle it adds one per market, because frames were lost with the connection.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

from venues.simulator.channels import BOOK, TRADE
from venues.simulator.config import SimConfig
from venues.simulator.hub import Hub
from venues.simulator.market import Market
from venues.simulator.market_wire import Series
from venues.simulator.session import Session
from venues.simulator.spot import SpotWalk
from venues.simulator.tape import Played, fold, read_tape

BATCH_FRAMES = 256
CUT_CLOSE_CODE = 1001  # going away: the client reads all that was sent before it


class Playback:
    """A `Source` over one or several capture files."""

    def __init__(self, config: SimConfig, hub: Hub) -> None:
        self.hub = hub
        self.finished = False
        self._spot = SpotWalk(config.seed, time.time_ns() // 1_000_000)
        self._config = config
        self._total = 0
        self._left: Counter[str] = Counter()  # frames still to come by channel
        self._left_of: Counter[tuple[str, str]] = Counter()  # by (ticker, channel)
        self._left_all = 0
        self._begun: set[str] = set()
        self._shown: set[str] = set()  # markets whose recorded snapshot was served
        self._lost: set[str] = set()  # markets that need a snapshot of ours when subscribed again
        self._waiting = True
        self._cutting: int | None = None  # the file whose cut is being served
        self._cuts = 0
        self._not_subscribed: Counter[str] = Counter()
        self._control_skipped = 0
        self._files_of: dict[str, set[int]] = {}
        self._scan()

    # --- Source ---

    def remaining(self, channel: str) -> tuple[int | None, int | None]:
        """Frames still to come, all and of one channel."""
        return self._left_all, self._left[channel]

    def wants_snapshot(self, market: Market) -> bool:
        """Only where asked for, or where frames were lost with a connection."""
        lost = market.ticker in self._lost
        self._lost.discard(market.ticker)
        return lost or self._config.add_snapshots

    def knows_book(self, market: Market) -> bool:
        """From its first recorded snapshot on: what the deltas before it changed was never recorded."""
        return market.ticker in self._shown

    def session_lost(self, session: Session) -> None:
        """Stand still until everything is subscribed again; a cut of the recording brings its own snapshots."""
        if not session.subscriptions:
            return
        self._waiting = True
        for ticker in self._begun:
            market = self.hub.markets[ticker]
            if market.targets.get(BOOK):
                continue  # somebody else still listens: a viewer has left, nothing was lost
            if self._cutting is not None and self._cutting in self._files_of[ticker]:
                self._lost.discard(ticker)  # the recording brings the snapshot itself
            elif market.book.yes or market.book.no or self._left_of[ticker, BOOK]:
                self._lost.add(ticker)

    def spot_now(self) -> SpotWalk:
        """A recording has no spot: a walk of its own, by the wall clock."""
        self._spot.advance(time.time_ns() // 1_000_000)
        return self._spot

    def status(self) -> dict[str, object]:
        """For GET /admin/status."""
        return {
            "source_frames": self._total - self._left_all,
            "source_frames_total": self._total,
            "waiting_for": self._missing() if self._waiting and not self.finished else [],
            "recorded_reconnects_served": self._cuts,
            "not_subscribed": dict(self._not_subscribed),
            "control_frames_left_out": self._control_skipped,
        }

    async def run(self) -> None:
        """Serve the frames in order, at `speed` times the recording's pace, as fast as the clients take them."""
        began_s: float | None = None
        first_ms = 0
        for number, played in enumerate(self._tape(), start=1):
            if played.cut:
                await self._cut(played.file)
            if self._waiting:
                self.hub.flush()
                paused_s = time.monotonic()
                await self._wait()
                began_s = began_s + time.monotonic() - paused_s if began_s is not None else None
            if began_s is None:
                began_s, first_ms = time.monotonic(), played.recv_ms
            await self._pace(began_s, played.recv_ms - first_ms)
            self._serve(played)
            if number % BATCH_FRAMES == 0:
                self.hub.flush()
                await self.hub.room()
                await asyncio.sleep(0)
        self.hub.flush()
        await self.hub.room()
        self.finished = True

    def _tape(self) -> Iterator[Played]:
        return read_tape(self._config.captures)

    def _scan(self) -> None:
        """Learn markets and totals ahead: the wait, the clean tail and REST need them."""
        times: dict[str, tuple[int, int]] = {}
        for played in self._tape():
            self._total += 1
            if played.ticker is None or played.channel is None:
                continue
            self._left[played.channel] += 1
            self._left_of[played.ticker, played.channel] += 1
            self._files_of.setdefault(played.ticker, set()).add(played.file)
            first_ms, _ = times.get(played.ticker, (played.recv_ms, 0))
            times[played.ticker] = (first_ms, played.recv_ms)
        self._left_all = self._total
        for ticker, (first_ms, last_ms) in times.items():
            event = ticker.rpartition("-")[0] or ticker
            series = ticker.partition("-")[0]
            self.hub.add_market(Market(ticker, event, series, first_ms, last_ms, title=ticker))
            self.hub.series.setdefault(series, Series(series, series, "custom"))

    # --- waiting, cutting, pacing ---

    async def _cut(self, file: int) -> None:
        """The recording was connected anew here, so the client has to connect anew too."""
        self.hub.flush()
        self._cutting = file
        self._cuts += 1
        self._shown = {ticker for ticker in self._shown if file not in self._files_of[ticker]}
        for session in list(self.hub.sessions):
            session.flush()
            await session.ws.close(code=CUT_CLOSE_CODE, message=b"the recording was cut here")
            self.hub.detach(session)
        self._cutting = None

    async def _wait(self) -> None:
        version = -1
        while True:
            if version != self.hub.subscriptions_version:
                version = self.hub.subscriptions_version
                missing = self._missing()
                if not missing or (self._config.wait == "any" and self.hub.book_listeners()):
                    self._waiting = False
                    return
            await asyncio.sleep(0.005)

    def _missing(self) -> list[str]:
        """Markets with frames to come whose book or trade channel nobody has subscribed."""
        missing = {
            ticker
            for (ticker, channel), left in self._left_of.items()
            if left and channel in (BOOK, TRADE) and not self.hub.markets[ticker].targets.get(channel)
        }
        return sorted(missing)

    async def _pace(self, began_s: float, offset_ms: int) -> None:
        slow = self.hub.faults.settings.slow_frames_per_s
        if slow:
            self.hub.flush()
            await asyncio.sleep(1 / slow)
        elif self._config.speed > 0:
            wait_s = began_s + offset_ms / 1_000 / self._config.speed - time.monotonic()
            if wait_s > 0:
                self.hub.flush()
                await asyncio.sleep(wait_s)
                await self.hub.room()

    def _serve(self, played: Played) -> None:
        self._left_all -= 1
        if played.ticker is None or played.channel is None:
            self._serve_raw(played)
            return
        self._left[played.channel] -= 1
        self._left_of[played.ticker, played.channel] -= 1
        market = self.hub.markets[played.ticker]
        if played.channel == BOOK:
            self._begun.add(played.ticker)
            if played.kind == "orderbook_snapshot":
                self._shown.add(played.ticker)
            fold(market, played)
        if not market.targets.get(played.channel):
            self._not_subscribed[played.channel] += 1
        self.hub.publish(market, played.channel, played.kind, played.body())

    def _serve_raw(self, played: Played) -> None:
        """What is no frame of a market goes out as it came in: garbage was recorded too."""
        if played.control:
            self._control_skipped += 1
            return
        for session in list(self.hub.sessions):
            if played.binary is not None:
                session.write_bytes(played.binary, "raw", binary=True)
            else:
                session.write(played.text, "raw")
