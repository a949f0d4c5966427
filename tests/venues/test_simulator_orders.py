"""Order writes of today against the simulated account: what they do, what they answer, what is pushed of it."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from simulator_client import client_of, get, post, until

from venues.simulator.account import Account
from venues.simulator.config import SimConfig
from venues.simulator.market import Market
from venues.simulator.server import Simulator, serving

BASE = "/trade-api/v2/portfolio"
QUIET = SimConfig(frames=0, strikes=3, account_rate=0, account_budget=100_000, account_write_budget=100_000)


class Trader:
    """A key's owner: sends requests, sees answers."""

    def __init__(self, sim: Simulator, account: Account, market: Market) -> None:
        self.sim, self.account, self.market = sim, account, market

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON body (None where there is none)."""
        url = f"http://127.0.0.1:{self.sim.port}{BASE}{path}"
        async with aiohttp.ClientSession() as http, http.request(method, url, json=body) as answer:
            text = await answer.text()
            return answer.status, (await answer.json()) if text else None

    async def place(self, side: str = "bid", price: str = "0.0100", count: str = "3", **more: Any) -> tuple[int, Any]:
        """One V2 order; by default one that rests far from the touch."""
        return await self.ask("POST", "/events/orders", self.order(side, price, count, **more))

    def order(self, side: str = "bid", price: str = "0.0100", count: str = "3", **more: Any) -> dict[str, Any]:
        """Its body."""
        return {
            "ticker": self.market.ticker, "side": side, "price": price, "count": count,
            "time_in_force": "good_till_canceled", "self_trade_prevention_type": "taker_at_cross", **more,
        }  # fmt: skip

    def resting(self) -> dict[str, int]:
        """Order id -> what rests (e2)."""
        return {order.order_id: order.remaining_e2 for order in self.account.ledger.resting()}


@asynccontextmanager
async def trader() -> AsyncIterator[Trader]:
    """A venue with one market whose book is set by hand: YES bids at 0.40 and 0.39, YES asks at 0.45 and 0.46."""
    account = Account(QUIET)
    async with serving(QUIET, (account,)) as sim:
        await until(lambda: account.door.hub is not None)
        market = next(m for m in sim.hub.markets.values() if m.status == "active" and m.structure == "linear_cent")
        market.book.yes, market.book.no = {4_000: 1_000, 3_900: 500}, {5_500: 250, 5_400: 10_000}
        yield Trader(sim, account, market)


async def test_an_order_takes_what_the_book_offers_and_the_rest_of_it_rests() -> None:
    """Best price first; the answer, the order and the pushed frames say the same."""
    async with trader() as t, client_of(t.sim) as client:
        await client.ask("subscribe", channels=["fill", "user_orders", "market_positions"])
        status, answer = await t.place("bid", "0.4500", "10", client_order_id="mine-1")
        assert status == 201
        assert (answer["fill_count"], answer["remaining_count"]) == ("2.50", "7.50")
        assert (answer["average_fill_price"], answer["client_order_id"]) == ("0.4500", "mine-1")
        _, listed = await t.ask("GET", f"/orders/{answer['order_id']}")
        order = listed["order"]
        assert (order["outcome_side"], order["book_side"], order["status"]) == ("yes", "bid", "resting")
        assert order["taker_fill_cost_dollars"] == "1.125000"
        await until(lambda: bool(client.of_type("user_order")))
        fill, position = client.of_type("fill")[0]["msg"], client.of_type("market_position")[0]["msg"]
        assert (fill["count_fp"], fill["post_position_fp"], fill["is_taker"]) == ("2.50", "2.50", True)
        assert (position["position_fp"], position["position_cost_dollars"]) == ("2.50", "1.125000")
        assert client.of_type("user_order")[0]["msg"]["remaining_count_fp"] == "7.50"


async def test_what_is_kept_from_resting_is_over_at_once() -> None:
    """immediate_or_cancel keeps its partial fill; fill_or_kill and post_only are refused whole; nothing rests."""
    async with trader() as t:
        _, taken = await t.place("bid", "0.4500", "10", time_in_force="immediate_or_cancel")
        assert (taken["fill_count"], taken["remaining_count"]) == ("2.50", "0.00")
        killed, _ = await t.place("bid", "0.4500", "10", time_in_force="fill_or_kill")
        crossed, _ = await t.place("ask", "0.4000", "1", post_only=True)
        assert (killed, crossed, t.resting()) == (409, 400, {})


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"price": "0.0150"}, 400, "invalid_price"),
        ({"price": "1.0000"}, 400, "invalid_price"),
        ({"count": "0"}, 400, "invalid_count"),
        ({"count": "0.001"}, 400, "invalid_count"),
        ({"side": "yes"}, 400, "bad_request"),
        ({"ticker": "KXNONE"}, 404, "market_not_found"),
        ({"expiration_time": 1}, 400, "invalid_expiration"),
        ({"expiration_time": 1 << 40, "time_in_force": "fill_or_kill"}, 400, "invalid_expiration"),
        ({"reduce_only": True}, 400, "invalid_reduce_only"),
        ({"order_group_id": "none"}, 404, "order_group_not_found"),
        ({"count": "1000000000"}, 400, "insufficient_balance"),
        ({"exchange_index": 3}, 400, "invalid_exchange_index"),
    ],
)
async def test_an_order_that_cannot_be_is_refused_and_leaves_nothing(
    more: dict[str, Any], status: int, code: str
) -> None:
    """Each with the venue's form of an error."""
    async with trader() as t:
        answer = await t.place(**{"price": "0.4000", **more})
        assert (answer[0], answer[1]["code"]) == (status, code)
        assert not t.account.ledger.orders


async def test_a_client_order_id_is_used_once_and_legacy_writes_are_gone() -> None:
    """409 on the repeat, 410 for every legacy write, reads of orders stay."""
    async with trader() as t:
        assert (await t.place(client_order_id="mine"))[0] == 201
        assert (await t.place(client_order_id="mine"))[0] == 409
        for method, path in [
            ("POST", "/orders"), ("POST", "/orders/batched"), ("DELETE", "/orders/x"),
            ("POST", "/orders/x/amend"), ("POST", "/orders/x/decrease"), ("DELETE", "/orders/batched"),
        ]:  # fmt: skip
            status, body = await t.ask(method, path, {})
            assert (status, body["code"]) == (410, "deprecated_v1_order_endpoint"), path
        assert len((await t.ask("GET", "/orders?status=resting"))[1]["orders"]) == 1


async def test_orders_are_decreased_amended_and_cancelled() -> None:
    """Counts and prices follow; an amend of the expiry alone keeps the rest; a second cancel is a 404."""
    async with trader() as t:
        order_id = (await t.place(count="9"))[1]["order_id"]
        path = f"/events/orders/{order_id}"
        assert (await t.ask("POST", f"{path}/decrease", {"reduce_by": "2"}))[1]["remaining_count"] == "7.00"
        assert (await t.ask("POST", f"{path}/decrease", {"reduce_to": "8"}))[0] == 400
        assert (await t.ask("POST", f"{path}/decrease", {}))[0] == 400
        same = {"ticker": t.market.ticker, "side": "bid", "price": "0.0100", "count": "7"}
        in_an_hour = int(time.time()) + 3_600
        amended = (await t.ask("POST", f"{path}/amend", {**same, "expiration_time": in_an_hour}))[1]
        assert amended["remaining_count"] == "7.00"
        assert t.account.ledger.by_id[order_id].expires_us == in_an_hour * 1_000_000
        await t.ask("POST", f"{path}/amend", {**same, "price": "0.0200", "expiration_time": 0})
        order = t.account.ledger.by_id[order_id]
        assert (order.price_e4, order.expires_us) == (200, 0)
        assert (await t.ask("DELETE", path))[1]["reduced_by"] == "7.00"
        assert (await t.ask("DELETE", path))[0] == 404


async def test_each_order_of_a_batch_has_its_own_outcome() -> None:
    """Two placed, one refused between them; then a cancel of one of them and of one that never was."""
    async with trader() as t:
        body = {"orders": [t.order(), t.order(price="0.0155", client_order_id="odd"), t.order(count="4")]}
        told = (await t.ask("POST", "/events/orders/batched", body))[1]["orders"]
        assert ["error" in item for item in told] == [False, True, False]
        assert told[1]["client_order_id"] == "odd"
        gone = {"orders": [{"order_id": told[0]["order_id"]}, {"order_id": "never"}]}
        told = (await t.ask("DELETE", "/events/orders/batched", gone))[1]["orders"]
        assert [item["reduced_by"] for item in told] == ["3.00", "0.00"]
        assert told[1]["error"]["code"] == "order_not_found"
        assert (await t.ask("DELETE", "/events/orders"))[0] == 204
        assert t.resting() == {}


async def test_a_resting_order_expires_and_is_filled_when_the_book_comes_to_it() -> None:
    """As a maker, at its own price."""
    async with trader() as t:
        await t.place("bid", "0.4300", "5")
        await t.place("bid", "0.0100", "5", expiration_time=int(time.time()) + 1)
        t.market.book.no[5_800] = 300  # a YES ask at 0.42
        await until(lambda: not t.resting())
        fill = t.account.ledger.fills[0]
        assert (fill.price_e4, fill.is_taker) == (4_300, False)
        assert sorted(order.status for order in t.account.ledger.orders) == ["canceled", "executed"]


async def test_an_order_group_that_reaches_its_limit_ends_its_orders_until_it_is_reset() -> None:
    """Its frames are numbered and say each step; deletion ends what rests."""
    async with trader() as t, client_of(t.sim) as client:
        await client.ask("subscribe", channels=["order_group_updates"])
        group = (await t.ask("POST", "/order_groups/create", {"contracts_limit": 4}))[1]["order_group_id"]
        await t.place(order_group_id=group)
        assert len((await t.ask("GET", f"/order_groups/{group}"))[1]["orders"]) == 1
        taken = (await t.place("bid", "0.4600", "6", order_group_id=group))[1]
        assert (taken["fill_count"], taken["remaining_count"], t.resting()) == ("6.00", "0.00", {})
        assert (await t.place(order_group_id=group))[1]["code"] == "order_group_triggered"
        await t.ask("PUT", f"/order_groups/{group}/reset")
        assert (await t.place(order_group_id=group))[0] == 201
        await t.ask("PUT", f"/order_groups/{group}/limit", {"contracts_limit_fp": "9.50"})
        listed = (await t.ask("GET", "/order_groups"))[1]["order_groups"]
        assert [(g["id"], g["contracts_limit_fp"]) for g in listed] == [(group, "9.50")]
        await t.ask("PUT", f"/order_groups/{group}/trigger", {})
        assert (await t.ask("DELETE", f"/order_groups/{group}"))[0] == 200
        await until(lambda: len(client.of_type("order_group_updates")) == 6)
        told = [(frame["seq"], frame["msg"]["event_type"]) for frame in client.of_type("order_group_updates")]
        steps = ["created", "triggered", "reset", "limit_updated", "triggered", "deleted"]
        assert told == list(enumerate(steps, start=1))


async def test_a_paused_exchange_stands_still_refuses_orders_and_says_so() -> None:
    """Orders that were to be cancelled on a pause are; after it orders are taken again."""
    async with trader() as t:
        stays = (await t.place())[1]["order_id"]
        await t.place(cancel_order_on_pause=True)
        await post(t.sim, "/admin/exchange", {"trading_active": False, "resume_in_s": 60})
        status = await get(t.sim, "/trade-api/v2/exchange/status")
        assert (status["trading_active"], status["exchange_index_statuses"][0]["trading_active"]) == (False, False)
        assert status["exchange_estimated_resume_time"] > "2026"
        assert (await t.place())[0] == 503
        await until(lambda: list(t.resting()) == [stays])
        await post(t.sim, "/admin/exchange", {})
        assert (await t.place())[0] == 201


async def test_what_is_old_is_archived_and_positions_lag_as_the_timestamp_says() -> None:
    """Fills and orders are in one tier or the other, never both; positions are of before the lag."""
    config = SimConfig(
        frames=0, strikes=3, account_rate=0, account_budget=100_000, live_fills_s=3_600, live_orders_s=60
    )
    account = Account(config)
    async with serving(config, (account,)) as sim:
        await until(lambda: account.door.hub is not None)
        for age_s in (7_200, 1_800, 0):
            await post(sim, "/admin/account/trade", {"actions": 60, "ages_s": [age_s, age_s]})
        base = "/trade-api/v2"
        live = await get(sim, f"{base}/portfolio/fills?limit=1000")
        old = await get(sim, f"{base}/historical/fills?limit=1000")
        ids = [item["fill_id"] for item in live["fills"] + old["fills"]]
        assert live["fills"] and old["fills"]
        assert ids == [fill.fill_id for fill in reversed(account.ledger.fills)]
        orders = [await get(sim, f"{base}/{tier}/orders?limit=1000") for tier in ("portfolio", "historical")]
        assert all(answer["orders"] for answer in orders)
        assert sum(len(answer["orders"]) for answer in orders) == len(account.ledger.orders)
        assert all(order["status"] != "resting" for order in orders[1]["orders"])

        held = {t: p.net_e2 for t, p in account.ledger.positions.items() if p.net_e2}
        await post(sim, "/admin/account/faults", {"positions_lag_s": 3_600})
        lagging = await get(sim, f"{base}/portfolio/positions?limit=1000&count_filter=position")
        then = {t: p.net_e2 for t, p in account.ledger.positions_at(time.time_ns() // 1_000 - 3_600_000_000).items()}
        told = {item["ticker"]: item["position_fp"] for item in lagging["market_positions"]}
        assert told == {t: f"{'-' if n < 0 else ''}{abs(n) // 100}.{abs(n) % 100:02d}" for t, n in then.items() if n}
        assert then != held
