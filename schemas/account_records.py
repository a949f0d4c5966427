"""Records of the account topics (what the venue reported) and of the execution topics (what we concluded from it).

Reports are canonical already: the producer has normalized every wire vintage and applied the gates
(`venues.kalshi.account`). Duplicates of a report are normal; a repeated report carries the same idempotency key.
"""

from typing import Annotated, Literal

from msgspec import Meta

from schemas.records import Ms, Payload, PriceE4, Record, Side, SizeE2, Ticker

Action = Literal["buy", "sell"]
Id = Annotated[str, Meta(min_length=1, max_length=128)]
MoneyE6 = Annotated[int, Meta(ge=-(1 << 62), le=1 << 62, description="1/1,000,000 dollar")]
SignedE2 = Annotated[int, Meta(ge=-(1 << 53), le=1 << 53, description="1/100 contract; positive YES, negative NO")]
CountE2 = Annotated[int, Meta(ge=1, le=1 << 53, description="1/100 contract")]
Revision = Annotated[int, Meta(ge=1)]
# Which field of the venue gave the time, finest first; "ts" is whole seconds.
TimeSource = Literal["created_time", "ts_ms", "ts"]


class FillFields(Payload):
    """What a fill is. `price_e4` is the price of the filled side's own leg (for NO fills the NO price)."""

    market_ticker: Ticker
    fill_id: Id
    order_id: Id
    client_order_id: str | None
    side: Side
    action: Action
    price_e4: PriceE4
    count_e2: CountE2
    is_taker: bool | None
    fee_e6: MoneyE6 | None
    ts_ms: Ms
    ts_source: TimeSource


# --- account.fill_reports (producer account) ---


class FillReportPayload(FillFields):
    """One fill as reported. `synthetic_ordinal`: null where the venue gave an id, else the ordinal (from 0) among equal
    fills of a complete REST walk, and `fill_id` is derived (`domain.fills`)."""

    synthetic_ordinal: Annotated[int, Meta(ge=0)] | None


class FillReport(Record, tag="fill_report"):
    payload: FillReportPayload


# --- account.order_reports (producer account) ---


class OrderReportPayload(Payload):
    """One order as reported. `price_e4` is the own leg's limit; null for market orders without one."""

    market_ticker: Ticker
    order_id: Id
    client_order_id: str | None
    status: Literal["resting", "canceled", "executed"]
    side: Side
    action: Action
    price_e4: PriceE4 | None
    initial_e2: SizeE2
    filled_e2: SizeE2
    remaining_e2: SizeE2
    fees_e6: MoneyE6 | None
    created_ts_ms: Ms | None
    updated_ts_ms: Ms | None


class OrderReport(Record, tag="order_report"):
    payload: OrderReportPayload


class RestingOrdersPayload(Payload):
    """Every order that rests in one market, from a complete walk that began at `as_of_ms` (our clock). Compared with
    ours, never folded into it: the orders themselves are reported beside it."""

    market_ticker: Ticker
    order_ids: list[Id]
    as_of_ms: Ms


class RestingOrders(Record, tag="resting_orders"):
    payload: RestingOrdersPayload


# --- account.position_reports (producer account) ---


class PositionReportPayload(Payload):
    """The venue's own position. Compared with ours, never folded into it."""

    market_ticker: Ticker
    position_e2: SignedE2
    exposure_e6: MoneyE6 | None
    realized_pnl_e6: MoneyE6 | None
    fees_paid_e6: MoneyE6 | None
    volume_e2: SizeE2 | None
    resting_orders: Annotated[int, Meta(ge=0)] | None
    as_of_ms: Ms


class OpeningPositionPayload(Payload):
    """The position before the first fill we fold, written once, at the first start ever of an account.

    Fills at or before `as_of_ms` are contained in it and never folded.
    """

    market_ticker: Ticker
    position_e2: SignedE2
    cost_e6: MoneyE6
    realized_pnl_e6: MoneyE6
    fees_e6: MoneyE6
    as_of_ms: Ms


class SettlementReportPayload(Payload):
    """The market's end. `value_e4`: what one YES contract pays (0..10000); null for void, and where the venue does not
    say the value: `revenue_e6` counts then."""

    market_ticker: Ticker
    result: Literal["yes", "no", "scalar", "void"]
    value_e4: Annotated[int, Meta(ge=0, le=10_000)] | None
    yes_count_e2: SizeE2
    no_count_e2: SizeE2
    revenue_e6: MoneyE6
    fees_e6: MoneyE6 | None
    settled_ts_ms: Ms


class PositionCorrectionPayload(Payload):
    """A stated change that no fill explains, folded like a fill at `yes_price_e4`. `reason` is for a person."""

    market_ticker: Ticker
    correction_id: Id
    signed_count_e2: SignedE2
    yes_price_e4: Annotated[int, Meta(ge=0, le=10_000)]
    fees_e6: MoneyE6
    ts_ms: Ms
    reason: Annotated[str, Meta(max_length=500)]


class PositionReport(Record, tag="position_report"):
    payload: PositionReportPayload


class OpeningPosition(Record, tag="opening_position"):
    payload: OpeningPositionPayload


class SettlementReport(Record, tag="settlement_report"):
    payload: SettlementReportPayload


class PositionCorrection(Record, tag="position_correction"):
    payload: PositionCorrectionPayload


# --- execution.fills (agent dedup_fills) ---


class FillPayload(FillFields):
    """One true fill. `fill_id` never changes; `venue_fill_id` is null while only a synthetic id is known.

    `sort_id` (`venue_fill_id`, else `fill_id`) and `ts_ms` place it among the market's fills.
    """

    venue_fill_id: Id | None
    sort_id: Id
    decision_id: str | None
    revision: Revision


class FillAmendedPayload(FillPayload):
    """The whole fill after a later twin filled in what was missing, and where it stood before."""

    previous_ts_ms: Ms
    previous_sort_id: Id
    previous_fee_e6: MoneyE6 | None


class Fill(Record, tag="fill"):
    payload: FillPayload


class FillAmended(Record, tag="fill_amended"):
    payload: FillAmendedPayload


# --- execution.positions (agent track_positions) ---


class PositionPayload(Payload):
    """Our position, from fills alone, and the venue's last word beside it.

    `pos_filled_e2` is signed (YES positive). `cash_e6` is money received minus paid, fees apart; `cost_e6` is what the
    open contracts cost at average cost; `realized_pnl_e6` is before fees. cash + cost == realized_pnl, less openings.
    """

    market_ticker: Ticker
    revision: Revision
    inv_convention: Literal["net_yes_avg_cost_v1"]
    pos_filled_e2: SignedE2
    bought_yes_e2: SizeE2
    sold_yes_e2: SizeE2
    bought_no_e2: SizeE2
    sold_no_e2: SizeE2
    cash_e6: MoneyE6
    cost_e6: MoneyE6
    realized_pnl_e6: MoneyE6
    fees_e6: MoneyE6
    fills: Annotated[int, Meta(ge=0)]
    fills_without_fee: Annotated[int, Meta(ge=0)]
    last_fill_ts_ms: Ms | None
    settled_value_e4: Annotated[int, Meta(ge=0, le=10_000)] | None
    settled_ts_ms: Ms | None
    venue_position_e2: SignedE2 | None
    venue_as_of_ms: Ms | None
    drift_e2: SignedE2 | None
    drift_since_ms: Ms | None


class Position(Record, tag="position"):
    payload: PositionPayload


# --- execution.order_states (agent track_orders) ---

OrderStatus = Literal["requested", "resting", "cancel_requested", "canceled", "executed", "rejected"]


class OrderStatePayload(Payload):
    """One order's state, and what rests in its market after this change (recomputed from the live orders)."""

    market_ticker: Ticker
    order_id: Id
    client_order_id: str | None
    decision_id: str | None
    revision: Revision
    status: OrderStatus
    side: Side
    action: Action
    price_e4: PriceE4 | None
    initial_e2: SizeE2
    filled_e2: SizeE2
    remaining_e2: SizeE2
    created_ts_ms: Ms | None
    updated_ts_ms: Ms | None
    open_orders_count: Annotated[int, Meta(ge=0)]
    open_yes_bid_e2: SizeE2
    open_yes_ask_e2: SizeE2
    open_no_bid_e2: SizeE2
    open_no_ask_e2: SizeE2
    pos_open_exposure_e2: SignedE2


class OrderState(Record, tag="order_state"):
    payload: OrderStatePayload
