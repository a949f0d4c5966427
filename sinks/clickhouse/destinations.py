"""Which record goes to which table, by which row function: a new record type is one entry here.

A row function takes the records (columns of their topic, in offset order) and gives the columns of its table, all but
`_topic`, `_partition` and, where the rows are one per record, `_offset` and `_row`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from schemas.registry import (
    BOOK_UPDATES,
    DECISION_LINKS,
    DLQ,
    FILLS,
    ORDERS,
    POSITIONS,
    QUOTE_UPDATES,
    TRADES,
    Topic,
)
from sinks.clickhouse import arrays
from sinks.clickhouse.account import (
    decision_link_rows,
    fill_rows,
    order_action_rows,
    position_rows,
    refused_fill_rows,
    refused_fills,
)
from sinks.clickhouse.columns import causes, times

RowFunction = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True)
class Destination:
    """`event_types` of `topic` go to `table`. `latest_by` keeps only the last record per value of that column
    (`latest_*` tables); `derived` says that records carry a cause and may come twice; `wanted` leaves records out."""

    topic: Topic
    event_types: tuple[str, ...]
    table: str
    rows: RowFunction
    latest_by: str | None = None
    derived: bool = False
    wanted: RowFunction | None = None


def trade_rows(table: pa.Table) -> pa.Table:
    """`trades`."""
    return pa.table(
        {
            "market_ticker": arrays.dictionary(table["market_ticker"]),
            "trade_id": arrays.text(table["trade_id"]),
            "yes_price": arrays.scaled(table["yes_price_e4"], arrays.PRICE),
            "no_price": arrays.scaled(table["no_price_e4"], arrays.PRICE),
            "count": arrays.scaled(table["count_e2"], arrays.SIZE),
            "taker_side": arrays.dictionary(table["taker_side"]),
            "is_block_trade": arrays.one_chunk(table["is_block_trade"]),
            **times(table),
            "idempotency_key": arrays.text(table["idempotency_key"]),
        }
    )


def quote_rows(table: pa.Table) -> pa.Table:
    """`quote_updates`."""
    return pa.table(
        {
            **_quote(table),
            "idempotency_key": arrays.text(table["idempotency_key"]),
            **causes(table),
        }
    )


def bbo_rows(table: pa.Table) -> pa.Table:
    """`latest_bbo`: the newest quote of each market."""
    return pa.table(_quote(table))


def _quote(table: pa.Table) -> dict[str, pa.Array]:
    columns = {
        "market_ticker": arrays.dictionary(table["market_ticker"]),
        "session_id": arrays.dictionary(table["session_id"]),
        "sid": arrays.one_chunk(table["sid"]),
        "seq": arrays.one_chunk(table["seq"]),
        "revision": arrays.one_chunk(table["revision"]),
        "status": arrays.dictionary(table["status"]),
    }
    for side in ("yes_bb", "yes_ba", "no_bb", "no_ba"):
        columns[f"{side}_px"] = arrays.scaled(table[f"{side}_px_e4"], arrays.PRICE)
        columns[f"{side}_sz"] = arrays.scaled(table[f"{side}_sz_e2"], arrays.SIZE)
    return columns | times(table)


# market.book_updates is not here: its rows come from a fold (events.py, levels.py).
DESTINATIONS: tuple[Destination, ...] = (
    Destination(TRADES, ("trade",), "trades_raw", trade_rows),
    Destination(QUOTE_UPDATES, ("quote_update",), "quote_updates_raw", quote_rows, derived=True),
    Destination(QUOTE_UPDATES, ("quote_update",), "latest_bbo_raw", bbo_rows, latest_by="market_ticker"),
    Destination(FILLS, ("fill", "fill_amended"), "mm_fills_raw", fill_rows, derived=True),
    Destination(DLQ, ("dead_letter",), "mm_fills_raw", refused_fill_rows, wanted=refused_fills),
    Destination(POSITIONS, ("position",), "mm_positions_raw", position_rows, derived=True),
    Destination(ORDERS, ("order_action",), "mm_order_actions_raw", order_action_rows),
    # Not derived: a link has no cause and may stand here twice; every reader takes the first of an order.
    Destination(DECISION_LINKS, ("decision_link",), "mm_decision_links_raw", decision_link_rows),
)

TOPICS: tuple[str, ...] = (BOOK_UPDATES.name, *dict.fromkeys(entry.topic.name for entry in DESTINATIONS))
LATEST_TABLES = frozenset({"latest_levels", *(entry.table for entry in DESTINATIONS if entry.latest_by)})


def destinations_of(topic: str) -> tuple[Destination, ...]:
    """The entries of a topic, `latest_*` first: the last one written is where the sink resumes, and a `latest_*` row
    that is written twice changes nothing."""
    found = [entry for entry in DESTINATIONS if entry.topic.name == topic]
    return tuple(sorted(found, key=lambda entry: entry.latest_by is None))


def latest_only(table: pa.Table, column: str) -> pa.Table:
    """The last row per value of `column`, in order."""
    last = {value: row for row, value in enumerate(table[column].to_pylist())}
    return table.take(pa.array(sorted(last.values()), pa.int64()))


def _check() -> None:
    """Where the sink resumes is read from the one append-only table of a topic; a second one could be behind it."""
    for topic in TOPICS:
        appended = [entry.table for entry in destinations_of(topic) if entry.latest_by is None]
        if len(appended) > 1:
            raise ValueError(f"expected one append-only table for {topic}, was {appended}")


_check()
