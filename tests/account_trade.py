"""A simulated account that has traded, and what the venue would say of it."""

import random

from venues.kalshi.account import fill_of
from venues.kalshi.account_records import fill_report, order_report, settlement_report
from venues.kalshi.account_reports import order_of, settlement_of
from venues.simulator import account_wire as wire
from venues.simulator import holdings_wire as holdings
from venues.simulator.account import Account
from venues.simulator.account_ledger import Ledger, SimSettlement
from venues.simulator.config import SimConfig
from venues.simulator.hub import Hub
from venues.simulator.market import Market

T0_US = 1_768_061_471_000_000


def traded(seed: int, actions: int = 400) -> Account:
    """An account after so many actions in two markets with deep, fractional, sub-cent books; time stands in bursts."""
    config = SimConfig(seed=seed)
    ticks = iter(range(10_000_000))
    account = Account(config, actions_per_s=0, clock_us=lambda: T0_US + next(ticks) // 7 * 400_000)
    hub = Hub(config)
    dice = random.Random(seed)
    for ticker in ("KX-A", "KX-B"):
        market = Market(ticker, "KX", "KX", 0, 1 << 50)
        market.book.yes = {4_200 - 35 * n: dice.randint(1, 3_000) for n in range(4)}
        market.book.no = {5_700 - 100 * n: dice.randint(1, 30) * 100 for n in range(4)}
        hub.add_market(market)
    for _ in range(actions):
        account.act(hub)
    hub.markets["KX-A"].status, hub.markets["KX-A"].result = "finalized", "yes"
    account.act(hub)
    return account


def by_rest(ledger: Ledger, old: bool = False, vintage: str | None = None) -> list[object]:
    """Everything as GET /portfolio would tell it: of January 2026 (`old`), of today, or of the vintage named."""
    vintage = vintage or ("b" if old else "d")
    fills = [fill_report(fill_of(wire.fill_item(f, vintage), "rest"), "kalshi_rest", 1 << 50) for f in ledger.fills]
    orders = [order_report(order_of(wire.order_item(o, vintage)), "kalshi_rest", 1 << 50) for o in ledger.orders]
    ends = [settlement_report(settlement_of(_settlement(s, vintage)), 1 << 50) for s in ledger.settlements]
    return [*fills, *orders, *ends]


def _settlement(settlement: SimSettlement, vintage: str) -> dict[str, object]:
    return holdings.settlement_item(settlement, "KX", vintage)


def pushed_fills(ledger: Ledger, old: bool) -> list[object]:
    """Every fill as its frame would tell it."""
    return [
        fill_report(fill_of(wire.fill_frame(f, "b" if old else "d"), "ws"), "kalshi_ws", 1 << 50) for f in ledger.fills
    ]
