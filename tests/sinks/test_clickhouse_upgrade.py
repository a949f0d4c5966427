"""The seeds' first tables, with their duplicated versions and blank fills, brought over at the first start."""

from pathlib import Path
from typing import Any

import pytest
from book_topic import PARTITION, TICKERS, TOPIC, batch

from ops.migrate import migrate_clickhouse
from schemas import records as r
from schemas.codec import encode_record
from sinks.clickhouse.sink import ClickHouseSink
from sinks.clickhouse.store import Store
from sinks.contract import SourceRecord

pytestmark = pytest.mark.engines
NAME = "upgraded"
V1 = (
    "create database if not exists {db}",
    """create table {db}.latest_levels (market_id String, market_ticker String, side String, price Decimal(18, 6),
       size Decimal(18, 6), ts DateTime64(3), ingest_ts DateTime64(3)) engine = ReplacingMergeTree(ts)
       order by (market_ticker, side, price)""",
    "system stop merges {db}.latest_levels",
    "insert into {db}.latest_levels values ('m', 'KXBTC15M-A', 'yes', 0.42, 5, 1793000003, 1793000001)",
    "insert into {db}.latest_levels values ('m', 'KXBTC15M-A', 'yes', 0.42, 7, 1793000001, 1793000002)",
    "insert into {db}.latest_levels values ('m', 'KXBTC15M-A', 'no', 0.10, 3, 1793000001, 1793000001)",
    """create table {db}.mm_fills (ts DateTime, market_ticker String, side String, price_cents UInt32, size Float64,
       exchange_order_id String, fill_id String, decision_id Nullable(String)) engine = MergeTree order by ts""",
    """insert into {db}.mm_fills values (1793000000, 'KX-A', 'yes', 42, 13, 'o1', 'f1', 'd1'),
       (1793000000, 'KX-A', 'yes', 0, 13, 'o1', 'f2', null), (1793000001, 'KX-A', 'yes', 42, 13, '', 'f3', null),
       (1793000002, 'KX-A', 'maybe', 42, 13, 'o2', 'f4', null)""",
)


async def upgraded(path: Path) -> ClickHouseSink:
    """A started sink on the old tables."""
    sink = ClickHouseSink(Store(NAME, path), migrate=lambda client: migrate_clickhouse(client, NAME))
    await sink.start()
    return sink


async def test_old_tables_are_brought_over_once(chdb_path: Path) -> None:
    """Levels by argMax(size, ingest_ts), bad fills quarantined, old tables kept; a second start changes nothing."""
    old = Store(NAME, chdb_path)
    old.open()
    for statement in V1:
        old.command(statement)
    old.close()
    for _ in range(2):
        sink = await upgraded(chdb_path)
        rows = sink.store.rows
        levels = "select side, toString(price), toString(size) from {db}.latest_levels_deduped order by side, price"
        assert rows(levels) == [("no", "0.1", "3"), ("yes", "0.42", "7")]
        fills = "select fill_id, toString(price_cents), decision_id, is_valid from {db}.mm_fills order by fill_id"
        assert rows(fills) == [
            ("f1", "42", "d1", 1),
            ("f2", "0", None, 0),
            ("f3", "42", None, 0),
            ("f4", "42", None, 0),
        ]
        assert rows("select count() from {db}.mm_fills_v1") == [(4,)]
        await sink.stop()

    sink = await upgraded(chdb_path)
    await _first_snapshot_clears_old_levels(sink)
    sink.store.close()


async def _first_snapshot_clears_old_levels(sink: Any) -> None:
    """Levels of the old table that the venue no longer shows become zeros with the market's first snapshot."""
    head: dict[str, Any] = {"ts_event": None, "ts_ingest": 1_793_000_009_000, "source": "kalshi_ws", "cause": None}
    payload = r.BookSnapshotPayload(
        market_ticker=TICKERS[0], market_id="m", session_id="s", sid=1, seq=1, yes=[(4_300, 100)], no=[]
    )
    begin = r.BookResetPayload(market_ticker=TICKERS[0], session_id="s", sid=None, seq=None, reason="session_start")
    reset = r.BookReset(idempotency_key="r1", payload=begin, **head)
    snapshot = r.BookSnapshot(idempotency_key="s1", payload=payload, **head)
    assert await sink.assign(TOPIC, PARTITION) is None
    await sink.write(batch([SourceRecord(n, None, encode_record(one), 0) for n, one in enumerate([reset, snapshot])]))
    await sink.flush()

    live = "select side, toString(price), toString(size) from {db}.latest_levels_deduped where size > 0"
    assert sink.store.rows(live) == [("yes", "0.43", "1")]
