"""The matching side of order writes: what a V2 order does to the simulated account.

An order takes what the book offers at its price or better, and what is left of it rests; a resting order is filled when
the book comes to its price. The account is small: it takes the book's prices and leaves the book alone, so that an
order's queue place is what rests at its price.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from venues.simulator.account_door import Refused
from venues.simulator.account_ledger import DOLLAR_E4, Ledger, SimFill, SimOrder
from venues.simulator.hub import Hub
from venues.simulator.ladder import positions
from venues.simulator.market import Market
from venues.simulator.order_groups import OrderGroups
from venues.simulator.vintages import Body

TimeInForce = Literal["fill_or_kill", "good_till_canceled", "immediate_or_cancel"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A new order, read and in range. `bid`: it gains YES; `price_e4` is of the YES leg."""

    ticker: str
    client_order_id: str
    bid: bool
    count_e2: int
    price_e4: int
    time_in_force: TimeInForce
    self_trade_prevention_type: Literal["taker_at_cross", "maker"]
    expires_us: int = 0
    post_only: bool = False
    cancel_order_on_pause: bool = False
    reduce_only: bool = False
    order_group_id: str = ""


class OrderDesk:
    """Writes of the account's owner. The `tell_..` functions send the frames of what happened."""

    def __init__(
        self,
        ledger: Ledger,
        tell_fill: Callable[[Market, SimFill], None],
        tell_order: Callable[[SimOrder], None],
        tell_group: Callable[[Body], None],
    ) -> None:
        self.ledger, self._tell_fill, self._tell_order = ledger, tell_fill, tell_order
        self.groups = OrderGroups(ledger, tell_group, self.end)
        self._client_ids: dict[str, SimOrder] = {}

    def create(self, hub: Hub, wanted: Wanted, now_us: int) -> SimOrder:
        """Place an order: filled, resting, or over at once.

        Raises:
            Refused: nothing happened.
        """
        market = open_market(hub, wanted.ticker)
        self._check(market, wanted, now_us)
        count_e2 = self._reducing(wanted) if wanted.reduce_only else wanted.count_e2
        crossing = _crossing(market, wanted.bid, wanted.price_e4)
        offered_e2 = sum(size for _, size in crossing)
        if wanted.post_only and crossing:
            raise Refused(400, "post_only_cross", "the order would take")
        if wanted.time_in_force == "fill_or_kill" and offered_e2 < count_e2:
            raise Refused(409, "fill_or_kill_insufficient_resting_volume", "not enough volume at that price")
        action: Literal["buy", "sell"] = "buy" if wanted.bid else "sell"
        order = self.ledger.place(wanted.ticker, "yes", action, wanted.price_e4, count_e2, now_us)
        order.scripted = False
        order.client_order_id = wanted.client_order_id
        order.expires_us = wanted.expires_us
        order.order_group_id = wanted.order_group_id
        order.self_trade_prevention_type = wanted.self_trade_prevention_type
        order.cancel_order_on_pause = wanted.cancel_order_on_pause
        if wanted.client_order_id:
            self._client_ids[wanted.client_order_id] = order
        for price_e4, size_e2 in crossing:
            self._fill(market, order, price_e4, size_e2, now_us, is_taker=True)
        if order.status == "resting" and wanted.time_in_force != "good_till_canceled":
            self.ledger.cancel(order, now_us)
        self._tell_order(order)
        return order

    def cancel(self, hub: Hub, order: SimOrder, now_us: int) -> int:
        """Take a resting order away; the contracts that went. Raises Refused where the market is not open."""
        open_market(hub, order.ticker)
        return self.end(order, now_us)

    def end(self, order: SimOrder, now_us: int) -> int:
        """The same, whatever the market says (groups, expiry)."""
        reduced_e2 = order.remaining_e2
        self.ledger.cancel(order, now_us)
        self._tell_order(order)
        return reduced_e2

    def decrease(self, hub: Hub, order: SimOrder, to_e2: int, now_us: int) -> None:
        """Less of it rests; nothing left is a cancel. The queue place stays."""
        open_market(hub, order.ticker)
        if to_e2 <= 0:
            self.end(order, now_us)
            return
        order.initial_e2 = order.filled_e2 + to_e2
        order.updated_us = now_us
        self._tell_order(order)

    def amend(self, hub: Hub, order: SimOrder, price_e4: int, count_e2: int, now_us: int) -> None:
        """Another price, or a total count (filled and wanted); what crosses at the new price takes."""
        market = open_market(hub, order.ticker)
        _on_grid(market, price_e4)
        if count_e2 <= order.filled_e2:
            raise Refused(400, "invalid_count", "expected more than what is filled")
        order.price_e4, order.initial_e2, order.updated_us = price_e4, count_e2, now_us
        for level_e4, size_e2 in _crossing(market, order.action == "buy", price_e4):
            self._fill(market, order, level_e4, size_e2, now_us, is_taker=True)
        self._tell_order(order)

    def pass_time(self, hub: Hub, now_us: int) -> None:
        """Orders of the owner that are due: expired ones end, those that the book has come to are filled."""
        for order in [order for order in self.ledger.live.values() if not order.scripted]:
            if not hub.exchange.trading:
                if order.cancel_order_on_pause:
                    self.end(order, now_us)
                continue
            if order.status != "resting":
                continue  # its group has ended it just now
            market = hub.markets.get(order.ticker)
            if order.expires_us and order.expires_us <= now_us:
                self.end(order, now_us)
                continue
            if market is None or market.status != "active":
                continue
            crossing = _crossing(market, order.action == "buy", order.price_e4)
            if crossing:
                for _, size_e2 in crossing:  # a maker is filled at its own price
                    self._fill(market, order, order.price_e4, size_e2, now_us, is_taker=False)
                self._tell_order(order)

    def queue_e2(self, hub: Hub, order: SimOrder) -> int:
        """What stands before it: all that rests at its price."""
        market = hub.markets.get(order.ticker)
        if market is None:
            return 0
        is_yes = (order.side == "yes") == (order.action == "buy")
        yes_e4 = order.price_e4 if order.side == "yes" else DOLLAR_E4 - order.price_e4
        return market.book.yes.get(yes_e4, 0) if is_yes else market.book.no.get(DOLLAR_E4 - yes_e4, 0)

    def _check(self, market: Market, wanted: Wanted, now_us: int) -> None:
        if wanted.client_order_id and wanted.client_order_id in self._client_ids:
            raise Refused(409, "order_already_exists", "client_order_id was used before")
        _on_grid(market, wanted.price_e4)
        if wanted.expires_us and wanted.time_in_force != "good_till_canceled":
            raise Refused(400, "invalid_expiration", "expiration_time goes with good_till_canceled only")
        if wanted.expires_us and wanted.expires_us <= now_us:
            raise Refused(400, "invalid_expiration", "expiration_time is in the past")
        if wanted.reduce_only and wanted.time_in_force != "immediate_or_cancel":
            raise Refused(400, "invalid_reduce_only", "reduce_only goes with immediate_or_cancel only")
        if wanted.order_group_id:
            group = self.groups.get(wanted.order_group_id)
            if group is None:
                raise Refused(404, "order_group_not_found", "no such order group")
            if group.triggered:
                raise Refused(409, "order_group_triggered", "the order group takes no orders until it is reset")
        own_e4 = wanted.price_e4 if wanted.bid else DOLLAR_E4 - wanted.price_e4
        if wanted.count_e2 * own_e4 > self.ledger.balance_e6():
            raise Refused(400, "insufficient_balance", "the account holds less than the order costs")

    def _reducing(self, wanted: Wanted) -> int:
        position = self.ledger.positions.get(wanted.ticker)
        held_e2 = 0 if position is None else -position.net_e2 if wanted.bid else position.net_e2
        if held_e2 <= 0:
            raise Refused(400, "reduce_only_increases", "the order would not reduce the position")
        return min(held_e2, wanted.count_e2)

    def _fill(
        self, market: Market, order: SimOrder, price_e4: int, size_e2: int, now_us: int, *, is_taker: bool
    ) -> None:
        count_e2 = min(size_e2, order.remaining_e2)
        if count_e2:  # a group that has reached its limit has ended the order in the midst of its fills
            self._tell_fill(market, self.ledger.fill(order, price_e4, count_e2, now_us, is_taker=is_taker))
            self.groups.filled(order, count_e2, now_us)


def open_market(hub: Hub, ticker: str) -> Market:
    """The market, if orders can be written there.

    Raises:
        Refused: unknown, or not trading; cancels are refused as well.
    """
    if not hub.exchange.trading:
        raise Refused(503, "trading_is_paused", "the exchange does not trade now")
    market = hub.markets.get(ticker)
    if market is None:
        raise Refused(404, "market_not_found", f"no market {ticker}")
    if market.status != "active":
        raise Refused(409, "market_inactive", f"{ticker} is {market.status}")
    return market


def _on_grid(market: Market, price_e4: int) -> None:
    if price_e4 not in positions(market.structure):
        raise Refused(400, "invalid_price", f"price is none of {market.structure}")


def _crossing(market: Market, bid: bool, price_e4: int) -> list[tuple[int, int]]:
    """What the book offers at the price or better, the best first: (YES price, size)."""
    if bid:
        offers = [(DOLLAR_E4 - no_e4, size) for no_e4, size in market.book.no.items() if DOLLAR_E4 - no_e4 <= price_e4]
        return sorted(offers)
    return sorted(((e4, size) for e4, size in market.book.yes.items() if e4 >= price_e4), reverse=True)
