"""An account with a scripted trader: orders rest, fill against the simulated book, cancel, settle.

The trader is small: it takes the book's prices and leaves the book alone. GET /admin/account is the truth that every
store of ours must reach; POST /admin/account/faults makes the answers and frames wrong.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable
from typing import Literal

from aiohttp import web

from venues.simulator import account_wire as wire
from venues.simulator import holdings_wire as holdings
from venues.simulator.account_ledger import DOLLAR_E4, Action, Ledger, Side, SimFill, SimOrder
from venues.simulator.account_rest import AccountFaults, Portfolio
from venues.simulator.channels import Channel
from venues.simulator.config import SimConfig
from venues.simulator.gate import Gate
from venues.simulator.hub import Hub
from venues.simulator.market import Market
from venues.simulator.session import Subscription
from venues.simulator.vintages import TODAY, Body

RESTING_MAX = 40  # the trader cancels before it places more
CONTRACTS_MAX = 40  # per order
FILL, ORDER, POSITION = "fill", "user_orders", "market_positions"


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
        self.portfolio = Portfolio(
            self.ledger, faults or AccountFaults(), budget_per_s or config.account_budget, config
        )
        self._random = random.Random(config.seed)  # noqa: S311  # a script, no secret
        self._actions_per_s = config.account_rate if actions_per_s is None else actions_per_s
        self._old_share = old_share
        self._vintage = config.account_vintage
        self._real_us = clock_us
        self._age_us = 0  # the script may act in the past: see `_trade_now`
        self._gate = Gate(config)
        self._hub: Hub | None = None  # known when `run` begins, which is before anybody can ask

    def channels(self) -> Iterable[Channel]:
        """The private channels; none of them carries seq, so a lost frame leaves no trace."""
        fill = Channel(FILL, sequenced=False, on_subscribe=self._resend)
        return [fill, *(Channel(name, sequenced=False) for name in (ORDER, POSITION))]

    def routes(self) -> Iterable[web.RouteDef]:
        """/portfolio/* and the admin endpoints."""
        return [
            *self.portfolio.routes(lambda: self._hub, self._gate),
            web.get("/admin/account", self._truth),
            web.post("/admin/account/faults", self.portfolio.set_faults),
            web.post("/admin/account/trade", self._trade_now),
        ]

    def status(self) -> dict[str, object]:
        """For GET /admin/status."""
        return {
            "account": {"fills": len(self.ledger.fills), "orders": len(self.ledger.orders), **self.portfolio.counts}
        }

    async def run(self, hub: Hub) -> None:
        """Trade at the set rate until cancelled."""
        self._hub = hub
        due_s = time.monotonic()
        while self._actions_per_s > 0:
            due_s += 1 / self._actions_per_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self.act(hub)
            hub.flush()
        await asyncio.Event().wait()

    def _clock_us(self) -> int:
        return self._real_us() - self._age_us

    def act(self, hub: Hub) -> None:
        """One step of the script, and the settlements that are due."""
        self._settle_ended(hub)
        open_markets = [m for m in hub.markets.values() if m.status == "active" and m.book.yes and m.book.no]
        if not open_markets:
            return
        choice, resting = self._random.random(), self.ledger.resting()
        if resting and (choice < 0.35 or len(resting) >= RESTING_MAX):
            order = self._random.choice(resting)
            market = hub.markets.get(order.ticker)
            if market is None or market.status != "active":
                return
            if choice < 0.25:
                self._fill_resting(market, order)
            else:
                self.ledger.cancel(order, self._clock_us())
                self._tell_order(market, order)
        elif choice < 0.6:
            self._rest(self._random.choice(open_markets))
        else:
            self._take(self._random.choice(open_markets))

    def _direction(self) -> tuple[Side, Action]:
        sides: tuple[Side, Side] = ("yes", "no")
        actions: tuple[Action, Action] = ("buy", "sell")
        return self._random.choice(sides), self._random.choice(actions)

    def _count_e2(self) -> int:
        whole = self._random.randint(1, CONTRACTS_MAX) * 100
        return whole if self._random.random() < 0.8 else whole + self._random.randint(1, 99)

    def _take(self, market: Market) -> None:
        """Sweep the other side's best levels: several fills in one microsecond, some of them equal."""
        side, action = self._direction()
        adds_yes = (side == "yes") == (action == "buy")
        bids = market.book.no if adds_yes else market.book.yes
        now_us, left = self._clock_us(), self._count_e2()
        levels = sorted(bids, reverse=True)[:3]
        yes_prices = [DOLLAR_E4 - price if adds_yes else price for price in levels]
        limit = yes_prices[-1] if side == "yes" else DOLLAR_E4 - yes_prices[-1]
        order = self.ledger.place(market.ticker, side, action, limit, left, now_us)
        for bid, yes_price in zip(levels, yes_prices, strict=True):
            part = min(left, bids[bid])
            shares = [part // 2, part // 2, part % 2] if self._random.random() < 0.3 else [part]
            for share in shares:
                if share:
                    price = yes_price if side == "yes" else DOLLAR_E4 - yes_price
                    self._tell_fill(market, self.ledger.fill(order, price, share, now_us, is_taker=True))
            left -= part
            if not left:
                break
        self._tell_order(market, order)

    def _rest(self, market: Market) -> None:
        side, action = self._direction()
        adds_yes = (side == "yes") == (action == "buy")
        best = max(market.book.yes) if adds_yes else DOLLAR_E4 - max(market.book.no)
        price = best if side == "yes" else DOLLAR_E4 - best
        self._tell_order(
            market, self.ledger.place(market.ticker, side, action, price, self._count_e2(), self._clock_us())
        )

    def _fill_resting(self, market: Market, order: SimOrder) -> None:
        part = order.remaining_e2 if self._random.random() < 0.5 else max(1, order.remaining_e2 // 3)
        self._tell_fill(market, self.ledger.fill(order, order.price_e4, part, self._clock_us(), is_taker=False))
        self._tell_order(market, order)

    def _settle_ended(self, hub: Hub) -> None:
        for ticker, position in list(self.ledger.positions.items()):
            market = hub.markets.get(ticker)
            if position.settled or market is None or market.status != "finalized" or market.result not in ("yes", "no"):
                continue
            now_us = self._clock_us()
            for order in self.ledger.resting():
                if order.ticker == ticker:
                    self.ledger.cancel(order, now_us)
                    self._tell_order(market, order)
            result: Literal["yes", "no"] = "yes" if market.result == "yes" else "no"
            self.ledger.settle(ticker, result, now_us)

    def _tell_fill(self, market: Market, fill: SimFill) -> None:
        old = self._random.random() < self._old_share
        vintage = self._vintage if self._vintage != "mixed" else "b" if old else TODAY
        self._send(market, FILL, "fill", wire.fill_frame(fill, vintage))
        position = self.ledger.positions[market.ticker]
        self._send(market, POSITION, "market_position", holdings.position_frame(market.ticker, position, self._told()))

    def _tell_order(self, market: Market, order: SimOrder) -> None:
        self._send(market, ORDER, "user_order", wire.order_frame(order, self._told()))

    def _told(self) -> str:
        """The vintage of what has no old form."""
        return TODAY if self._vintage == "mixed" else self._vintage

    def _send(self, market: Market, channel: str, kind: str, body: Body) -> None:
        times = 0 if self.portfolio.turn("drop_frame_every") else 2 if self.portfolio.turn("repeat_frame_every") else 1
        text = json.dumps(body, separators=(",", ":"))
        for sub in market.targets.get(channel, ()):
            for _ in range(times):
                sub.session.send(sub, kind, text)

    def _resend(self, sub: Subscription, tickers: Iterable[str]) -> None:
        """The fault of a venue that tells what it told before, on a new connection."""
        wanted, newest = set(tickers), self.portfolio.faults.resend_on_subscribe
        for fill in self.ledger.fills[-newest:] if newest else ():
            if fill.order.ticker in wanted:
                sub.session.send(sub, "fill", json.dumps(wire.fill_frame(fill, self._told()), separators=(",", ":")))

    async def _trade_now(self, request: web.Request) -> web.Response:
        """POST {"actions": n}: n steps of the script at once. With "ages_s": [older, newer] they are spread over that
        span of the past, which must not begin before the newest fill or order: the ledger stands in time order."""
        if self._hub is None:
            return web.json_response({"error": "not running yet"}, status=503)
        body = await request.json()
        actions = int(body.get("actions", 1))
        older_us, newer_us = (int(float(age) * 1_000_000) for age in body.get("ages_s", (0, 0)))
        if self._real_us() - older_us < self.ledger.newest_us() or older_us < newer_us:
            return web.json_response({"error": "ages_s: expected a span after what has happened"}, status=409)
        for step in range(actions):
            self._age_us = older_us - (older_us - newer_us) * step // actions
            self.act(self._hub)
        self._age_us = 0
        self._hub.flush()
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
        return web.json_response({**told, "counts": self.portfolio.counts})
