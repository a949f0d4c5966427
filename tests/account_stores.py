"""What the worker and each store say of the account, in one form that can be compared with the simulator's ledger."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from schemas.registry import FILLS, ORDER_STATES, POSITIONS
from sinks.parquet.reader import iter_records
from tables import open_orders, positions, seen_fills
from tables.checkpointed import CheckpointedTable, PartitionTable
from tables.store import StoreOptions, open_store

#: market -> contracts, money in and out (with what settlement paid), fees.
Positions = dict[str, tuple[Decimal, ...]]
#: (id, market, order, side, action, price, size, fee, ms), sorted.
Fills = list[tuple[Any, ...]]
#: (id, market, side, action, status, initial, filled, remaining), sorted.
Orders = list[tuple[Any, ...]]


class AccountStores:
    """The stores of one `up`. What does not answer is None; the tables can be read only after its stop."""

    def __init__(self, data: Path, urls: dict[str, str]) -> None:
        self.data, self.urls = data, urls

    # --- the worker ---

    def worker_positions(self) -> Positions | None:
        """From the worker's page."""
        rows = get(f"{self.urls['state_url']}/positions")
        if rows is None:
            return None
        return _positions(
            (r["market_ticker"], r["pos_filled"], r["cost"], r["realized_pnl"], r["fees"]) for r in rows if r["fills"]
        )

    def worker_live_orders(self) -> list[tuple[str, str]] | None:
        """(id, remaining) from the worker's page."""
        rows = get(f"{self.urls['state_url']}/orders")
        return None if rows is None else sorted((row["order_id"], row["remaining_size"]) for row in rows)

    def worker_drift(self) -> list[dict[str, Any]] | None:
        """Markets whose position or resting orders are not the venue's own, from the worker's page."""
        rows = get(f"{self.urls['state_url']}/reconciliation")
        if not rows:
            return None
        return [row for row in rows if row.get("drifting_orders") or row.get("drift_since_ms")]

    def table_fills(self) -> Fills:
        """From the RocksDB of seen_fills."""
        values = [v for v in self._table(seen_fills.SEEN_FILLS) if isinstance(v, seen_fills.SeenEntry)]
        return sorted(_fill(v.fill, v.fill.venue_fill_id) for v in values if v.fill is not None)

    def table_orders(self) -> Orders:
        """From the RocksDB of open_orders."""
        values = self._table(open_orders.OPEN_ORDERS)
        return sorted(_order(v) for v in values if isinstance(v, open_orders.KnownOrder))

    def table_positions(self) -> Positions:
        """From the RocksDB of positions."""
        states = [market.state for market in self._table(positions.POSITIONS) if market.state.sums.fills]
        return {
            s.market_ticker: _money(s.fold.count_e2, s.fold.cost_e6, s.fold.realized_e6, s.sums.fees_e6) for s in states
        }

    def _table(self, table: CheckpointedTable[Any]) -> list[Any]:
        found: list[Any] = []
        for path in sorted(self.data.rglob(f"{table.name}-*.rocksdb")):
            store, damage = open_store(path, StoreOptions())
            assert damage is None
            found += [value for _, value in PartitionTable(table, store, 1 << 30).items()]
            store.close()
        return found

    # --- Postgres ---

    def postgres_positions(self) -> Positions:
        """From state_positions."""
        return _positions(
            self._postgres(
                "select market_ticker, pos_filled, cost, realized_pnl, fees from state_positions where fills > 0"
            )
        )

    def postgres_fills(self) -> Fills:
        """The newest revision of every fill of events_fills."""
        rows = self._postgres(
            "select distinct on (fill_id) coalesce(venue_fill_id, fill_id), market_ticker, order_id, side, action, "
            "price, size, fee, (extract(epoch from fill_ts) * 1000)::bigint from events_fills "
            "order by fill_id, revision desc"
        )
        return sorted((*r[:5], f"{r[5]:.4f}", f"{r[6]:.2f}", f"{r[7]:.6f}", r[8]) for r in rows)

    def postgres_orders(self) -> Orders:
        """From state_orders."""
        rows = self._postgres(
            "select order_id, market_ticker, side, action, status, initial_size, filled_size, remaining_size "
            "from state_orders"
        )
        return sorted((*r[:5], *(f"{size:.2f}" for size in r[5:])) for r in rows)

    def _postgres(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.urls["pg_dsn"]) as connection:
            return connection.execute(sql).fetchall()  # type: ignore[call-overload,no-any-return]

    # --- ClickHouse ---

    def clickhouse(self, sql: str) -> list[list[Any]] | None:
        """Rows of a query; None while the sink, which serves them, does not answer."""
        body = get(f"{self.urls['clickhouse_url']}/?default_format=JSONCompact", sql)
        return None if body is None else list(body["data"])

    def clickhouse_positions(self) -> Positions | None:
        """The newest revision of each market in mm_positions."""
        rows = self.clickhouse(
            "select market_ticker, toString(argMax(pos_filled, revision)), toString(argMax(cost, revision)), "
            "toString(argMax(realized_pnl, revision)), toString(argMax(fees, revision)) "
            "from kalshi.mm_positions group by 1 having max(fills) > 0"
        )
        return None if rows is None else _positions(rows)

    def clickhouse_fills(self) -> Fills | None:
        """Every valid fill of mm_fills."""
        rows = self.clickhouse(
            "select fill_id, market_ticker, exchange_order_id, side, action, toString(price), toString(size), "
            "toString(fee), toString(toUnixTimestamp64Milli(ts)) from kalshi.mm_fills where is_valid"
        )
        if rows is None:
            return None
        scaled = [
            (f"{Decimal(r[5]):.4f}", f"{Decimal(r[6]):.2f}", f"{Decimal(r[7] or 0):.6f}", int(r[8])) for r in rows
        ]
        return sorted((*r[:5], *numbers) for r, numbers in zip(rows, scaled, strict=True))

    # --- Parquet ---

    def parquet_positions(self) -> Positions:
        """The newest revision of each market."""
        rows = self._parquet(POSITIONS.name, lambda p: p.market_ticker)
        return {
            p.market_ticker: _money(p.pos_filled_e2, p.cost_e6, p.realized_pnl_e6, p.fees_e6) for p in rows if p.fills
        }

    def parquet_fills(self) -> Fills:
        """The newest revision of each fill."""
        return sorted(_fill(p, p.venue_fill_id) for p in self._parquet(FILLS.name, lambda p: p.fill_id))

    def parquet_orders(self) -> Orders:
        """The newest revision of each order."""
        return sorted(_order(p) for p in self._parquet(ORDER_STATES.name, lambda p: p.order_id))

    def _parquet(self, topic: str, key: Callable[[Any], str]) -> list[Any]:
        newest: dict[str, Any] = {}
        for archived in iter_records(self.data / "parquet", topic, drop_repeated=True):
            assert archived.record is not None
            payload: Any = archived.record.payload  # type: ignore[attr-defined]
            if key(payload) not in newest or newest[key(payload)].revision < payload.revision:
                newest[key(payload)] = payload
        return list(newest.values())


def get(url: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
    """The JSON answer, None while there is none. `body`: JSON, or text as it is."""
    data = None if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    kind = {"Content-Type": "text/plain" if isinstance(body, str) else "application/json"}
    request = urllib.request.Request(url, data, (kind if data else {}) | (headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())
    except (OSError, urllib.error.HTTPError):
        return None


def true_positions(truth: dict[str, Any]) -> Positions:
    """What every store must say."""
    return {
        ticker: (Decimal(p["net_e2"]) / 100, Decimal(p["cash_e6"]) / 10**6, Decimal(p["fees_e6"]) / 10**6)
        for ticker, p in truth["positions"].items()
    }


def true_fills(truth: dict[str, Any]) -> Fills:
    """What every store must say."""
    return sorted((*f[:5], *_fill_texts(f[5], f[6], f[7]), f[8] // 1_000) for f in truth["fills"])


def true_orders(truth: dict[str, Any]) -> Orders:
    """What every store must say."""
    return sorted((*o[:5], *(f"{Decimal(size) / 100:.2f}" for size in o[5:])) for o in truth["orders"])


def _fill(fill: Any, venue_fill_id: str | None) -> tuple[Any, ...]:
    who = (venue_fill_id or fill.fill_id, fill.market_ticker, fill.order_id, fill.side, fill.action)
    return (*who, *_fill_texts(fill.price_e4, fill.count_e2, fill.fee_e6), fill.ts_ms)


def _fill_texts(price_e4: int, count_e2: int, fee_e6: int | None) -> tuple[str, str, str]:
    fee = Decimal(fee_e6 or 0) / 10**6
    return f"{Decimal(price_e4) / 10_000:.4f}", f"{Decimal(count_e2) / 100:.2f}", f"{fee:.6f}"


def _order(order: Any) -> tuple[Any, ...]:
    sizes = (order.initial_e2, order.filled_e2, order.remaining_e2)
    who = (order.order_id, order.market_ticker, order.side, order.action, order.status)
    return (*who, *(f"{Decimal(size) / 100:.2f}" for size in sizes))


def _positions(rows: Any) -> Positions:
    """Of (market, contracts, cost, realized, fees): money in and out is what was realized less what is still bound."""
    return {
        ticker: (Decimal(str(n)), Decimal(str(realized)) - Decimal(str(cost)), Decimal(str(fees)))
        for ticker, n, cost, realized, fees in rows
    }


def _money(count_e2: int, cost_e6: int, realized_e6: int, fees_e6: int) -> tuple[Decimal, ...]:
    return Decimal(count_e2) / 100, Decimal(realized_e6 - cost_e6) / 10**6, Decimal(fees_e6) / 10**6
