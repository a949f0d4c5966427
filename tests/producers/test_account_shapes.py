"""Shapes of the account's answers: null lists, numbers by their text, cursors that repeat, envelopes, late listings."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from account_world import world
from aiohttp import web

from producers.account_poll import AccountPoller
from producers.account_reporter import AccountReporter
from producers.account_walk import WalkResult, walk
from venues.kalshi.account_rest import AccountRest
from venues.kalshi.subaccounts import Subaccounts

FILL_TEXT = (
    '{"fills":[{"fill_id":"f-1","order_id":"o-1","ticker":"KX-A","outcome_side":"yes","count_fp":70368744177664.15,'
    '"yes_price_dollars":0.1450,"fee_cost":0.010000,"created_time":"2026-01-10T16:11:11.109554Z"},'
    '{"fill_id":"f-2","order_id":"o-1","ticker":"KX-A","outcome_side":"yes","count_fp":1.00,'
    '"yes_price_dollars":0.29000000000000001,"created_time":"2026-01-10T16:11:11.109554Z"}],"cursor":null}'
)


@asynccontextmanager
async def answering(text: str) -> AsyncIterator[AccountRest]:
    """A client of a venue that answers everything with this text."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with AccountRest(f"http://127.0.0.1:{port}", None) as rest:
            yield rest
    finally:
        await runner.cleanup()


class Keeping:
    """A publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.is_full = False
        self.values: list[dict[str, Any]] = []

    def add(self, topic: str, key: str, value: bytes, ts_ms: int) -> None:
        self.values.append(msgspec.json.decode(value))

    async def flush(self, timeout_s: float) -> bool:
        return True


async def test_numbers_are_what_their_text_says() -> None:
    """A count beyond the digits of a float is exact; a price with more digits than prices have is refused."""
    async with answering(FILL_TEXT) as rest:
        body = await rest.get("/portfolio/fills")
    reporter = AccountReporter(Keeping(), "session")  # type: ignore[arg-type]
    fills = reporter.read_fills(body["fills"], "rest")

    assert [(fill.count_e2, fill.price_e4, fill.fee_e6) for fill in fills] == [(7_036_874_417_766_415, 1_450, 10_000)]
    assert reporter.refused == {"invalid_price": 1}


async def test_null_lists_are_empty_ones(tmp_path: Path) -> None:
    """A new account: the venue says null for every list. It is opened, polled, and nothing is wrong."""
    text = '{"fills":null,"orders":null,"market_positions":null,"event_positions":null,"settlements":null,"cursor":""}'
    async with answering(text) as rest:
        publisher = Keeping()
        reporter = AccountReporter(publisher, "session")  # type: ignore[arg-type]
        poller = AccountPoller(rest, reporter, publisher, tmp_path / "mark.json", interval_s=10, overlap_s=60)  # type: ignore[arg-type]
        assert await poller.poll_once() is None
        assert await poller.poll_once() is None


async def test_null_lists_of_the_simulated_venue_are_empty_ones(tmp_path: Path) -> None:
    """The same with the whole set of routes, and what is traded afterwards is found."""
    async with world(tmp_path) as w:
        w.strike(null_lists=True)
        assert await w.restart_and_poll() is None
        w.fill(1_000)
        assert await w.restart_and_poll() is None
        assert w.held_e2() == 1_000


class Pages:
    """A list by cursor: asked cursor -> (items, next cursor)."""

    def __init__(self, pages: Mapping[str, tuple[list[int], str | None]]) -> None:
        self.subaccounts = Subaccounts()
        self._pages = pages
        self.asked: list[str] = []

    async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        cursor = str((params or {}).get("cursor", ""))
        self.asked.append(cursor)
        items, following = self._pages[cursor]
        return {"fills": [{"n": n} for n in items], "cursor": following}

    async def walk(self) -> tuple[WalkResult, list[int]]:
        read: list[int] = []

        def on_page(items: list[dict[str, Any]]) -> bool:
            read.extend(item["n"] for item in items)
            return False

        return await walk(self, "/portfolio/fills", "fills", {}, on_page), read  # type: ignore[arg-type]


async def test_a_cursor_that_repeats_ends_the_walk_at_once() -> None:
    """The last page names itself, or an earlier one: everything is read once, and the walk is complete and clean."""
    for last in ("b", "a"):
        pages = Pages({"": ([1], "a"), "a": ([2], "b"), "b": ([3], last)})
        result, read = await pages.walk()
        assert (pages.asked, read) == (["", "a", "b"], [1, 2, 3])
        assert (result.complete, result.clean, result.problem) == (True, True, None)


async def test_a_page_that_only_brings_itself_again_is_no_end() -> None:
    """Nothing says that there is no other page: incomplete at the first repeat, so that the mark stays."""
    pages = Pages({"": ([1], "a"), "a": ([1], "a")})
    result, _ = await pages.walk()

    assert pages.asked == ["", "a"]
    assert (result.complete, result.clean) == (False, False)
    assert result.problem is not None


async def test_a_settlement_that_is_listed_late_is_read(tmp_path: Path) -> None:
    """It was settled an hour before the newest that was seen, and appears afterwards."""
    async with world(tmp_path) as w:
        assert await w.restart_and_poll() is None
        now_us = time.time_ns() // 1_000
        ledger = w.account.ledger
        for ticker, held_e2 in (("KX-LATE", 1_000), ("KX-NEW", 500)):
            order = ledger.place(ticker, "yes", "buy", 4_000, held_e2, now_us)
            ledger.fill(order, 4_000, held_e2, now_us, is_taker=True)
        late = ledger.settle("KX-LATE", "yes", now_us + 10)
        ledger.settlements.remove(late)
        ledger.settle("KX-NEW", "no", now_us + 240_000_000)
        assert await w.restart_and_poll() is None
        assert w.desk().states["KX-LATE"].settlement is None

        ledger.settlements.insert(0, late)
        assert await w.restart_and_poll() is None
        state = w.desk().states["KX-LATE"]
        assert state.settlement is not None
        assert (state.fold.count_e2, state.fold.realized_e6) == (0, 1_000 * 6_000)


async def test_an_order_that_a_frame_names_without_a_direction_is_asked_for(tmp_path: Path) -> None:
    """No dead letter and no guess: the next poll reads it by its id, where no list of the poll holds it."""
    async with world(tmp_path) as w:
        assert await w.restart_and_poll() is None
        order_id = w.fill(1_000, "no", "sell", age_s=400_000)
        reporter = w.reporter
        frame = {"order_id": order_id, "ticker": w.ticker, "side": "no", "status": "executed", "is_yes": False}
        assert reporter.say_order(frame, "ws") is None
        assert await w.poller.poll_once() is None

        order = w.desk().orders[order_id]
        assert (order.side, order.action, order.status) == ("no", "sell", "executed")
        assert not reporter.refused
        assert not reporter.incomplete


def test_orders_are_read_out_of_their_envelopes() -> None:
    """Single answers and items of batches; an error in the order's place is counted and is no order."""
    publisher = Keeping()
    reporter = AccountReporter(publisher, "session")  # type: ignore[arg-type]
    order = {
        "order_id": "o-1", "ticker": "KX-A", "side": "yes", "action": "buy", "outcome_side": "yes",
        "status": "canceled", "yes_price_dollars": "0.4000", "initial_count_fp": "5.00", "remaining_count_fp": "0.00",
        "fill_count_fp": "2.00",
    }  # fmt: skip
    said = [
        reporter.say_order(item, "rest")
        for item in (
            {"order": order, "error": None},
            {"order": {**order, "order_id": "o-2"}, "reduced_by": 3, "reduced_by_fp": "3.00"},
            {"order": None, "error": {"code": "not_found", "message": "no"}, "client_order_id": "mine"},
            {"order_id": "o-4", "error": {"code": "market_closed"}},
            {"order_id": "o-5", "client_order_id": "mine", "reduced_by": "3.00", "ts_ms": 1_768_061_471_109},
        )
    ]

    assert [payload and payload.order_id for payload in said] == ["o-1", "o-2", None, None, None]
    assert reporter.counts["order_errors"] == 2
    assert list(reporter.incomplete) == ["o-5"]
    assert not reporter.refused
