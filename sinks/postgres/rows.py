"""Which record goes where: the one table to extend for a new record type.

An entry names topic and record, then event table and/or projection, each with its payload columns and the function that
turns a payload into their fields, in the same order. The envelope's columns are added by `destinations`.
"""

from schemas import account_records as a
from schemas import order_records as o
from schemas import records as r
from schemas import registry
from sinks.postgres import binary as b
from sinks.postgres.destinations import Destination, Events, Fields, Projection

_QUOTE = (
    *("market_ticker", "session_id", "sid", "seq", "revision", "status"),
    *("yes_bb_px", "yes_bb_sz", "yes_ba_px", "yes_ba_sz", "no_bb_px", "no_bb_sz", "no_ba_px", "no_ba_sz"),
)


def _quote(p: r.QuoteUpdatePayload) -> Fields:
    return (
        b.repeated_text(p.market_ticker),
        b.repeated_text(p.session_id),
        b.three_int8(p.sid, p.seq, p.revision),
        b.repeated_text(p.status),
        b.price(p.yes_bb_px_e4),
        b.size(p.yes_bb_sz_e2),
        b.price(p.yes_ba_px_e4),
        b.size(p.yes_ba_sz_e2),
        b.price(p.no_bb_px_e4),
        b.size(p.no_bb_sz_e2),
        b.price(p.no_ba_px_e4),
        b.size(p.no_ba_sz_e2),
    )


_FILL = (
    *("market_ticker", "fill_id", "order_id", "client_order_id", "decision_id", "revision", "side", "action"),
    *("price", "size", "is_taker", "fee", "fill_ts", "ts_source", "venue_fill_id"),
)


def _fill(p: a.FillPayload) -> Fields:
    return (
        b.repeated_text(p.market_ticker),
        b.text(p.fill_id),
        b.text(p.order_id),
        b.text(p.client_order_id),
        b.text(p.decision_id),
        b.int8(p.revision),
        b.repeated_text(p.side),
        b.repeated_text(p.action),
        b.price(p.price_e4),
        b.size(p.count_e2),
        b.boolean(p.is_taker),
        b.money(p.fee_e6),
        b.timestamp(p.ts_ms),
        b.repeated_text(p.ts_source),
        b.text(p.venue_fill_id),
    )


_POSITION = (
    *("market_ticker", "revision", "inv_convention", "pos_filled", "cash", "cost", "realized_pnl", "fees"),
    *("fills", "fills_without_fee", "last_fill_ts", "settled_value", "settled_ts", "venue_position", "drift"),
)


def _position(p: a.PositionPayload) -> Fields:
    return (
        b.repeated_text(p.market_ticker),
        b.int8(p.revision),
        b.repeated_text(p.inv_convention),
        b.size(p.pos_filled_e2),
        b.money(p.cash_e6),
        b.money(p.cost_e6),
        b.money(p.realized_pnl_e6),
        b.money(p.fees_e6),
        b.int8(p.fills),
        b.int8(p.fills_without_fee),
        b.timestamp(p.last_fill_ts_ms),
        b.price(p.settled_value_e4),
        b.timestamp(p.settled_ts_ms),
        b.size(p.venue_position_e2),
        b.size(p.drift_e2),
    )


# What a later order of the market does not change, and what it does (recomputed at each change, so not projected).
_ORDER_OWN = (
    *("market_ticker", "order_id", "client_order_id", "decision_id", "revision", "status", "side", "action"),
    *("price", "initial_size", "filled_size", "remaining_size", "created_ts", "updated_ts"),
)
_ORDER_MARKET = (
    *("open_orders_count", "open_yes_bid_size", "open_yes_ask_size", "open_no_bid_size", "open_no_ask_size"),
    "pos_open_exposure",
)


def _order_own(p: a.OrderStatePayload) -> Fields:
    return (
        b.repeated_text(p.market_ticker),
        b.text(p.order_id),
        b.text(p.client_order_id),
        b.text(p.decision_id),
        b.int8(p.revision),
        b.repeated_text(p.status),
        b.repeated_text(p.side),
        b.repeated_text(p.action),
        b.price(p.price_e4),
        b.size(p.initial_e2),
        b.size(p.filled_e2),
        b.size(p.remaining_e2),
        b.timestamp(p.created_ts_ms),
        b.timestamp(p.updated_ts_ms),
    )


def _order_state(p: a.OrderStatePayload) -> Fields:
    return (
        *_order_own(p),
        b.int4(p.open_orders_count),
        b.size(p.open_yes_bid_e2),
        b.size(p.open_yes_ask_e2),
        b.size(p.open_no_bid_e2),
        b.size(p.open_no_ask_e2),
        b.size(p.pos_open_exposure_e2),
    )


_LINK = ("market_ticker", "order_id", "client_order_id", "decision_id")
_ORDER_ACTION = (*_LINK, "side", "action", "price", "initial_size")


def _link(p: o.DecisionLinkPayload | o.OrderActionPayload) -> Fields:
    return (b.repeated_text(p.market_ticker), b.text(p.order_id), b.text(p.client_order_id), b.text(p.decision_id))


def _order_action(p: o.OrderActionPayload) -> Fields:
    own = (b.repeated_text(p.side), b.repeated_text(p.action), b.price(p.price_e4), b.size(p.count_e2))
    return _link(p) + own


DESTINATIONS: tuple[Destination, ...] = (
    Destination(
        registry.QUOTE_UPDATES,
        r.QuoteUpdate,
        Events("events_quote_updates", _QUOTE, _quote),
        Projection("state_quote_latest", "market_ticker", _QUOTE, _quote),
    ),
    Destination(registry.FILLS, a.Fill, Events("events_fills", _FILL, _fill)),
    Destination(registry.FILLS, a.FillAmended, Events("events_fills", _FILL, _fill)),
    Destination(
        registry.POSITIONS,
        a.Position,
        None,
        Projection("state_positions", "market_ticker", _POSITION, _position, keeps_payload=True),
    ),
    Destination(
        registry.ORDER_STATES,
        a.OrderState,
        Events("events_orders", _ORDER_OWN + _ORDER_MARKET, _order_state),
        Projection("state_orders", "order_id", _ORDER_OWN, _order_own),
    ),
    Destination(registry.ORDERS, o.OrderAction, Events("events_orders", _ORDER_ACTION, _order_action)),
    Destination(registry.DECISION_LINKS, o.DecisionLink, Events("events_orders", _LINK, _link)),
)
