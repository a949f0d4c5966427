"""Reported orders, positions and settlements of both vintages to canonical ones."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.fill_facts import FILL_GATES
from domain.orders import apply_report
from schemas import account_records as a
from schemas.codec import encode_record
from schemas.registry import ORDER_REPORTS, POSITION_REPORTS, decoder
from venues.kalshi.account import AccountRefused, unwrap
from venues.kalshi.account_records import (
    REST_SOURCE,
    opening_position,
    order_report,
    position_report,
    settlement_report,
)
from venues.kalshi.account_reports import order_of, position_of, settlement_of

RECORDED = Path(__file__).parents[2].parent / "shared" / "data" / "kalshi_rest"

WS_ORDER = {
    "order_id": "o-1", "user_id": "u", "ticker": "KX-A", "status": "resting", "side": "yes", "is_yes": True,
    "outcome_side": "yes", "book_side": "bid", "yes_price_dollars": "0.3500", "fill_count_fp": "1.50",
    "remaining_count_fp": "8.50", "initial_count_fp": "10.00", "client_order_id": "mine-1",
    "created_ts_ms": 1733047200000,
}  # fmt: skip
REST_ORDER = {
    "action": "sell", "client_order_id": "", "created_time": "2026-01-10T02:00:50.76072Z", "expiration_time": None,
    "fill_count": 30, "initial_count": 37, "last_update_time": "2026-01-10T02:00:51.5Z", "maker_fees": 12,
    "no_price": 3, "order_id": "o-1", "remaining_count": 7, "side": "no", "status": "canceled", "taker_fees": 100,
    "taker_fees_dollars": "1.0050", "ticker": "KX-A", "yes_price": 97,
}  # fmt: skip
REST_POSITION = {
    "ticker": "KX-A", "position": -5, "market_exposure": 150, "market_exposure_dollars": "1.5050", "realized_pnl": -7,
    "fees_paid": 3, "fees_paid_dollars": "0.0300", "resting_orders_count": 2, "total_traded": 999,
    "last_updated_ts": "2026-01-10T02:00:51.5Z",
}  # fmt: skip
WS_POSITION = {
    "user_id": "u", "market_ticker": "KX-A", "position_fp": "100.50", "position_cost_dollars": "50.0000",
    "realized_pnl_dollars": "10.0000", "fees_paid_dollars": "1.0000", "volume_fp": "15.00",
}  # fmt: skip
WS_POSITION_LEGACY = {
    "market_ticker": "KX-A", "position": 100, "position_cost": 500_000, "realized_pnl": 100_000, "fees_paid": 10_000,
    "volume": 15,
}  # fmt: skip
SETTLEMENT = {
    "ticker": "KX-A", "event_ticker": "KX", "market_result": "yes", "yes_count": 10, "yes_total_cost": 420,
    "no_count": 0, "no_total_cost": 0, "revenue": 1000, "settled_time": "2026-01-10T17:00:03Z", "fee_cost": "0.7300",
    "value": 100,
}  # fmt: skip


def test_a_pushed_order_takes_its_action_from_the_direction_map() -> None:
    """Today's user_order says no action; bid on YES is buying YES."""
    order = order_of(WS_ORDER)

    assert (order.side, order.action, order.price_e4, order.status) == ("yes", "buy", 3500, "resting")
    assert (order.initial_e2, order.filled_e2, order.remaining_e2) == (1000, 150, 850)
    assert (order.created_ts_ms, order.updated_ts_ms, order.fees_e6) == (1733047200000, None, None)


def test_a_polled_order_of_january_2026_is_read_in_cents_and_whole_contracts() -> None:
    """The no leg's own price, both fees, both times; an empty client id is none."""
    order = order_of(REST_ORDER)

    assert (order.side, order.action, order.price_e4, order.status) == ("no", "sell", 300, "canceled")
    assert (order.initial_e2, order.filled_e2, order.remaining_e2) == (3700, 3000, 700)
    assert (order.client_order_id, order.fees_e6) == (None, 1_005_000 + 120_000)
    assert (order.created_ts_ms, order.updated_ts_ms) == (1768010450760, 1768010451500)


def test_a_polled_position_is_signed_and_its_integers_are_cents() -> None:
    """Dollar texts win over rounded cents; a negative count is NO contracts."""
    position = position_of(REST_POSITION, "rest", 77)

    assert (position.position_e2, position.exposure_e6, position.realized_pnl_e6) == (-500, 1_505_000, -70_000)
    assert (position.fees_paid_e6, position.resting_orders, position.as_of_ms) == (30_000, 2, 77)


@pytest.mark.parametrize(("item", "position_e2"), [(WS_POSITION, 10_050), (WS_POSITION_LEGACY, 10_000)])
def test_pushed_positions_of_both_vintages_mean_the_same_money(item: dict, position_e2: int) -> None:
    """Legacy integers are centi-cents: 500000 is fifty dollars."""
    position = position_of(item, "ws", 77)

    assert position.position_e2 == position_e2
    assert (position.exposure_e6, position.realized_pnl_e6, position.fees_paid_e6) == (
        50_000_000,
        10_000_000,
        1_000_000,
    )
    assert position.volume_e2 == 1500


@pytest.mark.parametrize(
    ("changes", "value_e4"),
    [({}, 10_000), ({"market_result": "no"}, 0), ({"market_result": "scalar", "value": 37}, 3_700),
     ({"market_result": "scalar", "value_dollars": "0.3725"}, 3_725), ({"market_result": "void"}, None),
     ({"market_result": "scalar", "value": None}, None), ({"market_result": "yes", "value": None}, 10_000)],
)  # fmt: skip
def test_a_settlement_says_what_one_yes_contract_paid(changes: dict, value_e4: int | None) -> None:
    """yes pays a dollar, no nothing, scalar its value; void, and a scalar without a value, leave it to the revenue."""
    settlement = settlement_of({**SETTLEMENT, **changes})

    assert (settlement.value_e4, settlement.revenue_e6, settlement.fees_e6) == (value_e4, 10_000_000, 730_000)
    assert (settlement.yes_count_e2, settlement.settled_ts_ms) == (1000, 1768064403000)


@pytest.mark.parametrize(
    ("read", "base", "changes", "reason"),
    [
        (order_of, REST_ORDER, {"order_id": ""}, "order_empty_id"),
        (order_of, REST_ORDER, {"ticker": None}, "order_empty_market"),
        (order_of, REST_ORDER, {"status": "dreaming"}, "order_invalid_status"),
        (order_of, REST_ORDER, {"side": "both"}, "order_invalid_side"),
        (order_of, REST_ORDER, {"action": "hold"}, "order_invalid_action"),
        (order_of, REST_ORDER, {"no_price": 103}, "order_invalid_price"),
        (order_of, REST_ORDER, {"fill_count": -1}, "order_negative_count"),
        (order_of, REST_ORDER, {"fill_count": "many"}, "order_bad_number"),
        (order_of, REST_ORDER, {"created_time": "late"}, "order_bad_number"),
        (settlement_of, SETTLEMENT, {"ticker": ""}, "settlement_empty_market"),
        (settlement_of, SETTLEMENT, {"market_result": ""}, "settlement_invalid_result"),
        (settlement_of, SETTLEMENT, {"settled_time": None}, "settlement_missing_ts"),
        (settlement_of, SETTLEMENT, {"market_result": "scalar", "value": 120}, "settlement_invalid_value"),
        (
            settlement_of,
            SETTLEMENT,
            {"market_result": "scalar", "value": None, "revenue": None},
            "settlement_invalid_value",
        ),
        (settlement_of, SETTLEMENT, {"revenue": []}, "settlement_bad_number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(read, base: dict, changes: dict, reason: str) -> None:  # type: ignore[no-untyped-def]
    """Each wrong field has one reason code."""
    with pytest.raises(AccountRefused) as refused:
        read({**base, **changes})

    assert refused.value.reason == reason
    assert reason not in FILL_GATES, "expected a code of its own: what has a gate's code is stored as a refused fill"


def test_reports_pass_the_strict_decoder_and_the_order_state() -> None:
    """What the producer sends is what the agents may trust."""
    order = order_report(order_of(REST_ORDER), REST_SOURCE, 5)
    opening = a.OpeningPositionPayload(
        market_ticker="KX-A", position_e2=-500, cost_e6=1, realized_pnl_e6=2, fees_e6=3, as_of_ms=4
    )
    reports = [
        position_report(position_of(REST_POSITION, "rest", 77), REST_SOURCE, "s", 1),
        settlement_report(settlement_of(SETTLEMENT), 5),
        opening_position(opening, 5),
    ]

    assert decoder(ORDER_REPORTS).decode(encode_record(order)) == order
    assert [decoder(POSITION_REPORTS).decode(encode_record(report)) for report in reports] == reports
    assert apply_report(None, order.payload).order.remaining_e2 == 0


FUZZ = st.dictionaries(
    st.sampled_from(sorted({*WS_ORDER, *REST_ORDER, *REST_POSITION, *SETTLEMENT})),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.integers(), max_size=2),
)


@example({"revenue": 461_168_601_842_739})  # in cents within the bound, in e6 beyond it
@given(FUZZ)
def test_any_object_is_a_valid_report_or_a_refusal(changes: dict) -> None:
    """Fuzzed values never raise anything else, and what passes is within all bounds."""
    for read, base, kind in [
        (order_of, REST_ORDER, a.OrderReportPayload),
        (order_of, WS_ORDER, a.OrderReportPayload),
        (lambda item: position_of(item, "rest", 1), REST_POSITION, a.PositionReportPayload),
        (settlement_of, SETTLEMENT, a.SettlementReportPayload),
    ]:
        try:
            report = read({**base, **changes})
        except AccountRefused:
            continue
        assert msgspec.json.decode(msgspec.json.encode(report), type=kind) == report


@pytest.mark.skipif(not RECORDED.is_dir(), reason="recorded answers are not here")
def test_recorded_orders_and_positions_become_the_canonical_ones() -> None:
    """The real answers of 12 Jan 2026; money figures there are random, so only their reading is checked."""
    orders = json.loads((RECORDED / "portfolio_orders_response.json").read_text())["response"]
    positions = json.loads((RECORDED / "portfolio_positions_response.json").read_text())["response"]
    read_orders = [order_of(item) for item in unwrap(orders, "orders").items]
    raw_positions = unwrap(positions, "market_positions").items
    read_positions = [position_of(item, "rest", 1) for item in raw_positions]

    assert [(o.side, o.action, o.price_e4, o.initial_e2, o.status) for o in read_orders] == [
        ("yes", "buy", 6000, 3200, "executed"),
        ("yes", "buy", 4900, 4000, "executed"),
        ("yes", "buy", 7600, 2500, "executed"),
        ("no", "sell", 300, 3700, "executed"),
        ("yes", "buy", 1900, 5200, "executed"),
    ]
    assert [o.fees_e6 for o in read_orders][:2] == [447_400_000, 322_020_000]
    assert [p.position_e2 for p in read_positions] == [item["position"] * 100 for item in raw_positions]
    assert [p.exposure_e6 for p in read_positions] == [item["market_exposure"] * 10_000 for item in raw_positions]
    assert read_positions
