"""`latest_levels_lag_s_by_ticker`: events that are fresh and levels that are not, found in the store itself."""

import asyncio
import logging
import time
from types import SimpleNamespace
from typing import Any

import pytest
from book_topic import PARTITION, batch
from prometheus_client import generate_latest

from agents.store_records import SinkStage
from app.metrics import registry_of
from schemas import records as r
from schemas.codec import encode_record
from sinks.clickhouse.freshness import LevelFreshness, level_lags_s
from sinks.contract import SourceRecord

pytestmark = pytest.mark.engines
TICKERS = [f"KXTEST-{n}" for n in range(7)]


def record(offset: int, ticker: str, ts_ms: int, seq: int, **what: Any) -> SourceRecord:
    """A session start, a snapshot or a delta of +1 contract on the YES side, by the fields given."""
    p: dict[str, Any] = {"market_ticker": ticker, "session_id": "s", "sid": 1, "seq": seq}
    head: dict[str, Any] = {"ts_ingest": ts_ms, "source": "kalshi_ws", "cause": None, "idempotency_key": f"k{offset}"}
    row: Any
    if "reason" in what:
        row = r.BookReset(ts_event=None, payload=r.BookResetPayload(**p, **what), **head)
    elif "yes" in what:
        row = r.BookSnapshot(ts_event=None, payload=r.BookSnapshotPayload(**p, market_id="m", no=[], **what), **head)
    else:
        change = r.BookDeltaPayload(**p, market_id="m", side="yes", price_e4=4_000, delta_e2=100)
        row = r.BookDelta(ts_event=ts_ms, payload=change, **head)
    return SourceRecord(offset, ticker.encode(), encode_record(row), ts_ms)


async def written(sink: Any, now_ms: int, begun_ms: int) -> None:
    """Each market begins with a snapshot at `begun_ms` and has a delta each 10 s up to now."""
    rows, offset = [], 0
    for ticker in TICKERS:
        begin: list[dict[str, Any]] = [{"reason": "session_start"}, {"yes": [(4_000, 100)]}]
        changes: list[dict[str, Any]] = [{}] * ((now_ms - begun_ms) // 10_000)
        for seq, what in enumerate(begin + changes):
            rows.append(record(offset, ticker, begun_ms + max(0, seq - 1) * 10_000, seq, **what))
            offset += 1
    await sink.write(batch(rows))
    await sink.flush()


async def test_healthy_markets_have_no_lag_and_only_the_worst_five_are_shown(new_sink: Any) -> None:
    """Seven markets; the levels of two are rolled back, as if their writes had been lost for 100 and 200 s."""
    sink, now_ms = await new_sink(), time.time_ns() // 1_000_000
    await written(sink, now_ms, now_ms - 300_000)
    client, name = sink.store.client, sink.store.database
    assert level_lags_s(client, name, now_ms) == dict.fromkeys(TICKERS[:5], 0.0)

    for ticker, lost_s in ((TICKERS[6], 200), (TICKERS[2], 100)):
        sink.store.command(
            f"alter table {{db}}.latest_levels update ingest_ts = ingest_ts - interval {lost_s} second "
            f"where market_ticker = '{ticker}' settings mutations_sync = 1"
        )
    found = level_lags_s(client, name, now_ms)
    assert list(found.items()) == [
        (TICKERS[6], 200.0),
        (TICKERS[2], 100.0),
        *((t, 0.0) for t in TICKERS[:2] + TICKERS[3:4]),
    ]
    assert level_lags_s(client, name, now_ms + 61_000) == {}, "markets without events in the last minute are not judged"


async def test_a_market_whose_levels_are_all_lost_lags_since_its_first_event_in_the_window(new_sink: Any) -> None:
    """A code path that writes events and no levels at all."""
    sink, now_ms = await new_sink(), time.time_ns() // 1_000_000
    await written(sink, now_ms, now_ms - 300_000)
    sink.store.command(
        f"alter table {{db}}.latest_levels delete where market_ticker = '{TICKERS[3]}' settings mutations_sync = 1"
    )

    assert level_lags_s(sink.store.client, sink.store.database, now_ms, 1) == {TICKERS[3]: 110.0}


async def test_the_worker_logs_and_exposes_what_it_found(new_sink: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A warning above a minute; the metric has the same markets. Inserts go on beside it."""
    sink, now_ms = await new_sink(), time.time_ns() // 1_000_000
    await written(sink, now_ms, now_ms - 300_000)
    sink.store.command(
        f"alter table {{db}}.latest_levels delete where market_ticker = '{TICKERS[3]}' settings mutations_sync = 1"
    )
    caplog.set_level(logging.INFO)
    watch = LevelFreshness(sink.store, look_s=0.01)
    await watch.start()
    async with asyncio.timeout(30):
        while not watch.lag_s_by_ticker:
            await asyncio.sleep(0.01)
            sink.store.rows("select count() from {db}.latest_levels")
    await watch.stop()

    lines = [line for line in caplog.records if line.message.startswith("latest_levels_lag_s_by_ticker={")]
    assert lines[0].levelno == logging.WARNING
    assert f"'{TICKERS[3]}': " in lines[0].message
    stage = SinkStage(sink, SimpleNamespace(), 1, [watch])  # type: ignore[arg-type]
    app = SimpleNamespace(
        stages=[stage],
        rebalancing=True,
        consumer=None,
        kernel=SimpleNamespace(settings=SimpleNamespace(send_stall_s=1)),
    )
    page = generate_latest(registry_of(app)).decode()
    series = [line for line in page.splitlines() if line.startswith("kalshi_streams_latest_levels_lag_s_by_ticker{")]
    assert len(series) == 5
    assert series[0].startswith(f'kalshi_streams_latest_levels_lag_s_by_ticker{{market_ticker="{TICKERS[3]}"}} 1')
    assert sink.durable_next_offset("market.book_updates", PARTITION)
