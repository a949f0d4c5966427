"""An account of the simulated venue: a scripted trader, and order writes of whoever has its key.

GET /admin/account is the truth that every store of ours must reach; POST /admin/account/faults makes the answers and
frames wrong; POST /admin/account/trade lets the script act at once.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import msgspec
from aiohttp import web

from venues.simulator.account_door import AccountFaults, Door
from venues.simulator.account_ledger import Ledger
from venues.simulator.account_script import Script
from venues.simulator.account_teller import Teller
from venues.simulator.channels import Channel
from venues.simulator.config import SimConfig
from venues.simulator.exchange_rest import PrivateExchange
from venues.simulator.gate import Gate
from venues.simulator.hub import Hub
from venues.simulator.order_desk import OrderDesk
from venues.simulator.order_group_rest import GroupRoutes
from venues.simulator.order_rest import OrderWrites
from venues.simulator.portfolio_rest import Portfolio

DUE_S = 0.1  # how often the owner's resting orders are looked at: expiry, and whether the book has come to them


Age = Annotated[float, msgspec.Meta(ge=0, le=31_536_000)]


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """What POST /admin/account/trade takes; a thousand steps take a second."""

    actions: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 1
    ages_s: tuple[Age, Age] = (0, 0)


_read_asked = msgspec.json.Decoder(_Asked).decode


class Account:
    """An extension of the simulator (`channels.Extension`)."""

    def __init__(
        self,
        config: SimConfig,
        *,
        actions_per_s: float | None = None,
        old_share: float = 0.5,
        budget_per_s: int | None = None,
        faults: AccountFaults | None = None,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        """`old_share`: how many of the pushed fills use the January 2026 form, where the vintage is mixed.
        0 actions a second: a silent account."""
        self.ledger = Ledger(config.seed)
        self.door = Door(config, Gate(config), faults or AccountFaults(), budget_per_s or config.account_budget)
        dice = random.Random(config.seed)  # noqa: S311  # a script, no secret
        self.teller = Teller(config, self.ledger, self.door, dice, old_share)
        self._script = Script(self.ledger, self.teller, dice, self._clock_us)
        self.desk = OrderDesk(self.ledger, self.teller.fill, self.teller.order, self.teller.group)
        self._parts = (
            OrderWrites(self.door, self.desk),
            GroupRoutes(self.door, self.desk.groups),
            Portfolio(self.door, self.ledger, self.desk, config, self._clock_us),
            PrivateExchange(self.door, config),
        )
        self._actions_per_s = config.account_rate if actions_per_s is None else actions_per_s
        self._real_us = clock_us
        self._age_us = 0  # the script may act in the past: see `_trade_now`

    def channels(self) -> Iterable[Channel]:
        """The private channels."""
        return self.teller.channels()

    def routes(self) -> Iterable[web.RouteDef]:
        """The private REST interface and the admin endpoints."""
        return [
            *(route for part in self._parts for route in part.routes()),
            web.get("/admin/account", self._truth),
            web.post("/admin/account/faults", self.door.set_faults),
            web.post("/admin/account/trade", self._trade_now),
        ]

    def status(self) -> dict[str, object]:
        """For GET /admin/status."""
        ledger = self.ledger
        return {"account": {"fills": len(ledger.fills), "orders": len(ledger.orders), **self.door.counts}}

    async def run(self, hub: Hub) -> None:
        """Trade at the set rate, and see to the owner's orders, until cancelled."""
        self.door.hub = hub
        await asyncio.gather(self._trade(hub), self._watch(hub))

    async def _trade(self, hub: Hub) -> None:
        due_s = time.monotonic()
        while self._actions_per_s > 0:
            due_s += 1 / self._actions_per_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self.act(hub)
            hub.flush()

    async def _watch(self, hub: Hub) -> None:
        while True:
            await asyncio.sleep(DUE_S)
            self.desk.pass_time(hub, self._clock_us())
            hub.flush()

    def _clock_us(self) -> int:
        return self._real_us() - self._age_us

    def act(self, hub: Hub) -> None:
        """One step of the script, and the settlements that are due."""
        self.door.hub = hub
        self._settle_ended(hub)
        if hub.exchange.trading:
            self._script.act(hub)

    def trade(self, hub: Hub, actions: int, older_us: int = 0, newer_us: int = 0) -> None:
        """So many steps of the script at once, spread over the time from one age to another."""
        for step in range(actions):
            self._age_us = older_us - (older_us - newer_us) * step // actions
            self.act(hub)
        self._age_us = 0
        hub.flush()

    def _settle_ended(self, hub: Hub) -> None:
        for ticker, position in list(self.ledger.positions.items()):
            market = hub.markets.get(ticker)
            if position.settled or market is None or market.status != "finalized" or market.result not in ("yes", "no"):
                continue
            now_us = self._clock_us()
            for order in self.ledger.resting():
                if order.ticker == ticker:
                    self.desk.end(order, now_us)
            result: Literal["yes", "no"] = "yes" if market.result == "yes" else "no"
            self.ledger.settle(ticker, result, now_us)

    async def _trade_now(self, request: web.Request) -> web.Response:
        """POST {"actions": n}: n steps of the script at once. With "ages_s": [older, newer] they are spread over that
        span of the past, which must not begin before the newest fill or order: the ledger stands in time order."""
        hub = self.door.hub
        if hub is None:
            return web.json_response({"error": "not running yet"}, status=503)
        try:
            asked = _read_asked(await request.read() or b"{}")
        except msgspec.MsgspecError as wrong:
            return web.json_response({"error": str(wrong)[:200]}, status=400)
        older_us, newer_us = (int(age_s * 1_000_000) for age_s in asked.ages_s)
        if self._real_us() - older_us < self.ledger.newest_us() or older_us < newer_us:
            return web.json_response({"error": "ages_s: expected a span after what has happened"}, status=409)
        self.trade(hub, asked.actions, older_us, newer_us)
        return web.json_response({"fills": len(self.ledger.fills), "orders": len(self.ledger.orders)})

    async def _truth(self, _request: web.Request) -> web.Response:
        positions = {
            ticker: {name: getattr(p, name) for name in p.__slots__}
            for ticker, p in sorted(self.ledger.positions.items())
        }
        fills = [
            [f.fill_id, o.ticker, o.order_id, o.side, o.action, f.price_e4, f.count_e2, f.fee_e6, f.ts_us]
            for f in self.ledger.fills
            for o in [f.order]
        ]
        resting = [[o.order_id, o.ticker, o.side, o.action, o.remaining_e2] for o in self.ledger.resting()]
        orders = [
            [o.order_id, o.ticker, o.side, o.action, o.status, o.initial_e2, o.filled_e2, o.remaining_e2]
            for o in self.ledger.orders
        ]
        told = {"positions": positions, "fills": fills, "orders": orders, "resting": resting}
        return web.json_response({**told, "counts": self.door.counts})
