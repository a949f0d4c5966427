"""Execution records from domain values: strict, keyed by revision, and the way back loses nothing a position needs."""

from dataclasses import replace

from domain.fill_facts import KnownFill
from domain.fills import FillChange
from domain.orders import KnownOrder, open_inventory
from domain.position_ledger import PositionState, apply_fill, apply_settlement, apply_venue_report
from domain.positions import Settlement, entry_of
from schemas import account_records as a
from schemas.account_build import change_of, fill_record_parts, order_record_parts, position_record_parts
from schemas.codec import encode_record
from schemas.registry import FILLS, ORDER_STATES, POSITIONS, decoder

SYNTHETIC = KnownFill("KX-A", "synthetic-1", None, "o", "c", "no", "sell", 4200, 100, None, None, 5_000, "ts")
LEARNED = replace(SYNTHETIC, venue_fill_id="f1", ts_ms=5_123, ts_source="created_time", fee_e6=70, revision=2)
ORDER = KnownOrder("KX-A", "o1", "mine-1", "resting", "yes", "buy", 4200, 1000, 0, 1000, 100, 100, revision=3)


def enveloped(kind, key, payload):  # type: ignore[no-untyped-def]
    """The record as an agent sends it."""
    return kind(ts_event=1, ts_ingest=2, source="test", idempotency_key=key, cause=None, payload=payload)


def test_a_fill_and_its_amendment_pass_the_strict_decoder_with_keys_of_their_own() -> None:
    """The fill is keyed by its id, the amendment by its revision, zero-padded."""
    first, amended = fill_record_parts(FillChange(SYNTHETIC, None)), fill_record_parts(FillChange(LEARNED, SYNTHETIC))
    records = [enveloped(a.Fill, *first), enveloped(a.FillAmended, *amended)]

    assert [decoder(FILLS).decode(encode_record(record)) for record in records] == records
    assert first[0] == "fill:v1:KX-A:synthetic-1"
    assert amended[0] == "fill_amended:v1:KX-A:synthetic-1:000000000002"


def test_an_amendment_read_back_finds_the_place_where_the_fill_stood() -> None:
    """track_positions takes out exactly the entry that was put in, and puts the new one in."""
    back = change_of(fill_record_parts(FillChange(LEARNED, SYNTHETIC))[1])

    assert back.fill == LEARNED
    assert back.previous is not None
    assert entry_of(back.previous) == entry_of(SYNTHETIC)
    assert change_of(fill_record_parts(FillChange(SYNTHETIC, None))[1]) == FillChange(SYNTHETIC, None)


def test_a_position_says_what_is_held_what_it_cost_and_what_the_venue_thinks() -> None:
    """One fill, the venue's differing word, then the settlement."""
    bought = replace(LEARNED, side="yes", action="buy")
    state = apply_fill(PositionState("KX-A"), lambda _: (), bought, None).state
    state = apply_venue_report(state, 300, 9_000).state
    key, payload = position_record_parts(state)
    record = enveloped(a.Position, key, payload)

    assert decoder(POSITIONS).decode(encode_record(record)) == record
    assert key == "position:v1:KX-A:000000000002"
    assert (payload.pos_filled_e2, payload.cost_e6, payload.cash_e6, payload.fees_e6) == (100, 420_000, -420_000, 70)
    assert (payload.venue_position_e2, payload.drift_e2, payload.drift_since_ms) == (300, -200, 9_000)
    settled = position_record_parts(apply_settlement(state, Settlement(10_000, 0, 9_500)).state)[1]
    assert (settled.pos_filled_e2, settled.realized_pnl_e6, settled.settled_ts_ms) == (0, 580_000, 9_500)
    assert settled.drift_e2 is None


def test_an_order_state_carries_what_rests_in_its_market() -> None:
    """The open inventory stands beside the order, recomputed."""
    key, payload = order_record_parts(ORDER, open_inventory([ORDER]))
    record = enveloped(a.OrderState, key, payload)

    assert decoder(ORDER_STATES).decode(encode_record(record)) == record
    assert key == "order_state:v1:KX-A:o1:000000000003"
    assert (payload.open_orders_count, payload.open_yes_bid_e2, payload.pos_open_exposure_e2) == (1, 1000, 1000)
