"""The whole account, real engines: workers killed while it trades, and every store equal to the simulator's truth."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from account_actions import assert_fills_linked, publish_actions
from account_stack import AccountStack, running_account, until_equal

pytestmark = pytest.mark.engines
#: Actions of the scripted trader in one step, and steps: 200 fills a second for some seconds.
ACTIONS, STEPS = 20, 60
KILLED = {
    15: ("state",),
    25: ("producer-account",),
    35: ("sink-postgres", "sink-clickhouse"),
    50: ("state", "sink-parquet"),
}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[AccountStack]:
    """A running `up --feed sim` whose account trades only when told."""
    with running_account(tmp_path, ACCOUNT_POLL_INTERVAL_S="2") as stack:
        yield stack


@pytest.mark.timeout(400)
def test_workers_killed_while_the_account_trades_leave_every_store_right(desk: AccountStack) -> None:
    """Producer, worker and sinks die by kill -9; positions, fills and orders are the account's own, to the last
    integer, in Postgres, ClickHouse, Parquet and the worker's tables. Every fill has the decision of its order, whether
    the order action came before the kills or after all of it."""
    told: list[list[object]] = []
    decisions: dict[str, str] = {}
    for step in range(STEPS):
        desk.trade(ACTIONS)
        for component in KILLED.get(step, ()):
            assert desk.kill(component) == 1
        if step == STEPS // 2:
            told = desk.truth()["orders"]
            decisions |= publish_actions(desk, told, 0)
        time.sleep(0.1)  # the pace of the trading, not a wait for anything
    truth = desk.truth()
    assert len(truth["fills"]) > 500

    decisions |= publish_actions(desk, truth["orders"][len(told) :], len(told))
    desk.assert_all_stores_equal(truth)
    assert_fills_linked(desk, truth, decisions)
    desk.assert_checks_clean()
    until_equal(desk.stores.worker_drift, [])
    desk.stop()
    desk.assert_tables_equal(truth)
