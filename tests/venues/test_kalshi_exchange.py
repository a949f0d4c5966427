"""What the venue says of itself and of our key, read from the simulator on real sockets and from strange answers."""

import asyncio
from typing import Any

import pytest
from simulator_client import post, until

from producers.exchange_watch import ExchangeWatch
from venues.kalshi.account_rest import AccountRest, Tier
from venues.kalshi.exchange import costs_of, pause_of, reads_per_s
from venues.kalshi.rest import KalshiRest
from venues.simulator.account import Account
from venues.simulator.config import SimConfig
from venues.simulator.server import serving

QUIET = SimConfig(frames=0, strikes=3, account_rate=0)
SHARD = {"exchange_index": 0, "exchange_active": True, "trading_active": True}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"exchange_active": True, "trading_active": True}, None),
        ({}, None),
        ([], None),
        ({"exchange_active": True, "trading_active": False}, "all paused"),
        ({"exchange_active": False, "trading_active": False}, "all closed"),
        ({"trading_active": True, "exchange_index_statuses": [SHARD, {**SHARD, "exchange_index": 1}]}, None),
        (
            {"exchange_index_statuses": [SHARD, {**SHARD, "exchange_index": 3, "trading_active": False}]},
            "shard 3 paused",
        ),
        ({"trading_active": False, "exchange_estimated_resume_time": "2026-12-03T10:00:00Z"}, "10:00:00Z"),
        ({"exchange_index_statuses": ["x", None]}, None),
    ],
)
def test_a_pause_is_named_with_its_shard_and_its_end(body: Any, words: str | None) -> None:
    """What is not said is open."""
    said = pause_of(body)
    assert said is None if words is None else words in str(said)


def test_limits_and_costs_are_read_and_strange_ones_are_none() -> None:
    """A path's cost holds for every id in it, with the interface's prefix or without."""
    assert reads_per_s({"read": {"refill_rate": 300, "bucket_capacity": 300}}) == 300
    assert [reads_per_s(body) for body in ({}, [], {"read": 20}, {"read": {"refill_rate": 0}}, None)] == [None] * 5
    costs = costs_of(
        {
            "default_cost": 12,
            "endpoint_costs": [
                {"method": "GET", "path": "/portfolio/orders/{order_id}", "cost": 2},
                {"method": "DELETE", "path": "/portfolio/orders", "cost": 99},
                {"method": "GET", "path": "/portfolio/fills", "cost": "many"},
                "x",
            ],
        },
        10,
    )
    asked = ("/portfolio/orders/abc", "/trade-api/v2/portfolio/orders/abc", "/portfolio/orders", "/portfolio/fills")
    assert [costs.of(path) for path in asked] == [2, 2, 12, 12]
    assert [costs_of(body, 10).of("/x") for body in ({}, None, {"default_cost": -1})] == [10, 10, 10]


async def test_the_account_spends_the_budget_that_the_venue_says() -> None:
    """Half of its reads, and the cheap price of a single order; a venue without these routes leaves the tier's."""
    config = SimConfig(frames=0, strikes=3, account_rate=0, account_budget=1_000)
    async with serving(config, (Account(config),)) as sim, rest_of(sim.port, "basic") as rest:
        assert rest.budget.wait_s(100) == 0
        assert rest.budget.wait_s(300) > 0
        await rest.learn_limits()
        assert rest.budget.wait_s(500) == 0
        assert rest.budget.wait_s(5_000) > 0
        assert (rest.costs.of("/portfolio/orders/x"), rest.costs.of("/portfolio/fills")) == (2, 10)
    async with serving(QUIET) as sim, rest_of(sim.port, "advanced") as rest:
        await rest.learn_limits()
        assert rest.budget.wait_s(130) == 0
        assert rest.budget.wait_s(5_000) > 0


def rest_of(port: int, tier: Tier) -> AccountRest:
    """The account's client on a simulator that checks no key."""
    return AccountRest(f"http://127.0.0.1:{port}/trade-api/v2", None, tier)


async def test_a_pause_of_the_exchange_is_seen_and_its_end_too() -> None:
    """The gauge is absent until the venue has said anything."""
    watch = ExchangeWatch(poll_s=0.02)
    assert watch.gauges() == {}
    async with serving(QUIET) as sim, KalshiRest(f"http://127.0.0.1:{sim.port}/trade-api/v2", None) as rest:
        task = asyncio.create_task(watch.watch(rest))
        await until(lambda: watch.gauges() == {"exchange_trading": 1.0})
        await post(sim, "/admin/exchange", {"trading_active": False, "resume_in_s": 600})
        await until(lambda: watch.pause is not None)
        assert watch.pause is not None and "shard 0 paused, expected back at 20" in watch.pause
        assert watch.gauges() == {"exchange_trading": 0.0}
        await post(sim, "/admin/exchange", {})
        await until(lambda: watch.pause is None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
