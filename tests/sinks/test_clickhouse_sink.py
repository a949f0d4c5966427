"""The ClickHouse sink on the real engine: every event once, levels equal to the book, whatever is repeated or dies."""

from pathlib import Path
from typing import Any

import pytest
from book_chaos import assert_refusals_told, run_with_kills
from book_store import assert_store_equals, check_in_own_process, written
from book_topic import PARTITION, TOPIC, batch, make_book_topic

from app.settings import load_settings
from domain.errors import UserMistake
from schemas import records as r
from schemas.codec import encode_record
from schemas.registry import QUOTE_UPDATES, TRADES
from sinks.clickhouse.reads import get_batch_best_bid_ask, level_age_limit_ms
from sinks.clickhouse.sink import set_retention
from sinks.contract import SourceRecord

pytestmark = pytest.mark.engines


async def test_every_event_is_there_once_and_levels_are_the_book(new_sink: Any) -> None:
    """Snapshots, deltas, resets, refused and impossible records; the topic crosses a month."""
    records = make_book_topic(1, 4_000)
    sink = await new_sink()
    notes = await written(sink, records)

    assert_store_equals(sink.store, records)
    assert len(notes) == sum(1 for row in sink.store.rows("select 1 from {db}.orderbook_events where type = 'refused'"))
    assert sink.store.rows("select uniqExact(toYYYYMM(ingest_ts)) from {db}.orderbook_events") == [(2,)]
    assert [(sink.stats.rows["orderbook_events_raw"],)] == sink.store.rows("select count() from {db}.orderbook_events")
    assert sink.stats.sent_bytes["latest_levels"] > sink.stats.rows["latest_levels"] > 0
    assert sink.stats.flushes >= 1


async def test_one_flush_is_one_part(new_sink: Any) -> None:
    """An INSERT is one block: it becomes one part, whole or absent."""
    sink = await new_sink()
    sink.store.command("system stop merges {db}.orderbook_events_raw")
    await written(sink, make_book_topic(2, 900)[:250])

    parts = "select count() from system.parts where database = {d:String} and table = 'orderbook_events_raw' and active"
    assert sink.store.rows(parts, {"d": sink.store.database}) == [(1,)]


async def test_the_highest_offset_is_read_from_part_headers(new_sink: Any) -> None:
    """The question at each start reads no rows of the table."""
    sink = await new_sink()
    await written(sink, make_book_topic(3, 500))
    plan = sink.store.rows(
        "explain select max(_offset), count() from {db}.orderbook_events_raw "
        "where _topic = {t:String} and _partition = {p:UInt16}",
        {"t": TOPIC, "p": PARTITION},
    )

    assert any("_minmax_count_projection" in line for (line,) in plan)


async def test_a_restart_in_the_middle_restores_the_books_from_the_tables(new_sink: Any) -> None:
    """A new process that starts anywhere continues the fold exactly, redelivered records included."""
    records = make_book_topic(4, 3_000)
    for begin, end in ((0, 700), (400, 1_500), (1_500, 1_503), (1_000, 3_000)):
        sink = await new_sink()
        assert await sink.assign(TOPIC, PARTITION) in (None, 700, 1_500, 1_503)
        await written(sink, records[begin:end])
        sink.store.close()

    sink = await new_sink()
    assert_store_equals(sink.store, records)


async def test_levels_are_written_again_after_they_were_emptied(new_sink: Any) -> None:
    """`latest_levels` is derived: an assignment folds it anew from the events."""
    records = make_book_topic(5, 1_500)
    sink = await new_sink()
    await written(sink, records)
    sink.store.command("truncate table {db}.latest_levels")
    await sink.assign(TOPIC, PARTITION)

    assert_store_equals(sink.store, records)


async def test_offsets_that_the_log_lost_are_data_and_no_book_survives_them(new_sink: Any) -> None:
    """A hole is a row, and deltas behind it are not folded onto a book from before."""
    records = make_book_topic(7, 600)
    sink = await new_sink()
    await written(sink, records[:200])
    await written(sink, records[300:])
    before = sink.store.rows("select * from {db}.latest_levels_deduped order by 2, 3, 4")
    sink.store.command("truncate table {db}.latest_levels")
    await sink.assign(TOPIC, PARTITION)

    assert sink.store.rows("select first_offset, next_offset from {db}.sink_holes") == [(200, 300)]
    assert sink.store.rows("select * from {db}.latest_levels_deduped order by 2, 3, 4") == before


def quote(offset: int, cause: int, n: int, revision: int, price: int | None, ticker: str = "KX-A") -> SourceRecord:
    """One quote update."""
    size = None if price is None else 150
    best = {f"{side}_{what}": None for side in ("yes_ba", "no_bb", "no_ba") for what in ("px_e4", "sz_e2")}
    payload = r.QuoteUpdatePayload(
        market_ticker=ticker, session_id="s", sid=1, seq=revision, revision=revision, status="live",
        yes_bb_px_e4=price, yes_bb_sz_e2=size, **best,
    )  # fmt: skip
    record = r.QuoteUpdate(
        ts_event=1_793_000_000_000 + offset, ts_ingest=1_793_000_000_001 + offset, source="maintain_books",
        idempotency_key=f"quote_update:v1:{ticker}:{revision:012d}", cause=r.Cause(TOPIC, 0, cause, n), payload=payload,
    )  # fmt: skip
    return SourceRecord(offset, ticker.encode(), encode_record(record), 0)


async def test_a_quote_derived_twice_is_stored_once(new_sink: Any) -> None:
    """After a kill of the state worker some quotes come again at new offsets: they are known by their cause."""
    first = [quote(0, 10, 0, 1, 4_200), quote(1, 10, 1, 2, None), quote(2, 12, 0, 3, 4_300)]
    again = [quote(3, 10, 1, 2, None), quote(4, 12, 0, 3, 4_300)]
    later = [quote(5, 12, 0, 3, 4_300), quote(6, 15, 0, 4, 4_400), quote(7, 9, 0, 1, 1)]
    name = QUOTE_UPDATES.name
    sink = await new_sink()
    await sink.write(batch(first, name))
    await sink.flush()
    await sink.write(batch(again, name))
    await sink.flush()
    assert await sink.assign(name, PARTITION) == 5
    await sink.write(batch(later, name))
    await sink.flush()

    assert sink.store.rows("select revision from {db}.quote_updates order by _offset") == [(1,), (2,), (3,), (4,)]
    best = "select toInt64(yes_bb_px * 10000), toInt64(yes_bid_sz * 100), revision, yes_ask_px from {db}.latest_bbo"
    assert sink.store.rows(best) == [(4_400, 150, 4, None)]
    assert await sink.assign(name, PARTITION) == 8


async def test_trades_are_exact(new_sink: Any) -> None:
    """Prices, counts and times are the integers of the record, also at their bounds."""
    payload = r.TradePayload(
        market_ticker="KX-A", trade_id="t1", yes_price_e4=1, no_price_e4=9_999, count_e2=(1 << 53) - 1, taker_side="no",
        is_block_trade=None,
    )  # fmt: skip
    record = r.Trade(
        ts_event=1_793_491_199_999, ts_ingest=1_793_491_200_001, source="kalshi_ws", idempotency_key="trade:v1:t1",
        cause=None, payload=payload,
    )  # fmt: skip
    sink = await new_sink()
    await sink.write(batch([SourceRecord(0, b"KX-A", encode_record(record), 0)], TRADES.name))
    await sink.flush()

    sql = """select toString(yes_price), toString(no_price), toString(count), toUnixTimestamp64Milli(ts),
             toUnixTimestamp64Milli(ingest_ts), is_block_trade, taker_side from {db}.trades"""
    assert sink.store.rows(sql) == [
        ("0.0001", "0.9999", "90071992547409.91", 1_793_491_199_999, 1_793_491_200_001, None, "no")
    ]


async def test_best_bid_and_ask_with_many_versions_in_one_millisecond(new_sink: Any) -> None:
    """The seeds' synthetic case: duplicated levels, equal times, cleared best levels; right without merges."""
    sink = await new_sink()
    sink.store.command("system stop merges {db}.latest_levels")
    rows = [("yes", 0.42, 5, 1), ("yes", 0.42, 0, 2), ("yes", 0.42, 7, 3), ("yes", 0.55, 9, 1), ("yes", 0.55, 0, 4)]
    rows += [("no", 0.50, 3, 5), ("no", 0.51, 1, 5), ("no", 0.51, 0, 6)]
    for side, price, size, offset in rows:
        sink.store.command(
            "insert into {db}.latest_levels values ('', 'KX-A', "
            f"'{side}', {price}, {size}, 1793000000.001, 1793000000.002, {offset}, 0, {offset})"
        )
    limits_ms = load_settings(mm_max_level_age_ms="KX:10000,600000").mm_max_level_age_ms
    best = get_batch_best_bid_ask(sink.store.client, ["KX-A", "KX-UNKNOWN"], limits_ms, sink.store.database)

    assert list(best) == ["KX-A"]
    assert best["KX-A"][1:-1] == (4_200, 700, 5_000, 300, 5_000, 300, 5_800, 700, 1_793_000_000_002, 1_793_000_000_001)
    assert not best["KX-A"].is_stale(1_793_000_010_002)
    assert best["KX-A"].is_stale(1_793_000_010_003)


def test_levels_of_fast_series_may_be_seconds_old_all_others_minutes() -> None:
    """MM_MAX_LEVEL_AGE_MS: by series with a default; seconds and minutes as the seeds ask."""
    limits_ms = load_settings().mm_max_level_age_ms

    assert 5_000 <= level_age_limit_ms("KXBTC15M-26NOV210015-15", limits_ms) <= 10_000
    assert 300_000 <= level_age_limit_ms("KXHIGHNY-26NOV21-B50", limits_ms) <= 900_000
    changed = load_settings(mm_max_level_age_ms="KXHIGHNY:7000, 400000").mm_max_level_age_ms
    assert level_age_limit_ms("KXHIGHNY-26NOV21-B50", changed) == 7_000
    assert level_age_limit_ms("KXBTC15M-26NOV210015-15", changed) == 400_000


@pytest.mark.parametrize("wrong", ["KXBTC:10000", "KXBTC:x,1", "KXBTC:0,1", "1,2", "KXBTC:1,KXBTC:2,3"])
def test_a_wrong_level_age_is_one_line(wrong: str) -> None:
    """No default, no number, not positive, twice."""
    with pytest.raises(UserMistake, match="MM_MAX_LEVEL_AGE_MS"):
        load_settings(mm_max_level_age_ms=wrong)


async def test_retention_is_set_and_taken_back(new_sink: Any) -> None:
    """The setting becomes the tables' TTL, and 0 removes it."""
    sink = await new_sink(retention_days=30)
    ttl = "select countIf(create_table_query like '%toIntervalDay(30)%') from system.tables where database = {d:String}"

    assert sink.store.rows(ttl, {"d": sink.store.database})[0][0] >= 3
    set_retention(sink.store, 0)
    assert sink.store.rows(ttl, {"d": sink.store.database}) == [(0,)]


def test_kill_nine_between_every_two_steps_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """A short form of the chaos test: a kill at each of the first steps, then a clean end."""
    kills = run_with_kills("clickhouse", tmp_path, 8, 2_500, range(1, 6))

    assert kills == 5
    check_in_own_process(tmp_path, 8, 2_500)
    assert_refusals_told(tmp_path, 8, 2_500)
