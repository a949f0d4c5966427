"""The simulator of a run: an account with a past in both tiers, and the faults of its stream."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from ops.plan import make_simulator_keys
from venues.kalshi.auth import RequestSigner, load_signer
from venues.simulator.account import Account
from venues.simulator.config import DAY_S, FaultSettings, SimConfig
from venues.simulator.generator import Generator
from venues.simulator.market import Market
from venues.simulator.server import WS_PATH, Simulator, serving

KEY_ID = "conformance"
RATE_FRAMES_S = 500
MARKETS = 12
OPEN_S = 7_200  # longer than any run: an hour's markets might end in the midst of it
STRIKE_STEP = 50
TOKENS_PER_S = 4_000  # no run is to wait for its budget
SECOND_US = 1_000_000
#: Frames between two faults of a kind; both clients' frames count. What the venue itself does, not what breaks frames:
#: one that is no JSON object ends the SDK's reader for good, and error 10 or 25 leaves its books as they were.
STREAM_FAULTS = FaultSettings(
    drop_every=1_500, duplicate_every=1_100, reorder_every=1_300, disconnect_every=25_000, channels=("orderbook_delta",)
)


@dataclass(frozen=True)
class Venue:
    """A running simulator with its key."""

    simulator: Simulator
    account: Account
    key_file: Path
    signer: RequestSigner

    @property
    def rest_url(self) -> str:
        """Ends in /trade-api/v2."""
        return f"http://127.0.0.1:{self.simulator.port}/trade-api/v2"

    @property
    def ws_url(self) -> str:
        """Of the WebSocket."""
        return f"ws://127.0.0.1:{self.simulator.port}{WS_PATH}"

    def open_tickers(self) -> list[str]:
        """The markets that trade and will do so for the whole of a run: those of the last close."""
        active = [m for m in self.simulator.hub.markets.values() if m.status == "active"]
        last_ms = max(market.close_ms for market in active)
        return sorted(market.ticker for market in active if market.close_ms == last_ms)

    def set_faults(self, faults: FaultSettings) -> None:
        """From now on."""
        self.simulator.hub.faults.set(faults)

    def truth(self, ticker: str) -> dict[str, list[list[int]]]:
        """Side -> ascending levels."""
        book = self.simulator.hub.markets[ticker].book
        return {side: [list(level) for level in sorted(getattr(book, side).items())] for side in ("yes", "no")}


@contextlib.asynccontextmanager
async def venue(folder: Path) -> AsyncIterator[Venue]:
    """A simulator that checks signatures against a fresh key in `folder`, with an account that has traded."""
    make_simulator_keys(folder)
    config = SimConfig(
        rate=RATE_FRAMES_S,
        strikes=2,
        public_key=folder / "simulator-public.pem",
        key_id=KEY_ID,
        account_budget=TOKENS_PER_S,
        account_write_budget=TOKENS_PER_S,
        fill_sides="outcome",
    )
    account = Account(config)
    key_file = folder / "simulator-private.pem"
    async with serving(config, (account,)) as simulator:
        account.door.hub = simulator.hub  # its own task will say the same
        _list_markets(simulator)
        _give_a_past(simulator, account)
        yield Venue(simulator, account, key_file, load_signer(KEY_ID, key_file))


def _list_markets(simulator: Simulator) -> None:
    """The markets of the run, around the spot, so that both sides of each have a price."""
    source = simulator.source
    assert isinstance(source, Generator)
    middle = round(source.spot.dollars)
    for n in range(MARKETS):
        strike = middle + (n - MARKETS // 2) * STRIKE_STEP
        source.add_market(f"KXBTCD-CONF-T{strike}", float(strike), OPEN_S)


def _give_a_past(simulator: Simulator, account: Account) -> None:
    """Something in every list: trades of long ago, a market that settled then and is archived, trades of today, and a
    market that settles now."""
    hub, live_s = simulator.hub, simulator.config.live_fills_s
    ages_us = [(live_s + days * DAY_S) * SECOND_US for days in (12, 8, 7)]
    account.trade(hub, 150, ages_us[0], ages_us[1])
    archived = _settle(simulator, account)
    account.trade(hub, 1, ages_us[2], ages_us[2])
    hub.forget_market(archived.ticker)
    account.trade(hub, 150, 3_600 * SECOND_US, 0)
    _settle(simulator, account)
    account.trade(hub, 1)


def _settle(simulator: Simulator, account: Account) -> Market:
    """End a market that the account holds: one of those that would end last, so that the others stay."""
    hub, source = simulator.hub, simulator.source
    assert isinstance(source, Generator)
    held = [hub.markets[t] for t, p in account.ledger.positions.items() if p.net_e2 and not p.settled]
    market = max(held, key=lambda m: (m.status == "active", m.close_ms, m.ticker))
    source.settle_now(market.ticker, "yes")
    return market
