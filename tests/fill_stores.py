"""Sixty fills of twenty orders over fourteen minutes, with what belongs to them, in a real ClickHouse and Postgres."""

import asyncio
from pathlib import Path
from typing import Any

from account_actions import order_action

from ops.migrate import migrate_clickhouse, migrate_postgres
from schemas import account_records as a
from schemas import order_records as o
from schemas import records as r
from schemas.codec import encode_record
from schemas.registry import DECISION_LINKS, FILLS, ORDER_STATES, ORDERS, POSITIONS
from sinks.clickhouse.sink import ClickHouseSink
from sinks.clickhouse.store import Store
from sinks.contract import SourceBatch, SourceRecord
from sinks.parquet.sink import ParquetSink, Rotation
from sinks.postgres.pool import PoolConfig
from sinks.postgres.sink import PostgresSink

T0_MS = 1_793_000_040_123
MINUTES, COUNT, ORDERED = 14, 60, 20


def head(n: int, ts_ms: int, topic: str | None = None) -> dict[str, Any]:
    """An envelope."""
    cause = None if topic is None else r.Cause(topic, 0, n, 0)
    return {"ts_event": ts_ms, "ts_ingest": ts_ms + 9, "source": "t", "idempotency_key": f"k{n}", "cause": cause}


def fill(n: int) -> a.Fill:
    """The n-th fill: some in each minute, not the same number in each."""
    minute = n * n % MINUTES if n > MINUTES else n
    ts_ms = T0_MS + minute * 60_000 + n * 37
    payload = a.FillPayload(
        market_ticker="KX-A", fill_id=f"f{n}", order_id=f"o{n % ORDERED}", client_order_id=None, side="yes",
        action="buy", price_e4=4_250, count_e2=100, is_taker=True, fee_e6=0, ts_ms=ts_ms, ts_source="ts_ms",
        venue_fill_id=f"f{n}", sort_id=f"f{n}", decision_id=None, revision=1,
    )  # fmt: skip
    return a.Fill(payload=payload, **head(n, ts_ms, "account.fill_reports"))


def order_state(n: int) -> a.OrderState:
    """The n-th order: three contracts, all filled."""
    names = a.OrderStatePayload.__struct_fields__
    payload = dict.fromkeys(names, None) | {name: 0 for name in names if name.endswith("_e2")}
    payload |= {"market_ticker": "KX-A", "order_id": f"o{n}", "status": "executed", "side": "yes", "action": "buy"}
    payload |= {"revision": 1, "initial_e2": 300, "filled_e2": 300, "open_orders_count": 0}
    return a.OrderState(payload=a.OrderStatePayload(**payload), **head(n, T0_MS, "account.order_reports"))


def position() -> a.Position:
    """All fills folded, and the venue says the same."""
    names = a.PositionPayload.__struct_fields__
    payload = dict.fromkeys(names, None) | {name: 0 for name in names if name.endswith(("_e2", "_e6"))}
    payload |= {"market_ticker": "KX-A", "revision": 1, "inv_convention": "net_yes_avg_cost_v1", "fills": COUNT}
    payload |= {"fills_without_fee": 0, "pos_filled_e2": COUNT * 100, "venue_position_e2": COUNT * 100}
    return a.Position(payload=a.PositionPayload(**payload), **head(0, T0_MS, "execution.fills"))


def link(n: int) -> o.DecisionLink:
    """The n-th order's decision."""
    payload = o.DecisionLinkPayload(
        market_ticker="KX-A", order_id=f"o{n}", client_order_id=f"c{n}", decision_id=f"d{n}"
    )
    return o.DecisionLink(payload=payload, **head(n, T0_MS - 1_000))


def position_report(offset: int, as_of_ms: int, volume_e2: int) -> SourceRecord:
    """What the venue says of its own."""
    names = a.PositionReportPayload.__struct_fields__
    payload = dict.fromkeys(names, None) | {"market_ticker": "KX-A", "position_e2": 0, "volume_e2": volume_e2}
    told = a.PositionReportPayload(**payload | {"as_of_ms": as_of_ms})
    return at(offset, a.PositionReport(payload=told, **head(offset, as_of_ms)))


def at(offset: int, record: r.Record) -> SourceRecord:
    """The record at an offset of its topic."""
    return SourceRecord(offset, b"KX-A", encode_record(record), 0)


#: Every second order is one of ours, with the decision behind it.
LOG: dict[str, list[r.Record]] = {
    FILLS.name: [fill(n) for n in range(COUNT)],
    ORDER_STATES.name: [order_state(n) for n in range(ORDERED)],
    POSITIONS.name: [position()],
    ORDERS.name: [order_action("KX-A", f"d{n}", f"c{n}", T0_MS - 1_000) for n in range(0, ORDERED, 2)],
    DECISION_LINKS.name: [link(n) for n in range(0, ORDERED, 2)],
}


async def _write(sink: Any) -> None:
    await sink.start()
    for topic, records in LOG.items():
        if topic in sink.topics:
            rows = [at(offset, record) for offset, record in enumerate(records)]
            await sink.assign(topic, 0)
            assert await sink.write(SourceBatch(topic, 0, rows, len(rows))) == []
    await sink.flush()


def filled_clickhouse(name: str, engine: Path) -> Store:
    """A database with all of it."""
    store = Store(name, engine)
    asyncio.run(_write(ClickHouseSink(store, migrate=lambda client: migrate_clickhouse(client, name))))
    return store


def fill_postgres(dsn: str) -> None:
    """The same in a new Postgres database."""
    migrate_postgres(dsn)

    async def write() -> None:
        sink = PostgresSink(PoolConfig(dsn, 1, 2, 10_000), retention_days=3_650)
        await _write(sink)
        await sink.stop()

    asyncio.run(write())


def archive(folder: Path, topic: str, records: list[SourceRecord]) -> None:
    """These records as Parquet files."""

    async def write() -> None:
        sink = ParquetSink(folder, Rotation(1_000, 1 << 30, 3_600.0))
        await sink.start()
        await sink.assign(topic, 0)
        await sink.write(SourceBatch(topic, 0, records, len(records)))
        await sink.flush()
        await sink.stop()

    asyncio.run(write())
