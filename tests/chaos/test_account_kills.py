"""The long form of the account's kills: every process of its way dies again and again while it trades 200 fills/s.

CHAOS_KILLS (200; a quarter of them here) kills, CHAOS_SEED (1) for the choices; every 10 kills all stores are compared
with the simulator's ledger. And a day without the account producer, caught up by paging, through to the stores.
"""

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from account_stack import AccountStack, running_account, until

pytestmark = [pytest.mark.engines, pytest.mark.slow]

KILLS = max(10, int(os.environ.get("CHAOS_KILLS", "200")) // 4)
SEED = int(os.environ.get("CHAOS_SEED", "1"))
#: A comparison reads every store whole: 5 s and more.
JUDGE_EVERY = 10
FILLS_PER_S = 200
COMPONENTS = ("producer-account", "state", "sink-postgres", "sink-clickhouse", "sink-parquet")
DAY_S = 86_400


@pytest.mark.timeout(3_600)
def test_many_kills_while_the_account_trades_leave_every_store_right(tmp_path: Path) -> None:
    """Positions, fills and orders are the account's own, to the last integer, after every series of kills."""
    choose = random.Random(SEED)
    killed: Counter[str] = Counter()
    # A kill is forgotten at once: it is the test that kills, no storm that must end the run.
    settings = {"ACCOUNT_POLL_INTERVAL_S": "2", "ACCOUNT_POLL_OVERLAP_S": "5", "RESTART_WINDOW_S": "1"}
    with running_account(tmp_path, "--account-budget=4000", **settings) as desk:
        while killed.total() < KILLS:
            begun_s, before = time.monotonic(), len(desk.truth()["fills"])
            for _ in range(JUDGE_EVERY):
                fills = trade(desk, choose.uniform(0.2, 2.0))
                component = choose.choice(COMPONENTS)
                killed[component] += desk.kill(component)
            rate = (fills - before) / (time.monotonic() - begun_s)
            truth = desk.truth()
            desk.assert_all_stores_equal(truth)
            print(f"seed {SEED}: {dict(killed)}: all right; {fills} fills, the last at {rate:.0f}/s", flush=True)
        desk.stop()
        desk.assert_tables_equal(truth)


@pytest.mark.timeout(900)
def test_a_day_without_the_account_producer_is_paged_in_to_every_store(tmp_path: Path) -> None:
    """Thousands of fills and orders of a whole day, newest page first, found after the restart: none missing."""
    with running_account(tmp_path, "--account-budget=4000", ACCOUNT_POLL_INTERVAL_S="1") as desk:
        first = desk.trade(300, ages_s=[DAY_S + 3_600, DAY_S + 60])
        until(lambda: desk.account_status()["reports"].get("fills_rest", 0) >= first, lambda: "first fills not polled")
        polls = desk.account_status()["polls"]
        until(lambda: desk.account_status()["polls"] >= polls + 2, lambda: "the mark did not move")
        with desk.down("producer-account"):
            asked = desk.truth()["counts"]["requests"]
            for hour in range(24, 0, -1):
                fills = desk.trade(600, ages_s=[hour * 3_600, (hour - 1) * 3_600])
        truth = desk.truth()
        times_s = [fill[8] / 1e6 for fill in truth["fills"]]
        assert times_s[-1] - times_s[first] > 0.9 * DAY_S
        desk.assert_all_stores_equal(truth)
        requests = desk.truth()["counts"]["requests"] - asked
        print(f"{fills - first} fills and {len(truth['orders'])} orders of a day, {requests} requests")
        desk.stop()
        desk.assert_tables_equal(truth)


def trade(desk: AccountStack, seconds: float) -> int:
    """At FILLS_PER_S; how many fills there are at the end."""
    begun_s, first = time.monotonic(), desk.trade(1)
    fills = first
    while (passed_s := time.monotonic() - begun_s) < seconds:
        if fills - first < FILLS_PER_S * passed_s:
            fills = desk.trade(10)
        else:
            time.sleep(0.01)  # the pace of the trading, not a wait for anything
    return fills
