"""Opening an account: what is held and why no fill says so any more, answers that lag, archived fills and orders."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from account_world import world

from producers.account_mark import load_mark, save_mark
from producers.account_opening import OpeningReader
from venues.kalshi.rest import RestRefused, RestUnavailable
from venues.kalshi.subaccounts import Subaccounts


async def test_a_position_whose_fills_are_all_archived_is_held(tmp_path: Path) -> None:
    """+150 since long before the live tier, no fill in it: 150 are held, and what is traded next is added."""
    async with world(tmp_path, live_fills_s=3_600, account_vintage="d") as w:
        w.fill(15_000, age_s=7_200)
        assert await w.restart_and_poll() is None
        assert w.held_e2() == 15_000

        w.fill(1_000)
        assert await w.restart_and_poll() is None
        assert w.held_e2() == 16_000
        assert w.desk().states[w.ticker].fold.cost_e6 == 16_000 * 4_000


async def test_positions_that_lag_behind_the_fills_open_the_account_right(tmp_path: Path) -> None:
    """The fill of a moment ago is not in the positions answer yet: +30 in the end, not +20 for ever."""
    async with world(tmp_path) as w:
        w.strike(positions_lag_s=1.5)
        w.fill(2_000, age_s=600)
        w.fill(1_000)
        assert await w.restart_and_poll() is None
        assert w.held_e2() == 3_000
        await asyncio.sleep(0.01)  # the next fill is of a later millisecond than the answers
        w.fill(500, action="sell")
        assert await w.restart_and_poll() is None
        assert w.held_e2() == 2_500


async def test_a_fill_of_whole_seconds_right_after_the_opening_is_folded(tmp_path: Path) -> None:
    """It is of the second in which the account was opened, by its own time of before that: not in the opening."""
    async with world(tmp_path) as w:
        w.fill(2_000, age_s=600)
        assert await w.restart_and_poll() is None
        w.strike(mix_units=True)
        for _ in range(2):  # one tells seconds, the other milliseconds
            w.fill(100)
        assert await w.restart_and_poll() is None
        assert w.held_e2() == 2_200


async def test_an_account_that_never_rests_is_opened_all_the_same(tmp_path: Path, monkeypatch: Any) -> None:
    """Fills all the time, answers that lag: each fill is in the opening or folded, none in both."""
    monkeypatch.setattr("producers.account_opening.QUIET_TRIES", 2)
    async with world(tmp_path) as w:
        w.strike(positions_lag_s=0.5)

        async def trade() -> None:
            while True:
                w.fill(100)
                await asyncio.sleep(0.05)

        task = asyncio.create_task(trade())
        await asyncio.sleep(0.6)
        assert await w.restart_and_poll() is None
        task.cancel()
        await asyncio.sleep(0.6)
        assert await w.restart_and_poll() is None
        assert w.held_e2() == w.account.ledger.positions[w.ticker].net_e2


class ScriptedRest:
    """A venue without /exchange/user_data_timestamp. `lag_s`: its positions are of so long ago."""

    def __init__(self, lag_s: float = 0.0, fills: bool = True) -> None:
        self.subaccounts = Subaccounts()
        self._fresh_s = time.monotonic() + lag_s
        now_ms = time.time_ns() // 1_000_000
        fill = {"fill_id": "f-2", "order_id": "o", "ticker": "KX-A", "side": "yes", "action": "buy", "ts_ms": now_ms}
        self.fills = [{**fill, "count_fp": "10.00", "yes_price_dollars": "0.4000"}] if fills else []
        self.newest_ms = now_ms

    async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        if path == "/portfolio/fills":
            return {"fills": self.fills, "cursor": ""}
        if path == "/portfolio/positions":
            position = "30.00" if time.monotonic() >= self._fresh_s else "20.00"
            return {"market_positions": [{"ticker": "KX-A", "position_fp": position}], "cursor": ""}
        raise RestRefused(404, path, "not found")


async def test_without_the_venues_own_time_positions_are_read_until_they_cannot_lag(monkeypatch: Any) -> None:
    """Two answers agree on 20 while the newest fill is young: waited for, until it is older than the lag."""
    monkeypatch.setattr("producers.account_opening.PAUSE_S", 0.1)
    rest = ScriptedRest(lag_s=0.8)
    opening = await OpeningReader(rest, {}, lag_s=1.5).read()  # type: ignore[arg-type]

    assert [(p.market_ticker, p.position_e2) for p in opening.positions] == [("KX-A", 3_000)]
    assert opening.as_of_ms == rest.newest_ms


async def test_answers_of_long_ago_open_nothing(monkeypatch: Any) -> None:
    """The venue says that its portfolio answers are an hour old: no lag, but something that has to end first."""

    class Stale(ScriptedRest):
        async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
            if path == "/exchange/user_data_timestamp":
                return {"as_of_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3_600))}
            return await super().get(path, params)

    with pytest.raises(RestUnavailable, match="user_data_timestamp"):
        await OpeningReader(Stale(), {}).read()  # type: ignore[arg-type]


async def test_without_any_fill_and_any_time_the_positions_are_what_is_held(monkeypatch: Any) -> None:
    """No live fill does not mean no position; every fill to come is after the opening."""
    monkeypatch.setattr("producers.account_opening.PAUSE_S", 0.1)
    opening = await OpeningReader(ScriptedRest(fills=False), {}).read()  # type: ignore[arg-type]

    assert [(p.market_ticker, p.position_e2) for p in opening.positions] == [("KX-A", 3_000)]
    assert opening.as_of_ms == 0


async def test_fills_that_were_archived_while_nobody_looked_are_read(tmp_path: Path) -> None:
    """Away for longer than the live tier reaches: the archived fills and the live ones are all folded, once."""
    async with world(tmp_path, live_fills_s=3_600) as w:
        w.fill(1_000, age_s=36_000)
        assert await w.restart_and_poll() is None
        mark = load_mark(w.mark_path)
        assert mark is not None
        away = time.time_ns() // 1_000_000 - 30_000_000
        mark.opening_ms = mark.fills_ms = away
        save_mark(w.mark_path, mark)
        w.publisher.records.clear()

        w.fill(2_000, age_s=20_000)
        w.fill(400, age_s=10_000, action="sell")
        w.fill(30, age_s=60)
        assert await w.restart_and_poll() is None
        desk = w.desk()
        assert sorted(fill.count_e2 for fill in desk.fills.values()) == [30, 400, 2_000]
        assert w.held_e2() == 1_630
        mark = load_mark(w.mark_path)
        assert mark is not None
        assert mark.fills_ms > away + 10_000_000


@pytest.mark.parametrize("forgotten", [False, True])
async def test_orders_that_were_archived_while_nobody_looked_get_their_end(tmp_path: Path, forgotten: bool) -> None:
    """One that rested at the last poll, and one that came and went since; also where single reads answer 404."""
    async with world(tmp_path, live_orders_s=3_600) as w:
        ledger, now_us = w.account.ledger, time.time_ns() // 1_000
        order = ledger.place(w.ticker, "yes", "buy", 4_000, 1_000, now_us - 40_000_000_000)
        assert await w.restart_and_poll() is None
        ledger.cancel(order, now_us - 20_000_000_000)
        other = w.fill(200, age_s=15_000)
        mark = load_mark(w.mark_path)
        assert mark is not None
        mark.orders_ms = now_us // 1_000 - 30_000_000
        mark.opening_ms = mark.fills_ms = now_us // 1_000 - 30_000_000
        save_mark(w.mark_path, mark)
        if forgotten:
            del ledger.by_id[order.order_id]
        assert await w.restart_and_poll() is None

        orders = w.desk().orders
        assert orders[order.order_id].status == "canceled"
        assert orders[other].status == "executed"


async def test_an_opening_is_never_as_of_a_time_that_cannot_be(monkeypatch: Any) -> None:
    """A fill of next year, or the venue's own time: the opening would contain every fill until then."""
    monkeypatch.setattr("producers.account_opening.PAUSE_S", 0.01)
    rest = ScriptedRest()
    rest.fills[0]["ts_ms"] = rest.newest_ms + 31_536_000_000
    opening = await OpeningReader(rest, {}, lag_s=0.0).read()  # type: ignore[arg-type]

    assert opening.as_of_ms < time.time_ns() // 1_000_000
