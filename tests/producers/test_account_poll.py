"""Polling a real HTTP account that misbehaves: whatever it answers, each fill is found once, and the mark is honest."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from account_world import until, world

from producers.account_mark import Mark, load_mark, save_mark
from producers.account_poll import AccountPoller
from producers.account_stream import AccountStream
from schemas.registry import DLQ, FILL_REPORTS, ORDER_REPORTS, POSITION_REPORTS
from venues.kalshi.rest import RestUnavailable

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    "faults",
    [
        {},
        {"same_page": True},
        {"repeat_page_every": 2},
        {"strip_ids_every": 3},
        {"strip_ids_every": 1, "repeat_page_every": 2},
        {"mix_units": True},
        {"mix_units": True, "strip_ids_every": 2},
        {"wrong_shape_every": 3},
        {"orders_as_fills_every": 2},
        {"status_429_every": 3, "retry_after_s": 0},
        {"status_500_every": 4, "retry_after_s": 0},
    ],
    ids=lambda faults: "+".join(faults) or "none",
)
async def test_whatever_the_answers_each_fill_is_found_once_at_its_own_time(tmp_path: Path, faults: dict) -> None:
    """Polls under a fault, then two healthy ones: fills, positions, fees and live orders are the venue's own."""
    async with world(tmp_path) as w:
        await w.poller.poll_once()
        w.strike(**faults)
        for _ in range(4):
            w.trade(100)
            try:
                await w.poller.poll_once()
            except RestUnavailable:
                continue
        w.strike()
        assert await w.poller.poll_once() is None
        assert await w.new_poller().poll_once() is None

        desk = w.desk()
        assert len(w.account.ledger.fills) > 200
        desk.assert_equals(w.account.ledger)
        assert sorted(name for names in desk.listed.values() for name in names) == sorted(
            order.order_id for order in w.account.ledger.resting()
        )
        assert desk.verdicts["conflicting"] == desk.verdicts["too_old"] == 0
        assert not [state for state in desk.states.values() if state.venue and state.venue.drift_since_ms is not None]


async def test_the_same_fills_polled_for_an_hour_stay_themselves(tmp_path: Path) -> None:
    """The 4,774-row storm: 360 polls of the same page, in both time units and without ids, over restarts."""
    async with world(tmp_path) as w:
        await w.poller.poll_once()
        w.trade(12)
        w.strike(mix_units=True, strip_ids_every=2)
        for n in range(360):
            w.poller = w.new_poller() if n % 90 == 0 else w.poller
            await w.poller._poll_fills(Mark(opening_ms=-1, fills_ms=0, orders_ms=0, settlements_ms=0))
        w.strike()
        await w.poller.poll_once()

        desk = w.desk()
        true = len(w.account.ledger.fills)
        assert len(w.publisher.of(FILL_REPORTS.name)) > 200 * true
        assert len(desk.fills) == true > 0
        desk.assert_equals(w.account.ledger)


async def test_the_mark_moves_only_after_the_ack_and_a_restart_fetches_what_was_missed(tmp_path: Path) -> None:
    """An unacknowledged poll is repeated; fills of a long absence are paged in completely."""
    async with world(tmp_path) as w:
        await w.poller.poll_once()
        before = load_mark(w.mark_path)
        w.trade(50)
        w.publisher.acknowledges = False
        assert "will be repeated" in (await w.poller.poll_once() or "")
        assert load_mark(w.mark_path) == before

        w.publisher.acknowledges = True
        w.trade(1_500)
        w.publisher.records.clear()
        assert await w.new_poller().poll_once() is None
        pages = len(w.account.ledger.fills) / 200
        assert pages > 3
        w.desk().assert_equals(w.account.ledger)
        mark = load_mark(w.mark_path)
        assert mark is not None
        assert mark.fills_ms == w.account.ledger.fills[-1].ts_us // 1_000


@pytest.mark.parametrize("wrong", ["fills_ms", "opening_ms"])
async def test_a_mark_that_an_impossible_time_has_spoilt_is_set_right(tmp_path: Path, wrong: str) -> None:
    """One fill in microseconds had moved it thousands of years ahead: no fill was ever fetched again."""
    async with world(tmp_path) as w:
        assert await w.poller.poll_once() is None
        mark = load_mark(w.mark_path)
        assert mark is not None
        setattr(mark, wrong, 1_764_500_000_000_000)
        save_mark(w.mark_path, mark)
        w.trade(50)
        w.publisher.records.clear()
        assert await w.new_poller().poll_once() is None
        healed = load_mark(w.mark_path)
        assert healed is not None
        assert max(healed.opening_ms, healed.fills_ms, healed.orders_ms) < time.time_ns() // 1_000_000 + 60_000
        w.trade(50)
        assert await w.new_poller().poll_once() is None
        if wrong == "fills_ms":  # with a wrong opening the account begins anew
            w.desk().assert_equals(w.account.ledger)
        else:
            newest = w.account.ledger.fills[-1]
            assert newest.fill_id in w.desk().fills


async def test_a_full_disk_under_the_mark_does_not_end_the_polling(tmp_path: Path, monkeypatch: Any) -> None:
    """Said for readiness; the next poll reads from where the mark still stands."""
    refused = 0

    def refuse(path: Path, mark: Mark) -> None:
        nonlocal refused
        refused += 1
        if refused <= 2:
            raise OSError(28, "No space left on device")
        save_mark(path, mark)

    monkeypatch.setattr("producers.account_poll.save_mark", refuse)
    async with world(tmp_path) as w:
        told: list[str | None] = []
        poller = AccountPoller(w.rest, w.reporter, w.publisher, w.mark_path, interval_s=0.05, overlap_s=60)  # type: ignore[arg-type]
        running = asyncio.create_task(poller.run())

        def is_saved() -> bool:
            told.append(poller.problem)
            return poller.polls > 0 and poller.problem is None and w.mark_path.exists()

        try:
            await until(lambda: is_saved() or running.done())
        finally:
            running.cancel()
        assert not running.done()
        assert any(why is not None and "No space left on device" in why for why in told)


async def test_a_first_start_opens_with_the_positions_of_that_moment(tmp_path: Path) -> None:
    """What was traded before is in the opening, what comes after is folded on top of it, nothing twice."""
    async with world(tmp_path) as w:
        w.trade(200)
        held = {t: p.net_e2 for t, p in w.account.ledger.positions.items() if p.net_e2}
        await w.poller.poll_once()
        openings = [r for r in w.publisher.of(POSITION_REPORTS.name) if type(r).__name__ == "OpeningPosition"]
        await asyncio.sleep(0.002)  # the next fill is of a later millisecond than the opening
        w.trade(100)
        await w.poller.poll_once()

        assert {r.payload.market_ticker: r.payload.position_e2 for r in openings} == held
        desk = w.desk()
        for ticker, position in w.account.ledger.positions.items():
            assert desk.states[ticker].fold.count_e2 == position.net_e2


async def test_an_order_that_vanished_is_asked_for_by_its_id(tmp_path: Path) -> None:
    """Neither resting nor recent any more: its end is found all the same."""
    async with world(tmp_path) as w:
        await w.poller.poll_once()
        w.trade(30)
        await w.poller.poll_once()
        order = w.account.ledger.resting()[0]
        w.account.ledger.cancel(order, order.created_us + 1)
        mark = load_mark(w.mark_path)
        assert mark is not None and order.order_id in mark.resting
        mark.orders_ms += 10_000_000  # long after: the recent orders no longer hold it
        save_mark(w.mark_path, mark)
        await w.new_poller().poll_once()

        told = [r.payload for r in w.publisher.of(ORDER_REPORTS.name)]
        last = [payload for payload in told if getattr(payload, "order_id", "") == order.order_id][-1]
        assert last.status == "canceled"


async def test_requests_stay_within_the_venues_budget(tmp_path: Path) -> None:
    """The simulator enforces the Basic tier and never has to refuse; what it refuses on purpose is paid for too."""
    async with world(tmp_path, budget=200) as w:
        await w.poller.poll_once()
        w.strike(status_429_every=5, retry_after_s=0)
        for _ in range(3):
            w.trade(20)
            await w.poller.poll_once()

        counts = w.account.door.counts
        assert counts["over_budget"] == 0
        assert counts["status_429_every"] > 0
        assert w.rest.counts["status_429"] == counts["status_429_every"]
        w.desk().assert_equals(w.account.ledger)


async def test_a_storm_of_429_is_seen_at_once_asks_no_more_and_loses_nothing(tmp_path: Path) -> None:
    """Every answer is a 429: fewer requests than the budget allows, the reason visible, and all is told afterwards."""
    async with world(tmp_path, budget=200) as w:
        await w.poller.poll_once()
        w.trade(40)
        w.strike(status_429_every=1)
        counts, begun_s = w.account.door.counts, time.monotonic()
        before = counts["requests"]
        polling = asyncio.create_task(w.poller.run())
        await until(lambda: counts["status_429_every"] >= 4)
        assert w.rest.problem == "venue REST degraded: /portfolio/fills: 429"
        # A tier's second of tokens saved up, and what has come since: the venue's own bound.
        assert (counts["requests"] - before) * 10 <= 200 * (1 + time.monotonic() - begun_s)
        assert counts["over_budget"] == 0

        w.strike(status_429_every=0)
        await until(lambda: w.poller.problem is None and w.poller.polls == 1)
        polling.cancel()
        assert w.rest.problem is None
        w.desk().assert_equals(w.account.ledger)


async def test_a_429_says_when_to_come_back_and_nothing_is_asked_before(tmp_path: Path) -> None:
    """Retry-After is honoured to the second."""
    async with world(tmp_path) as w:
        w.strike(status_429_every=1, retry_after_s=1)
        polling = asyncio.create_task(w.poller.poll_once())
        counts = w.account.door.counts
        await until(lambda: counts["requests"] == 1)
        begun_s = time.monotonic()
        await until(lambda: counts["requests"] == 2)
        assert time.monotonic() - begun_s > 0.9
        w.strike(status_429_every=0)
        await polling
        assert w.rest.counts["status_429"] == 2


async def test_a_refused_item_is_one_dead_letter_however_often_it_is_polled(tmp_path: Path) -> None:
    """Orders in the list of fills become dead letters once each, and never fills."""
    async with world(tmp_path) as w:
        await w.poller.poll_once()
        w.trade(20)
        w.strike(orders_as_fills_every=1)
        for _ in range(5):
            await w.poller.poll_once()

        letters = w.publisher.of(DLQ.name)
        assert {letter.payload.reason for letter in letters} == {"fake_fill"}
        assert len({letter.idempotency_key for letter in letters}) == len(letters)
        assert w.reporter.refused["fake_fill"] > len(letters)


async def test_pushed_and_polled_twins_are_one_and_a_dropped_push_is_found_by_the_poll(tmp_path: Path) -> None:
    """Every third frame missing, every fourth twice, both vintages: the poll completes what the push began."""
    async with world(tmp_path) as w:
        await w.poller.poll_once()
        stream = AccountStream(f"ws://127.0.0.1:{w.port}/trade-api/ws/v2", None, w.reporter, w.publisher, 25.0)  # type: ignore[arg-type]
        task = asyncio.create_task(stream.run())
        await until(lambda: stream.counts["control_frames"] == 3)
        w.strike(drop_frame_every=3, repeat_frame_every=4)
        w.trade(200)
        await until(lambda: w.reporter.counts["fills_ws"] > 20 and stream.counts["frames_in"] > 200)
        for session in list(w.hub.sessions):
            session.sever()
        await until(lambda: stream.counts["disconnects"] == 1 and stream.connected)
        await w.poller.poll_once()
        task.cancel()

        desk = w.desk()
        assert w.reporter.counts["fills_ws"] > 0
        desk.assert_equals(w.account.ledger)
        assert desk.verdicts["duplicate"] > 0


def test_a_mark_that_cannot_be_read_is_a_clear_line_and_never_a_guess(tmp_path: Path) -> None:
    """A broken file stops the start; a missing one is the first start."""
    from domain.errors import UserMistake

    path = tmp_path / "mark.json"
    assert load_mark(path) is None
    (tmp_path / "sick").mkdir()
    with pytest.raises(OSError, match="sick"):  # a disk that does not give it now is no mistake of the user's
        load_mark(tmp_path / "sick")
    path.write_text('{"fills_ms":')
    with pytest.raises(UserMistake, match=r"mark\.json"):
        load_mark(path)
