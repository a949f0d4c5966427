"""Row functions of the account tables: fills, refused fills, positions, order actions and decision links."""

import pyarrow as pa
import pyarrow.compute as pc

from domain.fill_facts import FILL_GATES
from sinks.clickhouse import arrays
from sinks.clickhouse.columns import causes, times


def fill_rows(table: pa.Table) -> pa.Table:
    """`mm_fills`: one row per fill and per amendment; the view shows the newest."""
    count = table.num_rows
    return pa.table(
        {
            "market_ticker": arrays.dictionary(table["market_ticker"]),
            "fill_id": arrays.text(table["fill_id"]),
            "exchange_order_id": arrays.text(table["order_id"]),
            "client_order_id": arrays.text(table["client_order_id"]),
            "decision_id": arrays.text(table["decision_id"]),
            "side": arrays.dictionary(table["side"]),
            "action": arrays.dictionary(table["action"]),
            "price": arrays.scaled(table["price_e4"], arrays.PRICE),
            "size": arrays.scaled(table["count_e2"], arrays.SIZE),
            "fee": arrays.scaled(table["fee_e6"], arrays.MONEY),
            "is_taker": arrays.one_chunk(table["is_taker"]),
            "revision": arrays.one_chunk(table["revision"]),
            "is_valid": arrays.constant(1, pa.uint8(), count),
            "reason": arrays.constant("", pa.string(), count),
            "ts": arrays.times(table["ts_ms"]),
            "ingest_ts": arrays.times(table["ts_ingest"]),
            "idempotency_key": arrays.text(table["idempotency_key"]),
            **causes(table),
        }
    )


def refused_fills(table: pa.Table) -> pa.Table:
    """The dead letters that are fills refused by a gate."""
    return table.filter(pc.is_in(table["reason"], pa.array(FILL_GATES)))


def refused_fill_rows(table: pa.Table) -> pa.Table:
    """`mm_fills` with is_valid = 0. What was refused stands in the dead letter; here are market, reason and time."""
    count = table.num_rows
    empty = arrays.constant("", pa.string(), count)
    nothing = pa.array([0] * count, pa.int64())
    return pa.table(
        {
            "market_ticker": arrays.dictionary(table["market_ticker"]),
            **dict.fromkeys(
                ("fill_id", "exchange_order_id", "client_order_id", "decision_id", "side", "action"), empty
            ),
            "price": arrays.scaled(nothing, arrays.PRICE),
            "size": arrays.scaled(nothing, arrays.SIZE),
            "fee": pa.nulls(count, arrays.MONEY),
            "is_taker": pa.nulls(count, pa.bool_()),
            "revision": nothing,
            "is_valid": arrays.constant(0, pa.uint8(), count),
            "reason": arrays.dictionary(table["reason"]),
            **times(table),
            "idempotency_key": arrays.text(table["idempotency_key"]),
            **causes(table),
        }
    )


def position_rows(table: pa.Table) -> pa.Table:
    """`mm_positions`: every revision of a market's position."""
    money = {
        name: arrays.scaled(table[f"{name}_e6"], arrays.MONEY) for name in ("cash", "cost", "realized_pnl", "fees")
    }
    return pa.table(
        {
            "market_ticker": arrays.dictionary(table["market_ticker"]),
            "revision": arrays.one_chunk(table["revision"]),
            "inv_convention": arrays.dictionary(table["inv_convention"]),
            "pos_filled": arrays.scaled(table["pos_filled_e2"], arrays.SIZE),
            **money,
            "fills": arrays.one_chunk(table["fills"]),
            "venue_position": arrays.scaled(table["venue_position_e2"], arrays.SIZE),
            "drift": arrays.scaled(table["drift_e2"], arrays.SIZE),
            **times(table),
            "idempotency_key": arrays.text(table["idempotency_key"]),
            **causes(table),
        }
    )


def order_action_rows(table: pa.Table) -> pa.Table:
    """`mm_order_actions`: `action` is what was asked for, place or cancel; `request_json` holds the rest."""
    return pa.table(
        {
            **_links(table),
            "client_order_id": arrays.text(table["client_order_id"]),
            "exchange_order_id": arrays.text(table["order_id"]),
            "action": arrays.dictionary(table["kind"]),
            "side": arrays.dictionary(table["side"]),
            "price": arrays.scaled(table["price_e4"], arrays.PRICE),
            "size": arrays.scaled(table["count_e2"], arrays.SIZE),
            "request_json": arrays.text(table["request_json"]),
            **causes(table),
        }
    )


def decision_link_rows(table: pa.Table) -> pa.Table:
    """`mm_decision_links`: which decision an order came from."""
    return pa.table(
        {
            **_links(table),
            "client_order_id": arrays.text(table["client_order_id"]),
            "exchange_order_id": arrays.text(table["order_id"]),
        }
    )


def _links(table: pa.Table) -> dict[str, pa.Array]:
    return {
        "market_ticker": arrays.dictionary(table["market_ticker"]),
        "decision_id": arrays.text(table["decision_id"]),
        **times(table),
        "idempotency_key": arrays.text(table["idempotency_key"]),
    }
