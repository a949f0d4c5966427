"""The trader that lives in the simulator: orders rest, fill against the simulated book, cancel, by chance and seed."""

import random
from collections.abc import Callable

from venues.simulator.account_ledger import DOLLAR_E4, Action, Ledger, Side, SimOrder
from venues.simulator.account_teller import Teller
from venues.simulator.hub import Hub
from venues.simulator.market import Market

RESTING_MAX = 40  # the trader cancels before it places more
CONTRACTS_MAX = 40  # per order


class Script:
    """It takes the book's prices and leaves the book alone, and the orders of others too."""

    def __init__(self, ledger: Ledger, teller: Teller, dice: random.Random, clock_us: Callable[[], int]) -> None:
        self._ledger, self._teller, self._random, self._clock_us = ledger, teller, dice, clock_us

    def act(self, hub: Hub) -> None:
        """One step."""
        open_markets = [m for m in hub.markets.values() if m.status == "active" and m.book.yes and m.book.no]
        if not open_markets:
            return
        choice, resting = self._random.random(), [o for o in self._ledger.resting() if o.scripted]
        if resting and (choice < 0.35 or len(resting) >= RESTING_MAX):
            order = self._random.choice(resting)
            market = hub.markets.get(order.ticker)
            if market is None or market.status != "active":
                return
            if choice < 0.25:
                self._fill_resting(market, order)
            else:
                self._ledger.cancel(order, self._clock_us())
                self._teller.order(order)
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
        order = self._ledger.place(market.ticker, side, action, limit, left, now_us)
        for bid, yes_price in zip(levels, yes_prices, strict=True):
            part = min(left, bids[bid])
            shares = [part // 2, part // 2, part % 2] if self._random.random() < 0.3 else [part]
            for share in shares:
                if share:
                    price = yes_price if side == "yes" else DOLLAR_E4 - yes_price
                    self._teller.fill(market, self._ledger.fill(order, price, share, now_us, is_taker=True))
            left -= part
            if not left:
                break
        self._teller.order(order)

    def _rest(self, market: Market) -> None:
        side, action = self._direction()
        adds_yes = (side == "yes") == (action == "buy")
        best = max(market.book.yes) if adds_yes else DOLLAR_E4 - max(market.book.no)
        price = best if side == "yes" else DOLLAR_E4 - best
        count_e2 = self._count_e2()
        self._teller.order(self._ledger.place(market.ticker, side, action, price, count_e2, self._clock_us()))

    def _fill_resting(self, market: Market, order: SimOrder) -> None:
        part = order.remaining_e2 if self._random.random() < 0.5 else max(1, order.remaining_e2 // 3)
        self._teller.fill(market, self._ledger.fill(order, order.price_e4, part, self._clock_us(), is_taker=False))
        self._teller.order(order)
