"""The private frames: what happens to the account, told to whoever listens, in the account's vintage."""

import json
import random
from collections.abc import Iterable

from venues.simulator import account_wire as wire
from venues.simulator import holdings_wire as holdings
from venues.simulator.account_door import Door
from venues.simulator.account_ledger import Ledger, SimFill, SimOrder
from venues.simulator.channels import Channel
from venues.simulator.config import SimConfig
from venues.simulator.market import Market
from venues.simulator.session import Subscription
from venues.simulator.vintages import TODAY, Body

FILL, ORDER, POSITION, GROUP = "fill", "user_orders", "market_positions", "order_group_updates"


class Teller:
    """`old_share`: how many of the fills use the January 2026 form, where the vintage is mixed."""

    def __init__(self, config: SimConfig, ledger: Ledger, door: Door, dice: random.Random, old_share: float) -> None:
        self._ledger, self._door, self._dice = ledger, door, dice
        self._mixed, self._old_share = config.account_vintage == "mixed", old_share
        self._vintage = TODAY if self._mixed else config.account_vintage

    def channels(self) -> Iterable[Channel]:
        """The private channels. Only that of order groups carries seq: another's lost frame leaves no trace."""
        fill = Channel(FILL, sequenced=False, on_subscribe=self._resend)
        plain = (Channel(name, sequenced=False) for name in (ORDER, POSITION))
        return [fill, *plain, Channel(GROUP, sequenced=True, ignores_tickers=True)]

    def fill(self, market: Market, fill: SimFill) -> None:
        """A fill, and the position after it."""
        is_old = self._dice.random() < self._old_share and self._mixed
        self._send(market, FILL, "fill", wire.fill_frame(fill, "b" if is_old else self._vintage))
        position = self._ledger.positions[market.ticker]
        self._send(market, POSITION, "market_position", holdings.position_frame(market.ticker, position, self._vintage))

    def order(self, order: SimOrder) -> None:
        """An order as it is now; nobody is told of one whose market is off the lists."""
        market = self._door.hub.markets.get(order.ticker) if self._door.hub is not None else None
        if market is not None:
            self._send(market, ORDER, "user_order", wire.order_frame(order, self._vintage))

    def group(self, body: Body) -> None:
        """What happened to an order group."""
        if self._door.hub is not None:
            self._door.hub.publish_all(GROUP, GROUP, _text(body))

    def _send(self, market: Market, channel: str, kind: str, body: Body) -> None:
        times = 0 if self._door.turn("drop_frame_every") else 2 if self._door.turn("repeat_frame_every") else 1
        text = _text(body)
        for sub in market.targets.get(channel, ()):
            for _ in range(times):
                sub.session.send(sub, kind, text)

    def _resend(self, sub: Subscription, tickers: Iterable[str]) -> None:
        """The fault of a venue that tells what it told before, on a new connection."""
        wanted, newest = set(tickers), self._door.faults.resend_on_subscribe
        for fill in self._ledger.fills[-newest:] if newest else ():
            if fill.order.ticker in wanted:
                sub.session.send(sub, "fill", _text(wire.fill_frame(fill, self._vintage)))


def _text(body: Body) -> str:
    return json.dumps(body, separators=(",", ":"))
