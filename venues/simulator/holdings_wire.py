"""The account's positions, settlements and balance in the venue's words, in every vintage."""

from dataclasses import dataclass

from domain.units import contracts_text, money_text
from venues.simulator.account_ledger import SUBACCOUNT, USER_ID, Ledger, SimPosition, SimSettlement
from venues.simulator.account_wire import time_us_text
from venues.simulator.config import EXCHANGE_INDEX
from venues.simulator.vintages import Body, Field, told

CENT_E6 = 10_000


@dataclass(frozen=True, slots=True)
class Held:
    """A position under its market's ticker, with what the answers say beside it."""

    ticker: str
    position: SimPosition
    resting_orders: int = 0


_POSITION_FRAME: list[Field[Held]] = [
    Field("user_id", lambda _: USER_ID, "d"),
    Field("market_ticker", lambda h: h.ticker),
    Field("position", lambda h: h.position.net_e2 // 100, "ab"),
    Field("position_fp", lambda h: contracts_text(h.position.net_e2), "cd"),
    Field("position_cost_dollars", lambda h: money_text(h.position.cost_e6), "d"),
    Field("realized_pnl_dollars", lambda h: money_text(h.position.realized_e6), "d"),
    Field("fees_paid_dollars", lambda h: money_text(h.position.fees_e6)),
    Field("position_fee_cost_dollars", lambda h: money_text(h.position.open_fees_e6), "d"),
    Field("volume_fp", lambda h: contracts_text(h.position.volume_e2)),
    Field("subaccount", lambda _: SUBACCOUNT, "d"),
]

_POSITION_ITEM: list[Field[Held]] = [
    Field("ticker", lambda h: h.ticker),
    Field("exchange_index", lambda _: EXCHANGE_INDEX, "d"),
    Field("total_traded_dollars", lambda h: money_text(h.position.traded_e6), "d"),
    Field("position", lambda h: h.position.net_e2 // 100, "ab"),
    Field("position_fp", lambda h: contracts_text(h.position.net_e2), "cd"),
    Field("market_exposure_dollars", lambda h: money_text(h.position.cost_e6), "d"),
    Field("realized_pnl_dollars", lambda h: money_text(h.position.realized_e6), "d"),
    Field("fees_paid_dollars", lambda h: money_text(h.position.fees_e6)),
    Field("resting_orders_count", lambda h: h.resting_orders, "abc"),
    Field("last_updated_ts", lambda h: time_us_text(h.position.updated_us), "d"),
]


@dataclass(frozen=True, slots=True)
class EventHeld:
    """The positions of one event."""

    event_ticker: str
    positions: tuple[SimPosition, ...]


_EVENT_POSITION: list[Field[EventHeld]] = [
    Field("event_ticker", lambda e: e.event_ticker),
    Field("total_cost_dollars", lambda e: money_text(sum(p.traded_e6 for p in e.positions))),
    Field("total_cost_shares_fp", lambda e: contracts_text(sum(p.volume_e2 for p in e.positions))),
    Field("event_exposure_dollars", lambda e: money_text(sum(p.cost_e6 for p in e.positions))),
    Field("realized_pnl_dollars", lambda e: money_text(sum(p.realized_e6 for p in e.positions))),
    Field("fees_paid_dollars", lambda e: money_text(sum(p.fees_e6 for p in e.positions))),
]


@dataclass(frozen=True, slots=True)
class Paid:
    """A settlement with its market's event."""

    settlement: SimSettlement
    event_ticker: str


_SETTLEMENT: list[Field[Paid]] = [
    Field("ticker", lambda s: s.settlement.ticker),
    Field("exchange_index", lambda _: EXCHANGE_INDEX, "d"),
    Field("event_ticker", lambda s: s.event_ticker, "d"),
    Field("market_result", lambda s: s.settlement.result),
    Field("yes_count_fp", lambda s: contracts_text(max(0, s.settlement.net_e2))),
    Field("yes_total_cost_dollars", lambda s: money_text(s.settlement.cost_e6 if s.settlement.net_e2 > 0 else 0), "d"),
    Field("no_count_fp", lambda s: contracts_text(max(0, -s.settlement.net_e2))),
    Field("no_total_cost_dollars", lambda s: money_text(s.settlement.cost_e6 if s.settlement.net_e2 < 0 else 0), "d"),
    Field("revenue_dollars", lambda s: money_text(s.settlement.revenue_e6), "abc"),
    Field("revenue", lambda s: s.settlement.revenue_e6 // CENT_E6, "d"),
    Field("settled_time", lambda s: time_us_text(s.settlement.settled_us)),
    Field("fee_cost", lambda s: money_text(s.settlement.fees_e6)),
    Field("value", lambda s: 100 if s.settlement.result == "yes" else 0),
]


@dataclass(frozen=True, slots=True)
class Cash:
    """The account's money at one moment; `value_e6`: what the open positions are worth."""

    ledger: Ledger
    value_e6: int
    now_us: int


_BALANCE: list[Field[Cash]] = [
    Field("balance", lambda c: c.ledger.balance_e6() // CENT_E6),
    Field("balance_dollars", lambda c: money_text(c.ledger.balance_e6()), "d"),
    Field("portfolio_value", lambda c: c.value_e6 // CENT_E6),
    Field("updated_ts", lambda c: c.now_us // 1_000_000, "d"),
    Field(
        "balance_breakdown",
        lambda c: [{"exchange_index": EXCHANGE_INDEX, "balance": money_text(c.ledger.balance_e6())}],
        "d",
    ),
]


def _whole(vintage: str, position: SimPosition) -> str:
    """c where the vintage of whole numbers cannot say the position."""
    return "c" if vintage in "ab" and position.net_e2 % 100 else vintage


def position_frame(ticker: str, position: SimPosition, vintage: str) -> Body:
    """The `msg` of a `market_position` frame."""
    return told(_POSITION_FRAME, Held(ticker, position), _whole(vintage, position))


def position_item(ticker: str, position: SimPosition, resting: int, vintage: str) -> Body:
    """One item of `market_positions` in GET /portfolio/positions."""
    return told(_POSITION_ITEM, Held(ticker, position, resting), _whole(vintage, position))


def event_position_item(event_ticker: str, positions: list[SimPosition]) -> Body:
    """One item of `event_positions`."""
    return told(_EVENT_POSITION, EventHeld(event_ticker, tuple(positions)), "d")


def settlement_item(settlement: SimSettlement, event_ticker: str, vintage: str) -> Body:
    """One item of GET /portfolio/settlements."""
    return told(_SETTLEMENT, Paid(settlement, event_ticker), vintage)


def balance_body(cash: Cash, vintage: str) -> Body:
    """GET /portfolio/balance."""
    return told(_BALANCE, cash, vintage)
