"""Canonical reports to records: source, venue time and keys. Pure; session, number and clock are arguments.

Fills, orders and settlements are keyed by their content: the same thing said again is the same record. A position says
nothing about when, so its reports are numbered within the session.
"""

import hashlib

import msgspec

from schemas import account_records as a
from schemas import records as r
from schemas.codec import hashed_key, numbered_key
from schemas.dead_letters import refused_input
from venues.kalshi.account import AccountRefused

WS_SOURCE = "kalshi_ws"
REST_SOURCE = "kalshi_rest"
_as_it_came = msgspec.json.Encoder(decimal_format="number").encode  # numbers are read as their text and written as it


def fill_report(payload: a.FillReportPayload, source: str, ts_ingest: int) -> a.FillReport:
    """One reported fill; a repetition has the same key."""
    return a.FillReport(
        ts_event=payload.ts_ms,
        ts_ingest=ts_ingest,
        source=source,
        idempotency_key=hashed_key("fill_report", 1, source, payload),
        cause=None,
        payload=payload,
    )


def order_report(payload: a.OrderReportPayload, source: str, ts_ingest: int) -> a.OrderReport:
    """One reported order state; a repetition has the same key."""
    return a.OrderReport(
        ts_event=payload.updated_ts_ms if payload.updated_ts_ms is not None else payload.created_ts_ms,
        ts_ingest=ts_ingest,
        source=source,
        idempotency_key=hashed_key("order_report", 1, source, payload),
        cause=None,
        payload=payload,
    )


def resting_orders(payload: a.RestingOrdersPayload, session_id: str, number: int) -> a.RestingOrders:
    """The `number`-th list of resting orders of this session."""
    return a.RestingOrders(
        ts_event=None,
        ts_ingest=payload.as_of_ms,
        source=REST_SOURCE,
        idempotency_key=numbered_key("resting_orders", session_id, number, payload.market_ticker),
        cause=None,
        payload=payload,
    )


def position_report(payload: a.PositionReportPayload, source: str, session_id: str, number: int) -> a.PositionReport:
    """The `number`-th position report of this session."""
    return a.PositionReport(
        ts_event=None,
        ts_ingest=payload.as_of_ms,
        source=source,
        idempotency_key=numbered_key("position_report", session_id, number, payload.market_ticker),
        cause=None,
        payload=payload,
    )


def opening_position(payload: a.OpeningPositionPayload, ts_ingest: int) -> a.OpeningPosition:
    """The position before the first folded fill."""
    return a.OpeningPosition(
        ts_event=payload.as_of_ms,
        ts_ingest=ts_ingest,
        source=REST_SOURCE,
        idempotency_key=numbered_key("opening_position", payload.market_ticker, payload.as_of_ms),
        cause=None,
        payload=payload,
    )


def settlement_report(payload: a.SettlementReportPayload, ts_ingest: int) -> a.SettlementReport:
    """A market's end; a repetition has the same key."""
    return a.SettlementReport(
        ts_event=payload.settled_ts_ms,
        ts_ingest=ts_ingest,
        source=REST_SOURCE,
        idempotency_key=hashed_key("settlement_report", 1, REST_SOURCE, payload),
        cause=None,
        payload=payload,
    )


def dead_letter(refused: AccountRefused, item: object, source: str, ts_ingest: int) -> r.DeadLetter:
    """A refused item, as it came. Keyed by its content: a poll that repeats it makes no second dead letter."""
    raw = _as_it_came(item)
    digest = hashlib.sha256(b"|".join((source.encode(), refused.reason.encode(), raw))).hexdigest()
    return refused_input(source, digest, ts_ingest, raw, refused.market_ticker, refused)
