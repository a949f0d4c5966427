"""A venue that tells the same fills again and again: an hour of polls every 10 s, reconnects, restarts, odd answers.

Once 5 fills became 4,774 rows an hour this way. The 360 polls of that hour are made at a short interval instead.
"""

import itertools
from pathlib import Path
from typing import Any

import pytest
from account_stack import AccountStack, running_account, until, until_equal, without_ids
from account_stores import get, true_fills

pytestmark = [pytest.mark.engines, pytest.mark.slow]

POLLS = 360  # an hour of one every 10 s
PHASES: tuple[dict[str, Any], ...] = (
    {"mix_units": True},
    {"strip_ids_every": 2, "drop_frame_every": 2},
    {"mix_units": True, "strip_ids_every": 1, "drop_frame_every": 2},
    {"repeat_frame_every": 1},
    {"mix_units": True, "strip_ids_every": 3, "repeat_frame_every": 2},
    {"repeat_page_every": 2},
    {"strip_ids_every": 2},
    {"wrong_shape_every": 9, "mix_units": True},
    {},
)
HEALTHY = {"mix_units": False, "wrong_shape_every": 0} | dict.fromkeys(
    ("strip_ids_every", "drop_frame_every", "repeat_frame_every", "repeat_page_every"), 0
)
RESTARTED_IN = {3, 6}  # phases at whose beginning the account producer dies


@pytest.mark.timeout(900)
def test_an_hour_of_repeated_polls_and_reconnects_stores_each_fill_once(tmp_path: Path) -> None:
    """Fills stored in Postgres, ClickHouse, Parquet and the table are the true ones, at the fills' own times."""
    settings = {"ACCOUNT_POLL_INTERVAL_S": "0.1", "ACCOUNT_POLL_OVERLAP_S": "3600"}
    with running_account(tmp_path, "--account-budget=4000", **settings) as desk:
        desk.strike(resend_on_subscribe=1_000)
        told = 0
        for number, faults in enumerate(PHASES):
            desk.strike(**{**HEALTHY, **faults})
            desk.sever()
            if number in RESTARTED_IN:
                told += fill_reports(desk)
                assert desk.kill("producer-account") == 1
            desk.trade(12)
            wait_polls(desk, POLLS // len(PHASES))
        truth = desk.truth()
        told += fill_reports(desk)
        print(f"{POLLS} polls: {told} reports of {len(truth['fills'])} fills")
        assert told > 75 * len(truth["fills"]) > 0

        # Whatever was told and how: each once, in its own second. Then one walk in the venue's fullest words.
        second = [coarse(fill) for fill in true_fills(truth)]
        for read in (desk.stores.postgres_fills, desk.stores.clickhouse_fills, desk.stores.parquet_fills):
            until_equal(read, sorted(second), lambda found: sorted(map(coarse, found or ())))
        desk.strike(**HEALTHY)
        wait_polls(desk, 2)
        desk.assert_all_stores_equal(truth, synthetic=True)
        without_ids(desk.stores.clickhouse_fills())
        stats = get(f"{desk.urls['state_url']}/fills/stats")
        assert stats["conflicting"] == stats["too_old"] == 0
        desk.stop()
        desk.assert_tables_equal(truth)


@pytest.mark.timeout(600)
def test_a_storm_of_429_is_visible_within_the_budget_and_loses_nothing(tmp_path: Path) -> None:
    """The whole stack at the Basic tier, whose budget the simulator enforces: not ready while refused, right after."""
    with running_account(tmp_path, KALSHI_TIER="basic", ACCOUNT_POLL_INTERVAL_S="1") as desk:
        wait_polls(desk, 1)
        for _ in range(3):
            desk.strike(status_429_every=1, retry_after_s=1)
            desk.trade(40)
            until(lambda: any("429" in text for text in desk.account_status()["problems"]), lambda: "never degraded")
            assert get(f"{desk.urls['producer_account_url']}/readyz") is None, "expected 503"
            desk.strike(status_429_every=0)
            wait_polls(desk, 2)
        until(lambda: get(f"{desk.urls['producer_account_url']}/readyz") is not None, lambda: "never ready again")
        counts = desk.truth()["counts"]
        print(f"requests {counts['requests']}, refused on purpose {counts['status_429_every']}")
        assert counts["status_429_every"] >= 3
        assert "over_budget" not in counts
        desk.assert_all_stores_equal(desk.truth())


def wait_polls(desk: AccountStack, count: int) -> None:
    """So many whole polls from now; after a restart they count from 0."""
    start = desk.account_status().get("polls", 0)
    counted = itertools.count()

    def done() -> bool:
        nonlocal start
        next(counted)
        polls = desk.account_status().get("polls", 0)
        start = min(start, polls)
        return bool(polls >= start + count)

    until(done, lambda: f"expected {count} polls, looked {next(counted)} times: {desk.account_status()}")


def fill_reports(desk: AccountStack) -> int:
    """Reports of fills that this producer has sent."""
    reports = desk.account_status()["reports"]
    return int(reports.get("fills_ws", 0)) + int(reports.get("fills_rest", 0))


def coarse(fill: tuple[Any, ...]) -> tuple[Any, ...]:
    """What every report says alike: market, order, side, action, price, size, second."""
    return (*fill[1:7], fill[8] // 1_000)
