"""The account agents in their stages: whatever the cut, the kills and the interleaving, the account's own truth."""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from account_agents import AgentDesk, append
from account_trade import by_rest, pushed_fills, traded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.web.account import reconciliation_rows
from schemas import account_records as a
from schemas.registry import DLQ, FILL_REPORTS, FILLS, ORDER_STATES, POSITIONS
from tables import decision_links, open_orders, positions, seen_fills
from venues.kalshi.account_records import opening_position, resting_orders
from venues.simulator.account import Account

pytestmark = pytest.mark.long


def reports(account: Account, seed: int) -> list[Any]:
    """Pushed and polled, twice, in any order."""
    told = [*by_rest(account.ledger, old=False), *pushed_fills(account.ledger, old=True)]
    told += told
    random.Random(seed).shuffle(told)
    return told


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), kills=st.booleans())
async def test_agents_reach_the_accounts_truth_in_any_cut_and_over_kills(
    tmp_path: Path, seed: int, kills: bool
) -> None:
    """Batches, checkpoints, kills and changelogs cut short at random; no fill lost, none counted twice."""
    dice = random.Random(seed)
    account = traded(seed % 7, 120)
    desk = AgentDesk(tmp_path)
    desk.report(reports(account, seed))
    for _ in range(60):
        agent = dice.choice(desk.agents)
        agent.take(dice.choice(agent.stage.sources), dice.randint(1, 40))
        if dice.random() < 0.4:
            await agent.checkpoint()
        if kills and dice.random() < 0.15:
            agent.kill(dice.choice((0, 0, 1, 2, 5, 20)))
    desk.drain()

    held = desk.desk()
    held.assert_equals(account.ledger)
    assert len(held.seen) == len(account.ledger.fills)
    resting = sorted(order.order_id for order in account.ledger.resting())
    assert sorted(order_id for ids in desk.live().values() for order_id in ids) == resting
    assert desk.logs[DLQ.name] == []
    if not kills:
        values = [row.value for row in desk.logs[FILLS.name]]
        assert len(values) == len({record.idempotency_key for record in desk.records(FILLS.name)})


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
async def test_published_records_do_not_depend_on_cuts_and_kills(tmp_path: Path, seed: int) -> None:
    """Fills and order states: the same values in the same order as in one undisturbed pass."""
    dice = random.Random(seed)
    told = reports(traded(seed % 7, 80), seed)
    calm, wild = AgentDesk(tmp_path), AgentDesk(tmp_path)
    for desk in (calm, wild):
        desk.report(told)
    for agent in (wild.fills, wild.orders):
        for _ in range(30):
            agent.take(agent.stage.sources[0], dice.randint(1, 60))
            if dice.random() < 0.5:
                await agent.checkpoint()
            if dice.random() < 0.3:
                agent.kill(dice.randint(0, 10))
    calm.drain()
    wild.drain()
    for topic in (FILLS.name, ORDER_STATES.name):
        assert wild.records(topic) == calm.records(topic)
    last = [{r.payload.market_ticker: r.payload for r in d.records(POSITIONS.name)} for d in (calm, wild)]
    assert [_without_revision(p) for p in last[0].values()] == [_without_revision(last[1][t]) for t in last[0]]


def _without_revision(payload: a.PositionPayload) -> dict[str, Any]:
    return {name: getattr(payload, name) for name in payload.__struct_fields__ if name != "revision"}


async def test_every_table_value_survives_its_encoding(tmp_path: Path) -> None:
    """encode and decode are exact inverses for whatever the agents left."""
    desk = AgentDesk(tmp_path)
    desk.report(reports(traded(3), 3))
    desk.drain()
    for agent, table in zip(desk.agents, (seen_fills, positions, open_orders, decision_links), strict=True):
        values = dict(agent.task.table.items())
        assert values
        for value in values.values():
            raw = table.encode(value)  # type: ignore[arg-type]
            assert table.decode(raw) == value
            assert table.encode(table.decode(raw)) == raw  # type: ignore[arg-type]


def test_derived_records_take_their_time_and_cause_from_the_report(tmp_path: Path) -> None:
    """Never our clock; within a market the time does not run backwards."""
    account = traded(4, 200)
    desk = AgentDesk(tmp_path)
    desk.report(reports(account, 4))
    desk.drain()
    reported = desk.logs[FILL_REPORTS.name]
    newest: dict[str, int] = {}
    for record in desk.records(FILLS.name):
        cause, payload = record.cause, record.payload
        report = msgspec.json.decode(reported[cause.offset].value, type=a.FillReport)
        assert record.ts_ingest == report.ts_ingest
        assert record.ts_event >= max(newest.get(payload.market_ticker, 0), report.ts_event)
        newest[payload.market_ticker] = record.ts_event
        assert payload.fill_id in record.idempotency_key
    causes = [(r.cause.topic, r.cause.offset, r.cause.n) for r in desk.records(FILLS.name)]
    assert causes == sorted(set(causes))


def test_poison_and_contradictions_go_to_the_dead_letters_and_the_rest_goes_on(tmp_path: Path) -> None:
    """An undecodable report, a report without a key, the same id with another price."""
    account = traded(5, 60)
    told = by_rest(account.ledger, old=False)
    desk = AgentDesk(tmp_path)
    fill = next(record for record in told if isinstance(record, a.FillReport))
    desk.report([fill])
    log = desk.logs[FILL_REPORTS.name]
    append(log, b"KX-A", b"not json")
    append(log, None, log[0].value)
    payload = msgspec.structs.replace(fill.payload, price_e4=fill.payload.price_e4 % 9_000 + 7)
    desk.report([msgspec.structs.replace(fill, payload=payload)])
    desk.report(told)
    desk.drain()

    reasons = [letter.payload.reason for letter in desk.records(DLQ.name)]
    assert reasons == ["undecodable_record", "no_key", "fill_conflicting"]
    desk.desk().assert_equals(account.ledger)


async def test_a_fill_beyond_the_horizon_is_refused_and_expired_ids_leave_the_table(tmp_path: Path) -> None:
    """90 days of event time: an older fill is too_old, and the sweep lets go what could not be reported any more."""
    account = traded(6, 200)
    told = [r for r in by_rest(account.ledger, old=False) if isinstance(r, a.FillReport)]
    replace = msgspec.structs.replace
    desk = AgentDesk(tmp_path)
    desk.report(told)
    desk.drain()
    await desk.fills.checkpoint()
    assert len(desk.desk().seen) == len(account.ledger.fills)

    last = told[-1]
    days_91 = 91 * 86_400_000
    late = replace(last.payload, fill_id="much-later", ts_ms=last.payload.ts_ms + days_91)
    desk.report([replace(last, payload=late, ts_event=late.ts_ms)])
    desk.drain()
    for _ in range(10):
        desk.report([told[0]])
        desk.drain()
        await desk.fills.checkpoint()

    assert {letter.payload.reason for letter in desk.records(DLQ.name)} == {"fill_too_old"}
    assert sorted(desk.desk().seen) == ["much-later"]
    keys = [key for key, _ in desk.fills.task.table.items() if not key.startswith((b"~m:", b"~watermark"))]
    assert sorted(key[:1] for key in keys) == [b".", b"~"]
    assert seen_fills.clock_of(desk.fills.task.table).entries == 1


def test_a_fill_id_may_look_like_anything(tmp_path: Path) -> None:
    """Ids that look like the table's own keys, or like a market, are ids."""
    account = traded(2, 60)
    told = [r for r in by_rest(account.ledger, old=False) if isinstance(r, a.FillReport)][:4]
    replace = msgspec.structs.replace
    names = ("~watermark", "\x00mark", "KX-A", ".x")
    odd = [
        replace(record, payload=replace(record.payload, fill_id=name)) for record, name in zip(told, names, strict=True)
    ]
    desk = AgentDesk(tmp_path)
    desk.report([*odd, *odd])
    desk.drain()
    assert sorted(record.payload.fill_id for record in desk.records(FILLS.name)) == sorted(names)


def test_opening_settlement_and_correction_are_folded_once(tmp_path: Path) -> None:
    """Each reported twice, before and after the fills."""
    account = traded(1, 100)
    told = by_rest(account.ledger, old=False)
    opening = a.OpeningPositionPayload("KX-B", 500, 2_000_000, 0, 0, 1)
    correction = a.PositionCorrectionPayload("KX-B", "c1", -100, 4_000, 0, 1_768_061_471_500, "as the venue says")
    said = [
        opening_position(opening, 5),
        a.PositionCorrection(
            ts_event=correction.ts_ms, ts_ingest=5, source="person", idempotency_key="x", cause=None, payload=correction
        ),
    ]
    desk = AgentDesk(tmp_path)
    desk.report([*said, *told, *said, *told])
    desk.drain()
    state = desk.desk().states["KX-B"]
    assert state.fold.count_e2 == account.ledger.positions["KX-B"].net_e2 + 400
    assert state.sums.fills == account.ledger.positions["KX-B"].fills
    last = {r.payload.market_ticker: r for r in desk.records(POSITIONS.name)}
    assert last["KX-B"].payload.revision == state.revision
    assert last["KX-A"].payload.settled_value_e4 == 10_000


@pytest.mark.parametrize("name", ["cause", "correction"])
def test_positions_keep_what_makes_repeats_harmless_over_a_restart(tmp_path: Path, name: str) -> None:
    """The stored value has it: `folded` and `corrections`."""
    position = positions.MarketPosition(positions.PositionState("KX-A"), {}, 7, (12, 1), ("c1",))
    again = positions.decode(positions.encode(position))
    assert (again.folded, again.corrections) == ((12, 1), ("c1",)), name


def resting(account: Account, market_ticker: str, order_ids: list[str], number: int) -> a.RestingOrders:
    """The venue's list of one market, an hour after everything else."""
    as_of_ms = account.ledger.orders[-1].updated_us // 1_000 + 3_600_000 + number
    payload = a.RestingOrdersPayload(market_ticker=market_ticker, order_ids=order_ids, as_of_ms=as_of_ms)
    return resting_orders(payload, "session", number)


async def test_open_orders_that_the_venue_does_not_list_are_an_alarm_until_they_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One alarm when it is first seen, over a restart too; the order's own report ends it."""
    account = traded(6, 200)
    market = "KX-B"
    ours = sorted(order.order_id for order in account.ledger.resting() if order.ticker == market)
    assert len(ours) >= 2
    desk = AgentDesk(tmp_path)
    desk.report([*by_rest(account.ledger, old=False), resting(account, market, ours, 1)])
    desk.drain()
    assert reconciled(desk)[market]["drifting_orders"] == []

    desk.report([resting(account, market, [*ours[1:], "unheard-of"], 2)])
    desk.drain()
    await desk.orders.checkpoint()
    desk.orders.kill(0)
    desk.report([resting(account, market, [*ours[1:], "unheard-of"], 3)])
    desk.drain()
    row = reconciled(desk)[market]
    assert row["drifting_orders"] == sorted([ours[0], "unheard-of"])
    assert row["orders_drift_since_ms"] == row["orders_as_of_ms"] - 1
    assert caplog.text.count("open_orders_drift") == 1

    order = next(o for o in account.ledger.resting() if o.order_id == ours[0])
    account.ledger.cancel(order, account.ledger.orders[-1].updated_us + 10**6)
    desk.report([record for record in by_rest(account.ledger, old=False) if isinstance(record, a.OrderReport)])
    desk.drain()
    assert reconciled(desk)[market]["drifting_orders"] == ["unheard-of"]
    desk.report([resting(account, market, ours[1:], 4)])
    desk.drain()
    row = reconciled(desk)[market]
    assert (row["drifting_orders"], row["orders_drift_since_ms"]) == ([], None)


def reconciled(desk: AgentDesk) -> dict[str, dict[str, Any]]:
    """The rows of /reconciliation, by market; the gauge says the same."""
    for agent in (desk.positions, desk.orders):
        agent.stage.tasks = {0: agent.task}
        agent.task.restored = True
    rows = {row["market_ticker"]: row for row in reconciliation_rows(desk.positions.stage, desk.orders.stage)}
    drifting = sum(len(row.get("drifting_orders", ())) for row in rows.values())
    assert desk.orders.fold.gauges([desk.orders.task])["open_orders_drift"][1] == drifting
    return rows
