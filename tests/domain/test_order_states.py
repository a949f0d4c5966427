"""Order states: the transition table, order independence, and what rests."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.orders import LIVE, TRANSITIONS, KnownOrder, OpenInventory, apply_report, open_inventory, order_drift

RESTING = KnownOrder("KX-A", "o1", "mine-1", "resting", "yes", "buy", 4200, 1000, 0, 1000, 100, 100)


@pytest.mark.parametrize(
    ("ours", "listed", "drift"),
    [
        ([{}], ["o1"], ()),
        ([{}], [], ("o1",)),
        ([{"updated_ts_ms": 95_000}], [], ()),  # heard of while the list was read
        ([{"status": "requested"}], [], ()),  # the venue has not seen it yet
        ([{"status": "canceled"}], ["o1"], ("o1",)),
        ([{"status": "canceled", "updated_ts_ms": 101_000}], ["o1"], ()),  # ended after the list
        ([], ["o9"], ("o9",)),
        ([{}, {"order_id": "o2"}], ["o2", "o3"], ("o1", "o3")),
    ],
)
def test_an_order_that_only_one_of_us_lists_is_drift(ours, listed: list[str], drift: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    """The venue's list was read at 100,000; what was heard of within ten seconds before it proves nothing."""
    orders = {o.order_id: o for o in (replace(RESTING, **changes) for changes in ours)}
    live = [o for o in orders.values() if o.status in LIVE]

    assert order_drift(live, listed, orders.get, 100_000) == drift


@pytest.mark.parametrize(
    ("known", "report", "move", "status"),
    [
        (None, {}, "new", "resting"),
        ({}, {}, "repeated", "resting"),
        ({}, {"filled_e2": 400, "remaining_e2": 600, "updated_ts_ms": 101}, "changed", "resting"),
        ({"filled_e2": 400, "remaining_e2": 600}, {}, "stale", "resting"),
        ({}, {"status": "canceled", "updated_ts_ms": 101}, "changed", "canceled"),
        ({}, {"status": "executed", "filled_e2": 1000, "updated_ts_ms": 101}, "changed", "executed"),
        ({"status": "canceled", "remaining_e2": 0, "updated_ts_ms": 105}, {}, "stale", "canceled"),
        ({"status": "canceled", "remaining_e2": 0}, {"updated_ts_ms": 106}, "impossible", "canceled"),
        ({"status": "canceled", "remaining_e2": 0}, {"status": "executed"}, "impossible", "canceled"),
        ({"status": "executed", "remaining_e2": 0}, {"status": "canceled"}, "impossible", "executed"),
        ({"status": "rejected", "remaining_e2": 0}, {"status": "executed"}, "impossible", "rejected"),
        ({"status": "cancel_requested"}, {"updated_ts_ms": 101}, "changed", "cancel_requested"),
        ({"status": "cancel_requested"}, {"status": "canceled"}, "changed", "canceled"),
        ({"status": "requested"}, {}, "changed", "resting"),
        ({"status": "requested"}, {"status": "rejected"}, "changed", "rejected"),
        ({}, {"status": "rejected"}, "impossible", "resting"),
        ({}, {"side": "no"}, "impossible", "resting"),
    ],
)  # fmt: skip
def test_each_move_is_judged_by_the_transition_table(known, report, move: str, status: str) -> None:  # type: ignore[no-untyped-def]
    """Known state and report in, move and state out: one row per case."""
    before = None if known is None else replace(RESTING, **known)

    step = apply_report(before, replace(RESTING, **report))

    assert (step.move, step.order.status) == (move, status)


def test_every_status_has_its_row_in_the_transition_table() -> None:
    """A status without a row would end in a KeyError in production."""
    assert {to for row in TRANSITIONS.values() for to in row} <= set(TRANSITIONS)


@given(st.permutations(range(6)), st.sampled_from(["canceled", "executed", "resting"]))
def test_reports_in_any_order_end_in_the_same_state(order: list[int], end: str) -> None:
    """Push and poll of one life of an order may arrive in any order."""
    filled = [0, 0, 250, 600, 600, 1000 if end == "executed" else 600]
    life = [
        replace(RESTING, filled_e2=f, remaining_e2=1000 - f, updated_ts_ms=100 + n, status=end if n == 5 else "resting")
        for n, f in enumerate(filled)
    ]
    known = None
    for n in order:
        known = apply_report(known, life[n]).order

    assert known is not None
    expected = replace(life[5], remaining_e2=0 if end != "resting" else 400, revision=known.revision)
    assert known == expected


def test_a_missing_detail_is_filled_in_by_a_report_that_is_behind() -> None:
    """A poll with the client's id, arriving after a push without it, still names the order."""
    push = replace(RESTING, client_order_id=None, created_ts_ms=None, filled_e2=100, remaining_e2=900)

    step = apply_report(apply_report(None, push).order, RESTING)

    assert (step.move, step.order.client_order_id, step.order.created_ts_ms) == ("changed", "mine-1", 100)
    assert step.order.filled_e2 == 100


def test_open_inventory_is_recomputed_from_live_orders_only() -> None:
    """Four sides, signed exposure, and no trace of finished orders."""
    orders = [
        replace(RESTING, order_id="a"),
        replace(RESTING, order_id="b", action="sell", remaining_e2=300),
        replace(RESTING, order_id="c", side="no", remaining_e2=50),
        replace(RESTING, order_id="d", side="no", action="sell", remaining_e2=7, status="cancel_requested"),
        replace(RESTING, order_id="e", status="canceled"),
    ]

    assert open_inventory(orders) == OpenInventory(4, 1000, 300, 50, 7, 1000 - 300 - 50 + 7)
    assert open_inventory([]) == OpenInventory()
