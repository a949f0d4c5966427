"""Which decision a fill came from: the same links in whatever order actions, reports and fills are read."""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from account_agents import AgentDesk, append
from account_trade import by_rest, pushed_fills, traded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.codec import encode_record, numbered_key
from schemas.order_records import OrderAction, OrderActionPayload
from schemas.registry import DECISION_LINKS, DLQ, FILLS, ORDERS, decoder
from tables import decision_links
from venues.simulator.account import Account

pytestmark = pytest.mark.long
PLACED_MS = 1_768_000_000_000
INGEST_MS = 1 << 50  # as the reports of `account_trade` have it


def action(
    order: Any, decision_id: str, kind: str = "place", ts_ms: int = PLACED_MS, ingest_ms: int = INGEST_MS
) -> OrderAction:
    """What the router would publish of that order."""
    payload = OrderActionPayload(
        market_ticker=order.ticker, decision_id=decision_id, client_order_id=order.client_order_id,
        order_id=None if kind == "place" else order.order_id, kind=kind, side=order.side, action=order.action,  # type: ignore[arg-type]
        price_e4=order.price_e4, count_e2=order.initial_e2, request_json="{}",
    )  # fmt: skip
    key = numbered_key("order_action", order.ticker, order.client_order_id, kind, decision_id)
    return OrderAction(
        ts_event=ts_ms, ts_ingest=ingest_ms, source="route_orders", idempotency_key=key, cause=None, payload=payload
    )


def actions(account: Account) -> list[OrderAction]:
    """Of three orders two are ours; each was placed by one decision, some canceled by another."""
    ours = [order for n, order in enumerate(account.ledger.orders) if n % 3]
    placed = [action(order, f"d-{order.order_id}", ts_ms=PLACED_MS + n) for n, order in enumerate(ours)]
    return placed + [action(order, f"cancel-{order.order_id}", "cancel") for order in ours[::2]]


def true_links(account: Account, told: list[OrderAction]) -> dict[str, str]:
    """order id -> decision, the plain way."""
    placed = {a.payload.client_order_id: a.payload.decision_id for a in told if a.payload.kind == "place"}
    return {o.order_id: placed[o.client_order_id] for o in account.ledger.orders if o.client_order_id in placed}


def published(desk: AgentDesk) -> dict[str, str]:
    """order id -> decision, from the topic."""
    return {r.payload.order_id: r.payload.decision_id for r in desk.records(DECISION_LINKS.name)}


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), kills=st.booleans())
async def test_links_are_the_true_ones_in_any_interleaving_and_over_kills(
    tmp_path: Path, seed: int, kills: bool
) -> None:
    """Late actions, late reports, repeated fills, changelogs cut short: the same links, and the same count of fills."""
    dice = random.Random(seed)
    account = traded(seed % 7, 120)
    told = actions(account)
    reports = [*by_rest(account.ledger, old=False), *pushed_fills(account.ledger, old=True)] * 2
    everything: list[Any] = [*reports, *told]
    dice.shuffle(everything)
    desk = AgentDesk(tmp_path)
    desk.report(everything)
    for _ in range(80):
        agent = dice.choice((desk.fills, desk.links, desk.links))
        agent.take(dice.choice(agent.stage.sources), dice.randint(1, 30))
        if dice.random() < 0.4:
            await agent.checkpoint()
        if kills and dice.random() < 0.15:
            agent.kill(dice.choice((0, 0, 1, 2, 5, 20)))
    desk.drain()

    wanted = true_links(account, told)
    assert published(desk) == wanted
    by_key: dict[str, set[bytes]] = {}
    for row, record in zip(desk.logs[DECISION_LINKS.name], all_records(desk), strict=True):
        by_key.setdefault(record.idempotency_key, set()).add(row.value)
    assert all(len(values) == 1 for values in by_key.values()), "a link published twice must say the same twice"
    assert kills or len(desk.logs[DECISION_LINKS.name]) == len(wanted)
    totals = decision_links.totals_of(desk.links.task.table)
    linked = [fill for fill in account.ledger.fills if fill.order.order_id in wanted]
    assert (totals.fills, totals.linked) == (len(account.ledger.fills), len(linked))
    assert desk.logs[DLQ.name] == []


def all_records(desk: AgentDesk) -> list[Any]:
    """Every link published, repeated ones too."""
    return [decoder(DECISION_LINKS).decode(row.value) for row in desk.logs[DECISION_LINKS.name]]


def test_a_late_order_report_links_fills_that_came_before(tmp_path: Path) -> None:
    """REST fills know no client order id: the link waits for the order's report, and then counts for all of them."""
    account = traded(3, 120)
    ledger = account.ledger
    order = next(fill.order for fill in ledger.fills)
    told = by_rest(ledger, old=False)
    desk = AgentDesk(tmp_path)
    desk.report([action(order, "d-1"), *(r for r in told if is_fill(r) and r.payload.order_id == order.order_id)])
    desk.drain()
    totals = decision_links.totals_of(desk.links.task.table)
    assert (published(desk), totals.linked) == ({}, 0)
    assert totals.fills > 0

    desk.report([r for r in told if not is_fill(r) and getattr(r.payload, "order_id", "") == order.order_id])
    desk.drain()
    after = decision_links.totals_of(desk.links.task.table)
    assert published(desk) == {order.order_id: "d-1"}
    assert (after.fills, after.linked) == (totals.fills, totals.fills)


def test_fills_without_a_cause_are_all_counted(tmp_path: Path) -> None:
    """Nothing says that they are repeats, neither of each other nor of the one that the very first report caused."""
    first = AgentDesk(tmp_path / "first")
    first.report(by_rest(traded(3, 120).ledger, old=False))
    first.drain()
    rows, fills = first.logs[FILLS.name], first.records(FILLS.name)
    assert (fills[0].cause.offset, fills[0].cause.n) == (0, 0)

    desk = AgentDesk(tmp_path / "second")
    for row, fill in zip(rows[1:], fills[1:], strict=True):
        payload = msgspec.structs.replace(fill.payload, order_id=fills[0].payload.order_id)
        append(
            desk.logs[FILLS.name], row.key, encode_record(msgspec.structs.replace(fill, cause=None, payload=payload))
        )
    append(desk.logs[FILLS.name], rows[0].key, rows[0].value)
    desk.links.take(FILLS.name, len(rows))

    assert decision_links.totals_of(desk.links.task.table).fills == len(fills)
    assert desk.links.fold.counts["repeats"] == 0


def is_fill(record: Any) -> bool:
    """Whether a report is one of a fill."""
    return type(record).__name__ == "FillReport"


def test_another_decision_for_the_same_client_order_id_is_an_alarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first one told stays: a client order id belongs to one order for ever."""
    account = traded(3, 60)
    order = account.ledger.fills[0].order
    desk = AgentDesk(tmp_path)
    desk.report([action(order, "d-1"), action(order, "d-2"), *by_rest(account.ledger, old=False)])
    desk.drain()

    assert published(desk)[order.order_id] == "d-1"
    assert desk.links.fold.counts["conflicting"] == 1
    assert "decision_link_conflicting" in caplog.text


async def test_what_is_older_than_the_fills_is_forgotten_and_no_longer_counted(tmp_path: Path) -> None:
    """Links are kept as long as fills are, by the records' own time."""
    account = traded(3, 120)
    desk = AgentDesk(tmp_path)
    desk.report([*actions(account), *by_rest(account.ledger, old=False)])
    desk.drain()
    fold, task = desk.links.fold, desk.links.task
    assert decision_links.totals_of(task.table).fills == len(account.ledger.fills)
    await desk.links.checkpoint()
    later_ms = INGEST_MS + 2 * fold.retention_ms
    for _ in range(3):
        last = action(account.ledger.orders[0], "d-9", "cancel", ingest_ms=later_ms)
        desk.report([last])
        desk.drain()
    assert decision_links.totals_of(task.table) == decision_links.LinkTotals()


def test_poison_goes_to_the_dead_letters(tmp_path: Path) -> None:
    """From each of the inputs; the rest goes on."""
    desk = AgentDesk(tmp_path)
    append(desk.logs[ORDERS.name], b"KX-A", b"not json")
    append(desk.logs[FILLS.name], None, b"{}")
    desk.links.take(ORDERS.name, 9)
    desk.links.take(FILLS.name, 9)

    assert [r.payload.reason for r in desk.records(DLQ.name)] == ["undecodable_record", "invalid_record"]
