"""Fills and positions in ClickHouse: the seeds' queries run verbatim on the view."""

from typing import Any

import pytest
from book_topic import PARTITION, batch

from schemas import account_records as a
from schemas import order_records as o
from schemas import records as r
from schemas.codec import encode_record
from schemas.registry import DECISION_LINKS, DLQ, FILLS, ORDERS, POSITIONS
from sinks.contract import SourceRecord

pytestmark = pytest.mark.engines
TS_MS = 1_793_000_000_123
FILL = {
    "market_ticker": "KX-A", "fill_id": "f1", "order_id": "o1", "client_order_id": None, "side": "no", "action": "buy",
    "price_e4": 4_250, "count_e2": 1_350, "is_taker": True, "fee_e6": None, "ts_ms": TS_MS, "ts_source": "ts_ms",
    "venue_fill_id": "f1", "sort_id": "f1", "decision_id": None,
}  # fmt: skip


def at(offset: int, record: r.Record) -> SourceRecord:
    """The record at an offset of its topic."""
    return SourceRecord(offset, b"KX-A", encode_record(record), 0)


def head(n: int) -> dict[str, Any]:
    """An envelope whose cause is the n-th report."""
    cause = r.Cause("account.fill_reports", 0, n, 0)
    return {"ts_event": TS_MS, "ts_ingest": TS_MS + 9, "source": "agent", "idempotency_key": f"k{n}", "cause": cause}


async def test_a_fill_is_one_row_with_its_newest_revision(new_sink: Any) -> None:
    """An amendment replaces the fill in the view, a repetition after a kill adds nothing."""
    fill = a.Fill(payload=a.FillPayload(**FILL, revision=1), **head(1))
    better = FILL | {"fee_e6": 17_500, "revision": 2}
    before = {"previous_ts_ms": TS_MS, "previous_sort_id": "f1", "previous_fee_e6": None}
    amended = a.FillAmended(payload=a.FillAmendedPayload(**better, **before), **head(2))
    sink = await new_sink()
    await sink.write(batch([at(0, fill), at(1, amended), at(2, fill), at(3, amended)], FILLS.name))
    await sink.flush()

    sql = """select toString(price_cents), toString(size), fill_id, exchange_order_id, decision_id, is_valid,
             toString(fee), toUnixTimestamp64Milli(ts), side from {db}.mm_fills"""
    assert sink.store.rows(sql) == [("42.5", "13.5", "f1", "o1", None, 1, "0.0175", TS_MS, "no")]
    assert sink.store.rows("select count() from {db}.mm_fills_raw") == [(2,)]
    assert await sink.assign(FILLS.name, PARTITION) == 4


async def test_a_fill_shows_the_decision_of_its_order_whenever_the_link_comes(new_sink: Any) -> None:
    """Links are rows of their own, stored once or twice, before the fill or after it; a fill without one says null."""
    sink = await new_sink()
    fills = [
        at(n, a.Fill(payload=a.FillPayload(**FILL | {"fill_id": f"f{n}", "order_id": f"o{n}"}, revision=1), **head(n)))
        for n in range(3)
    ]
    links = [(0, "d0"), (1, "d1"), (1, "d1")]
    await sink.write(batch([at(n, link(*told)) for n, told in enumerate(links[:1])], DECISION_LINKS.name))
    await sink.write(batch(fills, FILLS.name))
    await sink.flush()
    await sink.write(batch([at(n + 1, link(*told)) for n, told in enumerate(links[1:])], DECISION_LINKS.name))
    await sink.flush()

    found = sink.store.rows("select fill_id, decision_id from {db}.mm_fills order by 1")
    assert found == [("f0", "d0"), ("f1", "d1"), ("f2", None)]
    assert await sink.assign(DECISION_LINKS.name, PARTITION) == 3


def link(n: int, decision_id: str) -> o.DecisionLink:
    """The link of order n."""
    payload = o.DecisionLinkPayload(
        market_ticker="KX-A", order_id=f"o{n}", client_order_id=f"c{n}", decision_id=decision_id
    )
    return o.DecisionLink(payload=payload, **head(n) | {"cause": None})


async def test_an_order_action_is_a_row_with_its_request(new_sink: Any) -> None:
    """The seeds' columns."""
    payload = o.OrderActionPayload(
        market_ticker="KX-A", decision_id="d1", client_order_id="c1", order_id=None, kind="place", side="no",
        action="buy", price_e4=4_250, count_e2=150, request_json='{"count":1}',
    )  # fmt: skip
    sink = await new_sink()
    await sink.write(batch([at(0, o.OrderAction(payload=payload, **head(1) | {"cause": None}))], ORDERS.name))
    await sink.flush()

    sql = """select decision_id, client_order_id, exchange_order_id, action, side, toString(price), toString(size),
             request_json from {db}.mm_order_actions"""
    assert sink.store.rows(sql) == [("d1", "c1", "", "place", "no", "0.425", "1.5", '{"count":1}')]


async def test_refused_fills_enter_from_the_dead_letters_as_invalid(new_sink: Any) -> None:
    """Only gates count; every other dead letter is none of this table's business, and is not read again."""
    letters = []
    for offset, reason in enumerate(["zero_size", "bad_number", "missing_ts", "zero_size", "negative_level"]):
        payload = r.DeadLetterPayload(
            topic=None, partition=None, offset=None, session_id="s", frame_no=offset, market_ticker="KX-A",
            reason=reason, detail="", raw_base64="",
        )  # fmt: skip
        letters.append(at(offset, r.DeadLetter(payload=payload, **(head(offset) | {"cause": None, "ts_event": None}))))
    sink = await new_sink()
    await sink.write(batch(letters, DLQ.name))
    await sink.flush()

    found = sink.store.rows(
        "select reason, is_valid from {db}.mm_fills order by _offset".replace("order by _offset", "order by 1")
    )
    assert found == [("missing_ts", 0), ("zero_size", 0), ("zero_size", 0)]
    assert await sink.assign(DLQ.name, PARTITION) == 5


async def test_positions_keep_64_bit_money(new_sink: Any) -> None:
    """Sums of money beyond 18 digits are stored exactly."""
    names = a.PositionPayload.__struct_fields__
    payload = dict.fromkeys(names, None) | {name: 0 for name in names if name.endswith(("_e2", "_e6"))}
    payload |= {"market_ticker": "KX-A", "revision": 1, "inv_convention": "net_yes_avg_cost_v1", "fills": 1}
    payload |= {"fills_without_fee": 0, "pos_filled_e2": -1_350, "cash_e6": -(1 << 62), "venue_position_e2": None}
    sink = await new_sink()
    await sink.write(batch([at(0, a.Position(payload=a.PositionPayload(**payload), **head(1)))], POSITIONS.name))
    await sink.flush()

    sql = "select toString(pos_filled), toString(cash), venue_position, fills from {db}.mm_positions"
    assert sink.store.rows(sql) == [("-13.5", "-4611686018427.387904", None, 1)]


SEED_QUERIES = (
    "SELECT count() AS n, sum(fill_id='') AS blank FROM kalshi.mm_fills WHERE ts > now() - INTERVAL 1 HOUR",
    "SELECT uniqExact(fill_id) as unique_fills, count() as total_rows FROM kalshi.mm_fills WHERE is_valid = 1",
    "SELECT toStartOfMinute(ts) as minute, count(*) as fill_count FROM kalshi.mm_fills GROUP BY minute ORDER BY minute",
    "SELECT count(CASE WHEN price_cents = 0 THEN 1 END), count(CASE WHEN size = 0 THEN 1 END) FROM kalshi.mm_fills",
    "SELECT exchange_order_id, count(*) AS c FROM kalshi.mm_fills GROUP BY exchange_order_id ORDER BY c DESC LIMIT 10",
    "SELECT count(CASE WHEN decision_id IS NOT NULL THEN 1 END) / count(*) FROM kalshi.mm_fills",
    "SELECT count(DISTINCT fill_id) as unique_fills, uniqExact(fill_id) as exact_unique FROM kalshi.mm_fills",
    "SELECT count() as total, sum(fill_id = '') as blank_ids, sum(fill_id IS NULL) as null_ids FROM kalshi.mm_fills",
    "SELECT round(100.0 * uniqExact(fill_id) / count(), 1) as uniqueness_pct FROM kalshi.mm_fills",
    "SELECT min(ts), max(ts), dateDiff('minute', min(ts), max(ts)) as time_span_minutes FROM kalshi.mm_fills",
    "SELECT count() as fills_last_hour FROM kalshi.mm_fills WHERE ts > now() - INTERVAL 1 HOUR",
    "SELECT DISTINCT fill_id FROM kalshi.mm_fills WHERE fill_id IN ('f1', 'f2')",
    "SELECT decision_id FROM kalshi.mm_order_actions WHERE exchange_order_id = 'o1' ORDER BY ts DESC LIMIT 1",
    "SELECT count() FROM kalshi.mm_fills WHERE is_valid = 0",
)


async def test_the_seeds_queries_run(new_sink: Any) -> None:
    """Columns and types are those the documents ask for."""
    sink = await new_sink()

    for sql in SEED_QUERIES:
        sink.store.rows(sql.replace("kalshi.", "{db}."))
