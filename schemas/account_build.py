"""Values of the domain to payloads of the execution topics. Pure; the agent adds the envelope and the cause.

Keys: a fill is its market and id, what has a `revision` ends in it, zero-padded.
"""

from msgspec import structs

from domain.fill_facts import KnownFill
from domain.fills import FillChange
from domain.orders import KnownOrder, OpenInventory
from domain.position_ledger import PositionState
from domain.positions import INV_CONVENTION, cash_e6
from schemas import account_records as a
from schemas.codec import numbered_key


def fill_record_parts(change: FillChange) -> tuple[str, a.FillPayload | a.FillAmendedPayload]:
    """The idempotency key and payload of a `fill` (nothing before it) or a `fill_amended`."""
    fill, previous = change.fill, change.previous
    payload = a.FillPayload(
        market_ticker=fill.market_ticker,
        fill_id=fill.fill_id,
        venue_fill_id=fill.venue_fill_id,
        sort_id=fill.sort_id,
        order_id=fill.order_id,
        client_order_id=fill.client_order_id,
        side=fill.side,
        action=fill.action,
        price_e4=fill.price_e4,
        count_e2=fill.count_e2,
        is_taker=fill.is_taker,
        fee_e6=fill.fee_e6,
        ts_ms=fill.ts_ms,
        ts_source=fill.ts_source,
        decision_id=fill.decision_id,
        revision=fill.revision,
    )
    if previous is None:
        return numbered_key("fill", fill.market_ticker, fill.fill_id), payload
    amended = a.FillAmendedPayload(
        **structs.asdict(payload),
        previous_ts_ms=previous.ts_ms,
        previous_sort_id=previous.sort_id,
        previous_fee_e6=previous.fee_e6,
    )
    return numbered_key("fill_amended", fill.market_ticker, fill.fill_id, f"{fill.revision:012d}"), amended


def change_of(payload: a.FillPayload) -> FillChange:
    """The way back, for agent track_positions: the fill and, of an amendment, where it stood before.

    Of the previous fill only what the position needs is told: its place, its fee, and the same trade.
    """
    fill = _known(payload, payload.venue_fill_id, payload.ts_ms, payload.fee_e6, payload.revision)
    if not isinstance(payload, a.FillAmendedPayload):
        return FillChange(fill, None)
    was_venue_id = None if payload.previous_sort_id == payload.fill_id else payload.previous_sort_id
    previous = _known(payload, was_venue_id, payload.previous_ts_ms, payload.previous_fee_e6, payload.revision - 1)
    return FillChange(fill, previous)


def _known(
    payload: a.FillPayload, venue_fill_id: str | None, ts_ms: int, fee_e6: int | None, revision: int
) -> KnownFill:
    return KnownFill(
        market_ticker=payload.market_ticker,
        fill_id=payload.fill_id,
        venue_fill_id=venue_fill_id,
        order_id=payload.order_id,
        client_order_id=payload.client_order_id,
        side=payload.side,
        action=payload.action,
        price_e4=payload.price_e4,
        count_e2=payload.count_e2,
        is_taker=payload.is_taker,
        fee_e6=fee_e6,
        ts_ms=ts_ms,
        ts_source=payload.ts_source,
        decision_id=payload.decision_id,
        revision=revision,
    )


def position_record_parts(state: PositionState) -> tuple[str, a.PositionPayload]:
    """The idempotency key and payload of a `position`: the state as it is after its newest revision."""
    sums, fold, venue, settlement = state.sums, state.fold, state.venue, state.settlement
    drift = None if venue is None or settlement is not None else fold.count_e2 - venue.position_e2
    payload = a.PositionPayload(
        market_ticker=state.market_ticker,
        revision=state.revision,
        inv_convention=INV_CONVENTION,
        pos_filled_e2=fold.count_e2,
        bought_yes_e2=sums.bought_yes_e2,
        sold_yes_e2=sums.sold_yes_e2,
        bought_no_e2=sums.bought_no_e2,
        sold_no_e2=sums.sold_no_e2,
        cash_e6=cash_e6(sums, state.opening),
        cost_e6=fold.cost_e6,
        realized_pnl_e6=fold.realized_e6,
        fees_e6=sums.fees_e6 + (state.opening.fees_e6 if state.opening is not None else 0),
        fills=sums.fills,
        fills_without_fee=sums.fills_without_fee,
        last_fill_ts_ms=state.last_ts_ms or None,
        settled_value_e4=settlement.value_e4 if settlement is not None else None,
        settled_ts_ms=settlement.settled_ts_ms if settlement is not None else None,
        venue_position_e2=venue.position_e2 if venue is not None else None,
        venue_as_of_ms=venue.as_of_ms if venue is not None else None,
        drift_e2=drift,
        drift_since_ms=venue.drift_since_ms if venue is not None else None,
    )
    return numbered_key("position", state.market_ticker, f"{state.revision:012d}"), payload


def order_record_parts(order: KnownOrder, inventory: OpenInventory) -> tuple[str, a.OrderStatePayload]:
    """The idempotency key and payload of an `order_state`, with what rests in the market after it."""
    payload = a.OrderStatePayload(
        market_ticker=order.market_ticker,
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        decision_id=order.decision_id,
        revision=order.revision,
        status=order.status,
        side=order.side,
        action=order.action,
        price_e4=order.price_e4,
        initial_e2=order.initial_e2,
        filled_e2=order.filled_e2,
        remaining_e2=order.remaining_e2,
        created_ts_ms=order.created_ts_ms,
        updated_ts_ms=order.updated_ts_ms,
        open_orders_count=inventory.open_orders_count,
        open_yes_bid_e2=inventory.open_yes_bid_e2,
        open_yes_ask_e2=inventory.open_yes_ask_e2,
        open_no_bid_e2=inventory.open_no_bid_e2,
        open_no_ask_e2=inventory.open_no_ask_e2,
        pos_open_exposure_e2=inventory.pos_open_exposure_e2,
    )
    return numbered_key("order_state", order.market_ticker, order.order_id, f"{order.revision:012d}"), payload
