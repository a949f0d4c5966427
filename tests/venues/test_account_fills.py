"""Reported fills of every shape and vintage to canonical ones: one row per case, and the gates."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.fill_facts import FILL_GATES
from schemas import account_records as a
from schemas.codec import encode_record
from schemas.registry import DLQ, FILL_REPORTS, decoder
from sinks.clickhouse.account import refused_fill_rows, refused_fills
from sinks.columns import take_records
from sinks.contract import SourceRecord
from venues.kalshi.account import AccountRefused, fill_of, name_fills, unwrap
from venues.kalshi.account_records import REST_SOURCE, dead_letter, fill_report

RECORDED = Path(__file__).parents[2].parent / "shared" / "data" / "kalshi_rest"

# Own samples with the field names of each vintage.
REST_JAN_2026 = {
    "action": "buy", "count": 32, "created_time": "2026-01-10T16:11:11.109554Z", "fill_id": "f-1", "is_taker": True,
    "market_ticker": "KX-A", "no_price": 40, "no_price_fixed": "0.4000", "order_id": "o-1", "price": 0.6, "side": "yes",
    "ticker": "KX-A", "trade_id": "f-1", "ts": 1768061471, "yes_price": 60, "yes_price_fixed": "0.6000",
}  # fmt: skip
REST_APR_2026 = {
    "fill_id": "f-1", "trade_id": "f-1", "order_id": "o-1", "ticker": "KX-A", "market_ticker": "KX-A", "side": "no",
    "action": "sell", "count_fp": "12.50", "yes_price_dollars": "0.9705", "no_price_dollars": "0.0295",
    "ts": 1768061471, "is_taker": False,
    "created_time": "2026-01-10T16:11:11.109554Z", "fee_cost": "0.010000", "subaccount_number": 0,
}  # fmt: skip
WS_LEGACY = {
    "trade_id": "f-1", "order_id": "o-1", "market_ticker": "KX-A", "is_taker": True, "side": "no", "yes_price": 75,
    "yes_price_dollars": "0.750", "count": 278, "action": "buy", "ts": 1671899397, "post_position": 500,
}  # fmt: skip
WS_2026 = {
    "trade_id": "f-1", "order_id": "o-1", "client_order_id": "mine-1", "market_ticker": "KX-A", "exchange_index": 0,
    "is_taker": True, "side": "yes", "action": "buy", "yes_price_dollars": "0.7500", "count_fp": "278.00",
    "fee_cost": "0.010000", "post_position_fp": "500.00", "purchased_side": "yes", "outcome_side": "yes",
    "book_side": "bid", "ts": 1671899397, "ts_ms": 1671899397123, "subaccount": 0,
}  # fmt: skip
# The first seed's field list, as terse as it may come.
SEED = {
    "order_id": "o-1", "trade_id": "f-1", "side": "YES", "action": "Buy", "count": 1, "yes_price": 42, "ts": 1768061471,
    "ticker": "KX-A",
}  # fmt: skip


def without(item: dict, *names: str, **changes: object) -> dict:
    """The item with fields removed and changed."""
    return {name: value for name, value in {**item, **changes}.items() if name not in names}


@pytest.mark.parametrize(
    ("item", "side", "action", "price_e4", "count_e2", "fee_e6", "ts_ms", "ts_source"),
    [
        (REST_JAN_2026, "yes", "buy", 6000, 3200, None, 1768061471109, "created_time"),
        (REST_APR_2026, "yes", "sell", 9705, 1250, 10_000, 1768061471109, "created_time"),
        (WS_LEGACY, "no", "buy", 2500, 27800, None, 1671899397000, "ts"),
        (WS_2026, "yes", "buy", 7500, 27800, 10_000, 1671899397123, "ts_ms"),
        (SEED, "yes", "buy", 4200, 100, None, 1768061471000, "ts"),
        # the seed's order of names
        (without(SEED, "order_id", orderId="o-1"), "yes", "buy", 4200, 100, None, 1768061471000, "ts"),
        (without(SEED, "order_id", id="o-1"), "yes", "buy", 4200, 100, None, 1768061471000, "ts"),
        (without(SEED, "count", size=2), "yes", "buy", 4200, 200, None, 1768061471000, "ts"),
        (without(SEED, "count", qty="2.25"), "yes", "buy", 4200, 225, None, 1768061471000, "ts"),
        (without(SEED, count_fp="3.00"), "yes", "buy", 4200, 300, None, 1768061471000, "ts"),
        (without(SEED, "ticker", market="KX-A"), "yes", "buy", 4200, 100, None, 1768061471000, "ts"),
        # the non-negotiable price rule and its fallbacks
        (without(SEED, side="no", no_price=57), "no", "buy", 5700, 100, None, 1768061471000, "ts"),
        (without(SEED, side="no"), "no", "buy", 5800, 100, None, 1768061471000, "ts"),
        (without(SEED, yes_price=0, price=0.42), "yes", "buy", 4200, 100, None, 1768061471000, "ts"),
        (without(SEED, "yes_price", price=0.29), "yes", "buy", 2900, 100, None, 1768061471000, "ts"),
        (without(SEED, "yes_price", price=0.145), "yes", "buy", 1450, 100, None, 1768061471000, "ts"),
        (without(SEED, yes_price="0.4250"), "yes", "buy", 4250, 100, None, 1768061471000, "ts"),
        (without(SEED, yes_price="42"), "yes", "buy", 4200, 100, None, 1768061471000, "ts"),
        (without(SEED, yes_price_dollars="0.4155"), "yes", "buy", 4155, 100, None, 1768061471000, "ts"),
        # time: seconds, ms, text; the boundary is 1e11
        (without(SEED, ts=1768061471109), "yes", "buy", 4200, 100, None, 1768061471109, "ts_ms"),
        (without(SEED, ts=99_999_999_999), "yes", "buy", 4200, 100, None, 99_999_999_999_000, "ts"),
        (without(SEED, ts=100_000_000_000), "yes", "buy", 4200, 100, None, 100_000_000_000, "ts_ms"),
        (without(SEED, ts="1768061471"), "yes", "buy", 4200, 100, None, 1768061471000, "ts"),
        (without(SEED, ts=1768061471.109), "yes", "buy", 4200, 100, None, 1768061471109, "ts_ms"),
        (without(SEED, ts="2026-01-11T23:52:12Z"), "yes", "buy", 4200, 100, None, 1768175532000, "ts"),
        (without(SEED, ts="2026-01-11T23:52:12.5+00:00"), "yes", "buy", 4200, 100, None, 1768175532500, "ts_ms"),
        (without(SEED, ts_ms=1768061471109), "yes", "buy", 4200, 100, None, 1768061471109, "ts_ms"),
        (without(SEED, ts_ms=1768061471), "yes", "buy", 4200, 100, None, 1768061471000, "ts"),
    ],
)
def test_a_fill_of_any_shape_becomes_the_canonical_one(
    item: dict, side: str, action: str, price_e4: int, count_e2: int, fee_e6: int | None, ts_ms: int, ts_source: str
) -> None:
    """Fields of every vintage and of the seeds, one row each."""
    fill = fill_of(item, "rest" if item is REST_APR_2026 else "ws")

    assert (fill.market_ticker, fill.fill_id, fill.order_id) == ("KX-A", "f-1", "o-1")
    assert (fill.side, fill.action, fill.price_e4, fill.count_e2) == (side, action, price_e4, count_e2)
    assert (fill.fee_e6, fill.ts_ms, fill.ts_source) == (fee_e6, ts_ms, ts_source)


#: What fails a gate, and which.
REFUSED: list[tuple[dict, str]] = [
    (without(SEED, "order_id"), "empty_order_id"),
    (without(SEED, order_id="  "), "empty_order_id"),
    (without(SEED, "order_id", "count"), "empty_order_id"),
    (without(SEED, count=0), "zero_size"),
    (without(SEED, "count"), "zero_size"),
    (without(SEED, count=-3), "zero_size"),
    (without(SEED, count="1.005"), "zero_size"),
    (without(SEED, count=float("nan")), "zero_size"),
    (without(SEED, count=0, yes_price=0), "zero_size"),
    (without(SEED, yes_price=0), "invalid_price"),
    (without(SEED, yes_price=100), "invalid_price"),
    (without(SEED, yes_price=-1), "invalid_price"),
    (without(SEED, "yes_price", price=1.2), "invalid_price"),
    (without(SEED, yes_price_dollars="0.00001"), "invalid_price"),
    (without(SEED, yes_price=True), "invalid_price"),
    (without(SEED, "yes_price", "ticker"), "invalid_price"),
    (without(SEED, "ticker"), "empty_market"),
    (without(SEED, "side"), "invalid_side"),
    (without(SEED, side="maybe"), "invalid_side"),
    (without(SEED, "action"), "invalid_action"),
    (without(SEED, action="hold"), "invalid_action"),
    (without(WS_2026, outcome_side="no"), "invalid_side"),
    (without(WS_2026, book_side="middle"), "invalid_side"),
    (without(SEED, "ts"), "missing_ts"),
    (without(SEED, ts=0), "missing_ts"),
    (without(SEED, ts="yesterday"), "missing_ts"),
    # in disguise: no id and no price, no time, or the fields of an order
    (without(SEED, "trade_id", "yes_price"), "fake_fill"),
    (without(SEED, "trade_id", "ts"), "fake_fill"),
    (without(SEED, "trade_id", remaining_count=5, status="resting"), "fake_fill"),
    ({}, "empty_order_id"),
]


@pytest.mark.parametrize(("item", "reason"), REFUSED)
def test_what_fails_a_gate_is_refused_with_its_reason(item: dict, reason: str) -> None:
    """The first gate that fails names the reason; nothing is guessed."""
    with pytest.raises(AccountRefused) as refused:
        fill_of(item, "ws")

    assert refused.value.reason == reason


def test_every_gate_is_one_code_from_the_producer_to_the_store() -> None:
    """Each refusal's dead letter is a row of mm_fills with the same reason; no gate is without a case."""
    letters = []
    for item, _ in REFUSED:
        with pytest.raises(AccountRefused) as refused:
            fill_of(item, "ws")
        letters.append(dead_letter(refused.value, item, REST_SOURCE, 5))
    records = [SourceRecord(n, None, encode_record(letter), 0) for n, letter in enumerate(letters)]
    other = msgspec.structs.replace(letters[0].payload, reason="fill_conflicting")
    records.append(
        SourceRecord(len(records), None, encode_record(msgspec.structs.replace(letters[0], payload=other)), 0)
    )
    table, refusals = take_records(DLQ, 0, records)
    stored = refused_fill_rows(refused_fills(table))

    assert refusals == []
    assert stored["reason"].to_pylist() == [reason for _, reason in REFUSED]
    assert set(stored["reason"].to_pylist()) == set(FILL_GATES)
    assert set(stored["is_valid"].to_pylist()) == {0}


@pytest.mark.parametrize(
    ("body", "items", "dropped", "cursor", "is_error"),
    [
        ([SEED], 1, 0, "", False),
        ({"fills": [SEED], "cursor": "c1"}, 1, 0, "c1", False),
        ({"data": [SEED, SEED]}, 2, 0, "", False),
        ({"items": []}, 0, 0, "", False),
        ({"fills": [SEED, "text", 7, None, [SEED]]}, 1, 4, "", False),
        ({"fills": [SEED], "cursor": None}, 1, 0, "", False),
        ({"fills": None, "cursor": ""}, 0, 0, "", False),
        ({"fills": None, "data": [SEED]}, 1, 0, "", False),
        ("service unavailable", 0, 0, "", True),
        (None, 0, 0, "", True),
        (12, 0, 0, "", True),
        ({"orders": [SEED]}, 0, 0, "", True),
        ({"fills": "none"}, 0, 0, "", True),
    ],
)
def test_any_answer_shape_is_a_list_of_items_or_an_error(body, items, dropped, cursor, is_error) -> None:  # type: ignore[no-untyped-def]
    """A list, an object around a list, or something else; never an exception."""
    unwrapped = unwrap(body, "fills")

    assert (len(unwrapped.items), unwrapped.dropped, unwrapped.cursor) == (items, dropped, cursor)
    assert (unwrapped.error is not None) == is_error


def test_equal_nameless_fills_of_a_walk_get_different_ids_and_the_same_ones_next_time() -> None:
    """Ordinals count equals, those with ids first; a repeated walk names alike."""

    def walk() -> list[a.FillReportPayload]:
        nameless = without(SEED, "trade_id")
        return [fill_of(item, "rest") for item in (nameless, SEED, nameless, without(nameless, count=2))]

    named = name_fills(walk())

    assert [fill.synthetic_ordinal for fill in named] == [1, None, 2, 0]
    assert len({fill.fill_id for fill in named}) == 4
    assert [fill.fill_id for fill in named] == [fill.fill_id for fill in name_fills(walk())]


def test_a_report_passes_the_strict_decoder_and_repeats_its_key() -> None:
    """What the producer sends is what the agent may trust; a repetition is recognisable."""
    first, again = (
        fill_report(fill_of(WS_2026, "ws"), REST_SOURCE, 5),
        fill_report(fill_of(WS_2026, "ws"), REST_SOURCE, 99),
    )

    assert decoder(FILL_REPORTS).decode(encode_record(first)) == first
    assert first.idempotency_key == again.idempotency_key
    assert first.ts_event == 1671899397123


def test_a_refused_item_keeps_its_bytes_and_has_one_dead_letter_however_often_it_comes() -> None:
    """The dead letter is keyed by content, not by the poll that found it."""
    bad = without(SEED, yes_price=0)
    with pytest.raises(AccountRefused) as refused:
        fill_of(bad, "rest")
    letters = [dead_letter(refused.value, bad, REST_SOURCE, now) for now in (1, 2)]

    assert letters[0].idempotency_key == letters[1].idempotency_key
    assert letters[0].payload.reason == "invalid_price"
    assert letters[0].payload.market_ticker == "KX-A"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted({*WS_2026, *REST_JAN_2026, "status", "id"})), JSON))
def test_any_object_is_a_valid_fill_or_a_refusal(changes: dict) -> None:
    """Fuzzed values in known fields never raise anything else, and what passes is within all bounds."""
    for base, channel in (({}, "rest"), (REST_JAN_2026, "rest"), (WS_2026, "ws")):
        try:
            fill = fill_of({**base, **changes}, channel)
        except AccountRefused as refused:
            assert refused.reason in FILL_GATES
            continue
        named = name_fills([fill])[0]
        encoded = msgspec.json.encode(named)
        assert msgspec.json.decode(encoded, type=a.FillReportPayload) == named


@pytest.mark.skipif(not RECORDED.is_dir(), reason="recorded answers are not here")
def test_recorded_fills_become_the_canonical_ones() -> None:
    """The real answer of 12 Jan 2026, row by row."""
    body = json.loads((RECORDED / "portfolio_fills_response.json").read_text())["response"]
    unwrapped = unwrap(body, "fills")
    fills = [fill_of(item, "rest") for item in unwrapped.items]

    assert unwrapped.cursor
    assert [(f.side, f.action, f.price_e4, f.count_e2, f.ts_ms, f.is_taker) for f in fills] == [
        ("yes", "buy", 6000, 3200, 1768061471109, True),
        ("yes", "buy", 4900, 500, 1768060486952, True),
        ("yes", "buy", 4800, 100, 1768060486952, True),
        ("yes", "buy", 4800, 3400, 1768060486952, True),
        ("yes", "buy", 7600, 1000, 1768012672952, True),
    ]
    assert [f.fill_id[:8] for f in fills] == ["43db2a6b", "6dcfb249", "89a1bb6e", "51dfb6f8", "39bb24a2"]
    assert fills[1].order_id == fills[2].order_id == fills[3].order_id
    assert all(f.fee_e6 is None and f.ts_source == "created_time" for f in fills)
