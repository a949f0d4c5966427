"""The simulated account: what it pushes and what it answers is one and the same truth, in both vintages."""

import random
import time
from collections import Counter

import pytest
from account_desk import Desk
from account_trade import by_rest, traded
from simulator_client import client_of, get, post, until

from domain.fees import trade_fee_e6
from schemas import account_records as a
from venues.kalshi.account import fill_of
from venues.kalshi.account_records import fill_report
from venues.simulator import account_wire as wire
from venues.simulator.account import Account
from venues.simulator.account_door import AccountFaults
from venues.simulator.account_ledger import DEPOSIT_E6
from venues.simulator.config import SimConfig
from venues.simulator.server import serving


@pytest.mark.parametrize("vintage", ["b", "c", "d"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_answers_of_every_vintage_lead_to_the_accounts_own_positions(seed: int, vintage: str) -> None:
    """Orders that rest, fill in parts and cancel, several fills in a microsecond, a settlement: equal to the cent."""
    ledger = traded(seed).ledger
    records = by_rest(ledger, vintage=vintage)
    random.Random(seed).shuffle(records)
    desk = Desk()
    for record in [*records, *records]:
        desk.read(record)

    desk.assert_equals(ledger)
    assert ledger.positions["KX-A"].settled
    assert desk.states["KX-A"].fold.realized_e6 == ledger.positions["KX-A"].cash_e6


def test_pushed_fills_of_every_vintage_are_the_answers_twins() -> None:
    """A frame and its REST item are one fill; the frame never contradicts it."""
    ledger = traded(5).ledger
    desk = Desk()
    for fill in ledger.fills:
        for item in (wire.fill_frame(fill, "b"), wire.fill_frame(fill, "c"), wire.fill_frame(fill, "d")):
            desk.read(fill_report(fill_of(item, "ws"), "kalshi_ws", 1 << 50))
        # Without the canonical fields (b) an answer's side is the outcome gained; with them its words may be either.
        for item in (wire.fill_item(fill, "b"), wire.fill_item(fill, "d"), wire.fill_item(fill, "d", "pair")):
            desk.read(fill_report(fill_of(item, "rest"), "kalshi_rest", 1 << 50))

    assert set(desk.verdicts) <= {"new", "amended", "duplicate"}
    assert len(desk.fills) == len(ledger.fills)


def test_the_trader_exercises_what_the_issue_names() -> None:
    """Several fills in one microsecond, equal ones among them, partial fills, cancels, both sides, both actions."""
    ledger = traded(1).ledger
    at_once = Counter((fill.order.order_id, fill.ts_us) for fill in ledger.fills)
    equal = Counter((fill.order.order_id, fill.ts_us, fill.price_e4, fill.count_e2) for fill in ledger.fills)
    statuses = Counter(order.status for order in ledger.orders)

    assert max(at_once.values()) >= 3
    assert max(equal.values()) >= 2
    assert all(statuses[status] for status in ("resting", "canceled", "executed"))
    assert any(0 < order.filled_e2 < order.initial_e2 for order in ledger.orders)
    assert len({(fill.order.side, fill.order.action) for fill in ledger.fills}) == 4


def test_fees_follow_the_schedule_and_makers_pay_none() -> None:
    """The sum of an order's net fees is its trade fees plus less than a cent of rounding per fill."""
    ledger = traded(1).ledger
    for order in ledger.orders:
        fills = [fill for fill in ledger.fills if fill.order is order]
        model = sum(trade_fee_e6(fill.count_e2, fill.price_e4) for fill in fills if fill.is_taker)
        assert model <= order.fees_e6 < model + 10_000 * max(1, len(fills))
        assert order.fees_e6 == sum(fill.fee_e6 for fill in fills)


def test_the_same_seed_is_the_same_account() -> None:
    """Deterministic by seed, but for the clock."""
    first, again, other = traded(1), traded(1), traded(2)

    assert [f.fill_id for f in first.ledger.fills] == [f.fill_id for f in again.ledger.fills]
    assert [f.fill_id for f in first.ledger.fills] != [f.fill_id for f in other.ledger.fills]


def test_reports_of_the_simulator_are_strict_records() -> None:
    """What the tests fold is what the topics would take."""
    from schemas.codec import encode_record
    from schemas.registry import FILL_REPORTS, ORDER_REPORTS, POSITION_REPORTS, decoder

    topics = {a.FillReport: FILL_REPORTS, a.OrderReport: ORDER_REPORTS, a.SettlementReport: POSITION_REPORTS}
    for record in by_rest(traded(1, 60).ledger, old=True):
        assert decoder(topics[type(record)]).decode(encode_record(record)) == record  # type: ignore[arg-type]


async def test_a_traded_past_is_spread_over_its_span_and_never_before_what_happened() -> None:
    """A day of absence in one request: times rise through the day; a span before the newest fill is refused."""
    config = SimConfig(rate=2_000, strikes=3)
    async with serving(config, (Account(config, actions_per_s=0),)) as sim:
        await until(lambda: sum(1 for m in sim.hub.markets.values() if m.book.yes and m.book.no) >= 3)
        before_us = time.time_ns() // 1_000
        await post(sim, "/admin/account/trade", {"actions": 300, "ages_s": [86_400, 3_600]})
        refused = await post(sim, "/admin/account/trade", {"actions": 1, "ages_s": [86_400, 0]})
        truth = await get(sim, "/admin/account")

    times_us = [fill[8] for fill in truth["fills"]]
    assert times_us == sorted(times_us)
    assert before_us - 86_400_000_000 <= times_us[0] < before_us - 80_000_000_000
    assert before_us - 10_000_000_000 < times_us[-1] + 3_600_000_000 <= time.time_ns() // 1_000
    assert "expected a span after" in refused["error"]
    assert len(truth["orders"]) > len(truth["resting"]) > 0


async def test_a_resending_venue_pushes_the_newest_fills_again_on_each_subscription() -> None:
    """The fault of a reconnect that tells everything once more."""
    config = SimConfig(rate=2_000, strikes=3)
    account = Account(config, actions_per_s=0, faults=AccountFaults(resend_on_subscribe=5))
    async with serving(config, (account,)) as sim:
        await until(lambda: sum(1 for m in sim.hub.markets.values() if m.book.yes and m.book.no) >= 3)
        await post(sim, "/admin/account/trade", {"actions": 100})
        for _ in range(2):
            async with client_of(sim) as client:
                await client.ask("subscribe", channels=["fill"])
                await until(lambda c=client: len(c.of_type("fill")) >= 5)
                told = [frame["msg"]["trade_id"] for frame in client.of_type("fill")]
                assert told == [fill.fill_id for fill in account.ledger.fills[-5:]]


@pytest.mark.parametrize("vintage", ["b", "c", "d"])
def test_a_rest_fill_says_the_outcome_gained_and_its_frame_the_orders_own_side(vintage: str) -> None:
    """The sale of YES comes as side no from REST; an order and a pushed fill say yes and sell."""
    sales = [f for f in traded(1).ledger.fills if (f.order.side, f.order.action) == ("yes", "sell")]
    assert sales
    for fill in sales:
        item, frame = wire.fill_item(fill, vintage), wire.fill_frame(fill, vintage)
        assert (item["side"], item["action"]) == ("no", "sell")
        assert (frame["side"], frame["action"]) == ("yes", "sell")
        assert wire.order_item(fill.order, vintage)["side"] == "yes"
        assert item.get("outcome_side", "no") == "no"


def test_what_the_account_holds_was_paid_for_by_its_cash() -> None:
    """Average cost in integers: realized less cost is the money moved, and nothing is left of what was settled."""
    ledger = traded(1).ledger
    for position in ledger.positions.values():
        assert position.realized_e6 - position.cost_e6 == position.cash_e6
        assert (position.cost_e6 == 0) == (position.net_e2 == 0)
    paid = sum(p.cash_e6 - p.fees_e6 for p in ledger.positions.values())
    assert ledger.balance_e6() == DEPOSIT_E6 + paid
    for order in ledger.orders:
        fills = [fill for fill in ledger.fills if fill.order is order]
        assert order.taker_cost_e6 + order.maker_cost_e6 == sum(f.count_e2 * f.price_e4 for f in fills)
