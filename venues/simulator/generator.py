"""The made-up venue: BTC markets around a spot walk, at a set rate, deterministic by seed.

With a fixed epoch (`start_ms`) the simulated time follows the number of frames, so that the same seed gives the same
frames; else it is the wall clock. A finite run (`frames`) stands still while nobody listens to a book.
"""

import asyncio
import random
import time

from venues.simulator.channels import BOOK, LIFECYCLE, TICKER, TRADE
from venues.simulator.config import SimConfig
from venues.simulator.hub import Hub
from venues.simulator.ladder import OrderFlow
from venues.simulator.listing import Listing
from venues.simulator.market import Market
from venues.simulator.market_wire import Trade
from venues.simulator.session import Session
from venues.simulator.spot import SpotWalk, chance_above

NOMINAL_RATE = 20_000  # frames a second of simulated time when the rate is unlimited and the epoch fixed
BATCH_FRAMES = 256  # between two looks at the clock and the sockets; 13 ms at 20,000 frames/s
TICK_S = 0.001  # pause between batches; the added latency of a frame is at most this
LATE_S = 1.0  # a source so far behind its schedule takes up the present rate again instead of catching up
REVALUE_MS = 250
PICKS = 4_096  # precomputed choices of the next market


class Generator:
    """A `Source`. `run` until cancelled or all frames are served."""

    def __init__(self, config: SimConfig, hub: Hub) -> None:
        self.hub = hub
        self.finished = False
        self.frames_late = 0
        self._config = config
        self._rng = random.Random(config.seed)  # noqa: S311  (order flow, not secrets)
        self._frames = 0
        self._per_ms = (config.rate or NOMINAL_RATE) / 1_000
        self.now_ms = config.start_ms if config.start_ms is not None else _wall_ms()
        self.spot = SpotWalk(config.seed, self.now_ms)
        self.flows: dict[str, OrderFlow] = {}
        self._picks: list[OrderFlow] = []
        self._turn = 0
        self._revalue_ms = 0
        self._listing = Listing(self, config)
        self._listing.advance(self.now_ms)
        self._revalue()
        hub.source_frames.clear()

    # --- what the flows call ---

    def delta(self, market: Market, side: str, price_e4: int, delta_e2: int) -> None:
        """One change of a level."""
        self._frames += 1
        self.hub.delta(market, side, price_e4, delta_e2, self.now_ms)

    def trade(self, market: Market, yes_e4: int, count_e2: int, taker_side: str) -> None:
        """One trade; the caller reduces the maker's level."""
        self._frames += 1
        market.last_yes_e4 = yes_e4
        market.last_trade_e2 = count_e2
        market.volume_e2 += count_e2
        bits = f"{self._rng.getrandbits(128):032x}"
        trade_id = f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"
        self.hub.trades.append(Trade(trade_id, market.ticker, yes_e4, count_e2, taker_side, self.now_ms))
        body = self.hub.encoder.trade(market.ticker, trade_id, yes_e4, count_e2, taker_side, self.now_ms)
        self.hub.publish(market, TRADE, "trade", body)
        if market.targets.get(TICKER):
            self.hub.publish(market, TICKER, "ticker", market.ticker_body(self.now_ms))

    def open(self, market: Market, *, quietly: bool) -> None:
        """Trading begins: a first book. `quietly`: it is older than this run, so no frames tell of it."""
        flow = OrderFlow(self, market, self._rng, whole=self._config.vintage == "a")
        flow.fair_e4 = self._fair_e4(market)
        self.flows[market.ticker] = flow
        frames = self._frames
        flow.seed()
        if quietly:
            self._frames = frames
        self._repick()

    def close(self, market: Market) -> None:
        """Trading ends: cancels as deltas, then an empty snapshot, as the venue does it."""
        flow = self.flows.pop(market.ticker, None)
        if flow is not None:
            flow.cancel_all()
        self.hub.publish(market, BOOK, "orderbook_snapshot", self.hub.snapshot_body(market))
        self._repick()

    def lifecycle(self, market: Market, body: str) -> None:
        """A message about a market's life."""
        self.hub.publish(market, LIFECYCLE, "market_lifecycle_v2", body)

    # --- Source ---

    def remaining(self, _channel: str) -> tuple[int | None, int | None]:
        """Frames still to come; how many of each channel is not known ahead."""
        if self._config.frames is None:
            return None, None
        return self._config.frames - self._frames, None

    def wants_snapshot(self, _market: Market) -> bool:
        """Every book subscription begins with a snapshot."""
        return True

    def knows_book(self, _market: Market) -> bool:
        """The book is its own."""
        return True

    def session_lost(self, _session: Session) -> None:
        """The market goes on."""

    def spot_now(self) -> SpotWalk:
        """The walk that the markets settle on."""
        return self.spot

    def settle_now(self, ticker: str, result: str | None) -> bool:
        """Close and settle one market at once; False where there is none that is open."""
        return self._listing.settle_now(ticker, result, self.now_ms)

    def add_market(self, ticker: str, floor_strike: float | None, open_s: int) -> bool:
        """List and open one more market now, for `open_s` seconds; False where the ticker is taken."""
        return self._listing.add(ticker, floor_strike, self.now_ms, self.now_ms + open_s * 1_000)

    def status(self) -> dict[str, object]:
        """For GET /admin/status."""
        return {
            "source_frames": self._frames,
            "sim_ms": self.now_ms,
            "spot_dollars": round(self.spot.dollars, 2),
            "frames_late": self.frames_late,
        }

    def step(self) -> None:
        """One thing happens in the venue; the simulated time moves with it."""
        if self._config.start_ms is not None:
            self.now_ms = self._config.start_ms + int(self._frames / self._per_ms)
        if self.now_ms >= self._revalue_ms:
            self._revalue()
        self._turn = (self._turn + 1) % PICKS
        if self._picks:
            self._picks[self._turn].step()
        else:  # nothing is open: time must pass all the same
            self._frames += 1

    async def run(self) -> None:
        """Publish at the set rate until the end of a finite run; after it the market stands still.

        Frames are handed to the sockets in batches; between batches a full socket makes the whole market wait.
        """
        limit = self._config.frames
        began_s, began_frames = time.monotonic(), self._frames
        while limit is None or self._frames < limit:
            if limit is not None and not self.hub.book_listeners():
                await asyncio.sleep(0.01)
                began_s, began_frames = time.monotonic(), self._frames
                continue
            rate = self._rate()
            elapsed_s = time.monotonic() - began_s
            due = int(elapsed_s * rate) - (self._frames - began_frames) if rate else BATCH_FRAMES
            if rate and due > rate * LATE_S:
                self.frames_late += due
                began_s, began_frames = time.monotonic(), self._frames
                continue
            self._batch(due)
            await self.hub.room()
            await asyncio.sleep(0 if not rate or due > BATCH_FRAMES else max(TICK_S, min(0.02, 1 / rate)))
        self.hub.flush()
        self.finished = True

    def _batch(self, due: int) -> None:
        if self._config.start_ms is None:
            self.now_ms = _wall_ms()
            if self.now_ms >= self._revalue_ms:
                self._revalue()
        stop = self._frames + min(due, BATCH_FRAMES)
        if self._config.frames is not None:
            stop = min(stop, self._config.frames)
        while self._frames < stop:
            self.step()
        self.hub.flush()

    def _rate(self) -> int:
        slow = self.hub.faults.settings.slow_frames_per_s
        return min(slow, self._config.rate or slow) if slow else self._config.rate

    def _revalue(self) -> None:
        """Move the spot, open and close what is due, give every flow its fair price."""
        self._revalue_ms = self.now_ms + REVALUE_MS
        self.spot.advance(self.now_ms)
        self._listing.advance(self.now_ms)
        for flow in self.flows.values():
            flow.fair_e4 = self._fair_e4(flow.market)

    def _fair_e4(self, market: Market) -> int:
        strike = market.floor_strike or self.spot.dollars
        chance = chance_above(self.spot.dollars, strike, market.close_ms - self.now_ms)
        return min(9_980, max(20, int(chance * 10_000)))

    def _repick(self) -> None:
        """Markets near the money get more of the flow."""
        flows = list(self.flows.values())
        weights = [0.15 + flow.fair_e4 * (10_000 - flow.fair_e4) / 25_000_000 for flow in flows]
        self._picks = self._rng.choices(flows, weights, k=PICKS) if flows else []


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
