"""The seeds' first tables brought over: what stood in `kalshi` before this project's migrations ran.

Their tables are renamed to `<name>_v1` and kept. Levels are backfilled with argMax(size, ingest_ts), the best that the
old table can say. Fills get `is_valid`, and those that fail the gates are quarantined (0), not deleted. Every step may
be repeated: it looks at what is there, not at what it remembers.
"""

from sinks.clickhouse.store import Store

V1_PARTITION = 65_535  # `_partition` of rows that come from no topic: no real partition has it
_VIEWS = (
    "orderbook_events",
    "trades",
    "quote_updates",
    "latest_bbo",
    "mm_fills",
    "mm_positions",
    "spot_ticks",
    "mm_decisions",
    "mm_order_actions",
    "mm_order_responses",
    "mm_position_snapshots",
    "edge_snapshots",
    "opportunity_decisions",
    "latest_levels_deduped",
)
_TABLE = "select engine, create_table_query from system.tables where database = {d:String} and name = {t:String}"
_COLUMN = "select type from system.columns where database = {d:String} and table = {t:String} and name = {c:String}"

_LEVELS = """
insert into {db}.latest_levels (market_id, market_ticker, side, price, size, ts, ingest_ts, seq, _partition, _offset)
select toString(market_id), v.market_ticker, v.side, toDecimal64(toString(v.price), 4),
       toDecimal64(toString(argMax(v.size, v.ingest_ts)), 2), argMax(v.ts, v.ingest_ts), max(v.ingest_ts), 0, 65535, 0
from {db}.latest_levels_v1 as v group by market_id, v.market_ticker, v.side, v.price"""

#: A fill that fails one of these is no fill (the gates of the seeds, in their units).
_INVALID = """exchange_order_id = '' or fill_id = '' or size <= 0 or price_cents < 1 or price_cents > 99
              or market_ticker = '' or side not in ('yes', 'no')"""
_FILLS = """
insert into {db}.mm_fills_raw (market_ticker, fill_id, exchange_order_id, client_order_id, decision_id, side, action,
    price, size, revision, is_valid, reason, ts, ingest_ts, idempotency_key, _topic, _partition, _offset, _row)
select market_ticker, fill_id, exchange_order_id, '', {decision}, side, {action},
       toDecimal64(toString(price_cents), 4) / 100, toDecimal64(toString(size), 2), 1, is_valid,
       if(is_valid = 1, '', 'v1'), ts, ts, '', 'v1', 65535,
       row_number() over (order by ts, market_ticker, fill_id, exchange_order_id, side, price_cents, size) - 1, 0
from {db}.mm_fills_v1"""


def make_way(store: Store) -> list[str]:
    """Before the migrations: rename tables that stand where our tables and views will. Returns the old names.

    Raises:
        SinkUnavailable: the store refuses a statement.
    """
    moved = []
    for name in _VIEWS:
        found = store.rows(_TABLE, {"d": store.database, "t": name})
        if found and found[0][0] != "View":
            store.command(f"rename table {{db}}.{name} to {{db}}.{name}_v1")
            moved.append(name)
    if _exists(store, "latest_levels") and not _type(store, "latest_levels", "_offset"):
        store.command("rename table {db}.latest_levels to {db}.latest_levels_v1")
        moved.append("latest_levels")
    return moved


def bring_over(store: Store) -> None:
    """After the migrations: backfill levels and fills from what was renamed, once. Raises SinkUnavailable."""
    if _exists(store, "latest_levels_v1") and not _filled(store, "latest_levels", f"_partition = {V1_PARTITION}"):
        store.command(_LEVELS)
    if _exists(store, "mm_fills_v1") and not _filled(store, "mm_fills_raw", "_topic = 'v1'"):
        if not _type(store, "mm_fills_v1", "is_valid"):
            store.command("alter table {db}.mm_fills_v1 add column is_valid UInt8 default 1")
        store.command(
            f"alter table {{db}}.mm_fills_v1 update is_valid = 0 where {_INVALID} settings mutations_sync = 1"
        )
        decision = "ifNull(toString(decision_id), '')" if _type(store, "mm_fills_v1", "decision_id") else "''"
        action = "toString(action)" if _type(store, "mm_fills_v1", "action") else "''"
        store.command(_FILLS.replace("{decision}", decision).replace("{action}", action))


def _exists(store: Store, table: str) -> bool:
    return bool(store.rows(_TABLE, {"d": store.database, "t": table}))


def _type(store: Store, table: str, column: str) -> str:
    found = store.rows(_COLUMN, {"d": store.database, "t": table, "c": column})
    return str(found[0][0]) if found else ""


def _filled(store: Store, table: str, condition: str) -> bool:
    return bool(store.rows(f"select count() from {{db}}.{table} where {condition}")[0][0])  # noqa: S608
