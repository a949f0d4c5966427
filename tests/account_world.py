"""For account tests: a simulated account that trades when told, and polls of it without Kafka."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from account_desk import Desk, KeepingPublisher

from producers.account_poll import AccountPoller
from producers.account_reporter import AccountReporter
from venues.kalshi.account_rest import AccountRest, TokenBudget
from venues.simulator.account import Account
from venues.simulator.account_door import AccountFaults
from venues.simulator.account_ledger import Action, Side
from venues.simulator.config import SimConfig
from venues.simulator.server import serving

DEADLINE_S = 90.0
PLENTY = 1_000_000  # tokens: these tests are about answers, not about pace


class World:
    """A simulated account and a poller of it."""

    def __init__(self, account: Account, sim: Any, rest: AccountRest, mark_path: Path) -> None:
        self.account, self.hub, self.port, self.mark_path = account, sim.hub, sim.port, mark_path
        self.publisher = KeepingPublisher()
        self.reporter = AccountReporter(self.publisher, "session")  # type: ignore[arg-type]
        self.rest = rest
        self.poller = self.new_poller()

    def new_poller(self) -> AccountPoller:
        """As after a restart: only the mark is left."""
        return AccountPoller(self.rest, self.reporter, self.publisher, self.mark_path, interval_s=10, overlap_s=60)  # type: ignore[arg-type]

    async def restart_and_poll(self) -> str | None:
        """One poll of a producer that remembers nothing but its mark."""
        self.reporter = AccountReporter(self.publisher, "session")  # type: ignore[arg-type]
        self.poller = self.new_poller()
        return await self.poller.poll_once()

    def trade(self, actions: int) -> None:
        """Steps of the script."""
        for _ in range(actions):
            self.account.act(self.hub)
        self.hub.flush()

    @property
    def ticker(self) -> str:
        """The market of `fill`."""
        return min(self.hub.markets)

    def fill(self, count_e2: int, side: Side = "yes", action: Action = "buy", age_s: float = 0.0) -> str:
        """An order that is filled whole, so long ago; its id."""
        now_us = time.time_ns() // 1_000 - int(age_s * 1_000_000)
        order = self.account.ledger.place(self.ticker, side, action, 4_000, count_e2, now_us)
        self.account.ledger.fill(order, 4_000, count_e2, now_us, is_taker=True)
        return order.order_id

    def strike(self, **faults: object) -> None:
        """These faults and no others."""
        self.account.door.faults = msgspec.convert(faults, AccountFaults)

    def desk(self) -> Desk:
        """What the agents would hold by now."""
        desk = Desk()
        for _, _, record in self.publisher.records:
            desk.read(record)
        return desk

    def held_e2(self) -> int:
        """Our position in the market of `fill`."""
        return self.desk().states[self.ticker].fold.count_e2


@asynccontextmanager
async def world(tmp_path: Path, budget: int = PLENTY, **options: Any) -> AsyncIterator[World]:
    """An account with open markets that trades only when told."""
    config = SimConfig(**{"rate": 2_000, "strikes": 3, "account_vintage": "mixed", **options})
    account = Account(config, actions_per_s=0, budget_per_s=budget)
    async with AsyncExitStack() as parts:
        sim = await parts.enter_async_context(serving(config, (account,)))
        rest = await parts.enter_async_context(AccountRest(f"http://127.0.0.1:{sim.port}/trade-api/v2", None))
        if budget == PLENTY:
            rest.budget = TokenBudget(PLENTY)
        await until(lambda: sum(1 for m in sim.hub.markets.values() if m.book.yes and m.book.no) >= 3)
        yield World(account, sim, rest, tmp_path / "account" / "mark.json")


async def until(holds: Any) -> None:
    """Wait for what nobody tells."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110  the simulator tells nobody
            await asyncio.sleep(0.01)
