"""The simulated account's own truth: orders, fills, settlements, and the sums that every store of ours must reach.

Kept deliberately apart from `domain.positions`: counts, cash and fees are summed here in another way, so that a wrong
fold there cannot agree with itself.
"""

import uuid
from dataclasses import dataclass, field
from typing import Literal

from domain.fees import charge_fill, trade_fee_e6

Side = Literal["yes", "no"]
Action = Literal["buy", "sell"]
DOLLAR_E4 = 10_000
DEPOSIT_E6 = 1_000_000_000_000  # a million dollars: the scripted trader spends some ten dollars a second, for hours
SUBACCOUNT = 0
USER_ID = str(uuid.uuid5(uuid.NAMESPACE_OID, "the simulated user"))


@dataclass(slots=True, eq=False)
class SimOrder:
    """One order; `rounding_e6` is its fee accumulator. `expires_us` 0: good till cancelled. `scripted`: of the trader
    that lives in the simulator, which leaves the orders of others alone."""

    order_id: str
    client_order_id: str
    ticker: str
    side: Side
    action: Action
    price_e4: int  # the own leg's limit
    initial_e2: int
    created_us: int
    filled_e2: int = 0
    status: Literal["resting", "canceled", "executed"] = "resting"
    updated_us: int = 0
    fees_e6: int = 0
    rounding_e6: int = 0
    taker_cost_e6: int = 0
    maker_cost_e6: int = 0
    taker_fees_e6: int = 0
    expires_us: int = 0
    order_group_id: str = ""
    self_trade_prevention_type: Literal["taker_at_cross", "maker"] = "taker_at_cross"
    cancel_order_on_pause: bool = False
    scripted: bool = True

    @property
    def remaining_e2(self) -> int:
        """What still rests; nothing once it is over."""
        return self.initial_e2 - self.filled_e2 if self.status == "resting" else 0


@dataclass(frozen=True, slots=True)
class SimFill:
    """One fill at the own leg's price."""

    fill_id: str
    order: SimOrder
    price_e4: int
    count_e2: int
    is_taker: bool
    fee_e6: int
    ts_us: int
    position_after_e2: int

    @property
    def yes_price_e4(self) -> int:
        """What the wire calls the price, always."""
        return self.price_e4 if self.order.side == "yes" else DOLLAR_E4 - self.price_e4

    @property
    def adds_yes(self) -> bool:
        """Buying YES and selling NO are the same direction."""
        return (self.order.side == "yes") == (self.order.action == "buy")


@dataclass(slots=True)
class SimPosition:
    """One market: net count (YES positive), money paid and received at own-leg prices, fees.

    `cost_e6` is what the contracts now held were bought for (average cost), `open_fees_e6` the fees of these: money of
    the past is `realized_e6`, so that `realized_e6 - cost_e6 == cash_e6` always. `traded_e6`: own-leg prices, summed.
    """

    net_e2: int = 0
    cash_e6: int = 0
    fees_e6: int = 0
    volume_e2: int = 0
    fills: int = 0
    settled: bool = False
    cost_e6: int = 0
    realized_e6: int = 0
    open_fees_e6: int = 0
    traded_e6: int = 0
    updated_us: int = 0

    def trade(self, change_e2: int, yes_price: int, fee_e6: int) -> None:
        """Gain (positive: YES) contracts at a price of the YES leg. YES is netted against NO, as the venue does it."""
        before, after = self.net_e2, self.net_e2 + change_e2
        self.net_e2 = after
        self.open_fees_e6 += fee_e6
        for sign, price in ((1, yes_price), (-1, DOLLAR_E4 - yes_price)):
            held = max(0, sign * before)
            gained = max(0, sign * after) - held
            self.cash_e6 -= gained * price
            if gained >= 0:
                self.cost_e6 += gained * price
                continue
            given = self.cost_e6 * -gained // held
            self.cost_e6 -= given
            self.realized_e6 += -gained * price - given
            self.open_fees_e6 -= self.open_fees_e6 * -gained // held

    def count(self, count_e2: int, own_price_e4: int, fee_e6: int, now_us: int) -> None:
        """What only grows: fees, contracts, money, fills."""
        self.fees_e6 += fee_e6
        self.volume_e2 += count_e2
        self.traded_e6 += count_e2 * own_price_e4
        self.fills += 1
        self.updated_us = now_us

    def settle(self, revenue_e6: int, now_us: int) -> None:
        """The market has paid: nothing is held any more."""
        self.cash_e6 += revenue_e6
        self.realized_e6 += revenue_e6 - self.cost_e6
        self.net_e2 = self.cost_e6 = self.open_fees_e6 = 0
        self.updated_us = now_us
        self.settled = True


@dataclass(frozen=True, slots=True)
class SimSettlement:
    """What a market paid at its end."""

    ticker: str
    result: Literal["yes", "no"]
    net_e2: int
    revenue_e6: int
    fees_e6: int
    settled_us: int
    cost_e6: int


@dataclass
class Ledger:
    """Everything that happened, oldest first."""

    seed: int = 1
    orders: list[SimOrder] = field(default_factory=list)
    fills: list[SimFill] = field(default_factory=list)
    settlements: list[SimSettlement] = field(default_factory=list)
    positions: dict[str, SimPosition] = field(default_factory=dict)
    by_id: dict[str, SimOrder] = field(default_factory=dict)
    live: dict[str, SimOrder] = field(default_factory=dict)

    def place(self, ticker: str, side: Side, action: Action, price_e4: int, count_e2: int, now_us: int) -> SimOrder:
        """A new order that rests until it is filled or cancelled."""
        number = len(self.orders)
        order_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"order {self.seed} {number} {ticker}"))
        order = SimOrder(order_id, f"sim-{number}", ticker, side, action, price_e4, count_e2, now_us, updated_us=now_us)
        self.orders.append(order)
        self.by_id[order_id] = self.live[order_id] = order
        return order

    def fill(self, order: SimOrder, price_e4: int, count_e2: int, now_us: int, *, is_taker: bool) -> SimFill:
        """Fill a part of an order at an own-leg price; fees as the venue charges them."""
        count_e2 = min(count_e2, order.remaining_e2)
        pays = order.action == "buy"
        revenue_e6 = -count_e2 * price_e4 if pays else count_e2 * price_e4
        fee_model = trade_fee_e6(count_e2, price_e4) if is_taker else 0
        charge, order.rounding_e6 = charge_fill(order.rounding_e6, revenue_e6, fee_model)
        position = self.positions.setdefault(order.ticker, SimPosition())
        adds_yes = (order.side == "yes") == pays
        yes_price = price_e4 if order.side == "yes" else DOLLAR_E4 - price_e4
        position.trade(count_e2 if adds_yes else -count_e2, yes_price, charge.net_e6)
        position.count(count_e2, price_e4, charge.net_e6, now_us)
        if is_taker:
            order.taker_cost_e6 += count_e2 * price_e4
            order.taker_fees_e6 += charge.net_e6
        else:
            order.maker_cost_e6 += count_e2 * price_e4
        order.filled_e2 += count_e2
        order.fees_e6 += charge.net_e6
        order.updated_us = now_us
        if order.filled_e2 == order.initial_e2:
            order.status = "executed"
            self.live.pop(order.order_id)
        fill_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"fill {self.seed} {len(self.fills)} {order.order_id}"))
        fill = SimFill(fill_id, order, price_e4, count_e2, is_taker, charge.net_e6, now_us, position.net_e2)
        self.fills.append(fill)
        return fill

    def cancel(self, order: SimOrder, now_us: int) -> None:
        """What rests is gone."""
        order.status = "canceled"
        self.live.pop(order.order_id)
        order.updated_us = now_us

    def settle(self, ticker: str, result: Literal["yes", "no"], now_us: int) -> SimSettlement:
        """The market pays a dollar for each contract of the right side."""
        position = self.positions.setdefault(ticker, SimPosition())
        wins = position.net_e2 if result == "yes" else -position.net_e2
        revenue_e6 = max(0, wins) * DOLLAR_E4
        net_e2, cost_e6 = position.net_e2, position.cost_e6
        settlement = SimSettlement(ticker, result, net_e2, revenue_e6, position.fees_e6, now_us, cost_e6)
        position.settle(revenue_e6, now_us)
        self.settlements.append(settlement)
        return settlement

    def positions_at(self, at_us: int) -> dict[str, SimPosition]:
        """The positions as they were at a time: all fills and settlements until then, folded anew."""
        then: dict[str, SimPosition] = {}
        ended = {s.ticker: s for s in self.settlements if s.settled_us <= at_us}
        for fill in self.fills:
            if fill.ts_us <= at_us:
                position = then.setdefault(fill.order.ticker, SimPosition())
                position.trade(fill.count_e2 if fill.adds_yes else -fill.count_e2, fill.yes_price_e4, fill.fee_e6)
                position.count(fill.count_e2, fill.price_e4, fill.fee_e6, fill.ts_us)
        for ticker, settlement in ended.items():
            then.setdefault(ticker, SimPosition()).settle(settlement.revenue_e6, settlement.settled_us)
        return then

    def balance_e6(self) -> int:
        """Cash: the deposit and what all trades, fees and settlements made of it."""
        return DEPOSIT_E6 + sum(position.cash_e6 - position.fees_e6 for position in self.positions.values())

    def newest_us(self) -> int:
        """When the last order or fill was."""
        return max(self.orders[-1].created_us if self.orders else 0, self.fills[-1].ts_us if self.fills else 0)

    def resting(self) -> list[SimOrder]:
        """The live orders, oldest first."""
        return list(self.live.values())
