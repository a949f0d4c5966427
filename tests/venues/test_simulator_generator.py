"""The generator: the same by the same seed, never an impossible book, markets that live and roll over."""

import dataclasses
import json
import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulator_client import as_truth, change, client_of, finished, fold, get, truth, until

from domain.units import DOLLAR_E4, price_e4_from_dollars, size_e2_from_text
from venues.simulator import windows
from venues.simulator.config import SimConfig, Vintage
from venues.simulator.generator import Generator
from venues.simulator.hub import Hub
from venues.simulator.ladder import grid
from venues.simulator.server import serving
from venues.simulator.wire import frame_header

# 20 Nov 2025, 21:59:55 UTC: five seconds before a full hour, so that both series roll over soon.
NEAR_HOUR_MS = int(datetime(2025, 11, 20, 21, 59, 55, tzinfo=UTC).timestamp()) * 1_000


async def served(config: SimConfig) -> list[str | bytes]:
    """All texts that a client of all markets gets."""
    async with serving(config) as simulator, client_of(simulator) as client:
        tickers = sorted(simulator.hub.markets)
        await client.send("subscribe", channels=["orderbook_delta", "trade"], market_tickers=tickers)
        status = await finished(simulator)
        await until(lambda: len(client.texts) == status["connections"][0]["frames_served"])
        return client.texts


async def test_same_seed_and_epoch_give_the_same_frames_and_another_seed_does_not() -> None:
    """Byte for byte, snapshots, trade ids and times included."""
    config = SimConfig(rate=0, frames=3_000, seed=5, start_ms=NEAR_HOUR_MS)
    first, second = await served(config), await served(config)
    other = await served(dataclasses.replace(config, seed=6))
    assert len(first) > 3_000
    assert first == second
    assert first != other


class Taker:
    """Stands in for a connection: keeps what a subscription to everything would be sent."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, dict[str, Any]]] = []
        self.session = self

    def send(self, _sub: object, kind: str, body: str) -> None:
        self.frames.append((kind, json.loads(body)))


def generated(config: SimConfig, steps: int) -> tuple[Hub, list[tuple[str, dict[str, Any]]]]:
    """A generator stepped by hand, and all its frames."""
    hub, taker = Hub(config), Taker()
    hub.source = generator = Generator(config, hub)
    for _ in range(steps):
        for market in hub.markets.values():
            for channel in ("orderbook_delta", "trade", "market_lifecycle_v2"):
                market.targets.setdefault(channel, (taker,))  # type: ignore[arg-type]
        generator.step()
    return hub, taker.frames


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32))
def test_no_book_is_ever_negative_crossed_or_off_the_price_grid(seed: int) -> None:
    """For any seed, after each of thousands of steps across a roll-over (a negative level would raise)."""
    config = SimConfig(rate=200, seed=seed, strikes=4, start_ms=NEAR_HOUR_MS)
    hub = Hub(config)
    hub.source = generator = Generator(config, hub)
    for _ in range(3_000):
        generator.step()
        for market in hub.markets.values():
            assert max(market.book.yes, default=0) + max(market.book.no, default=0) < DOLLAR_E4
    for market in hub.markets.values():
        assert set(market.book.yes) | set(market.book.no) <= set(grid(market.structure))


def test_each_trade_is_followed_by_its_reduction_of_the_makers_level() -> None:
    """Taker YES takes the NO level at the NO price, by exactly the count."""
    _, frames = generated(SimConfig(rate=200, seed=2, start_ms=NEAR_HOUR_MS - 600_000), 4_000)
    trades = 0
    for (kind, msg), (next_kind, delta) in pairwise(frames):
        if kind != "trade":
            continue
        trades += 1
        maker = "no" if msg["taker_side"] == "yes" else "yes"
        price_e4 = price_e4_from_dollars(msg[f"{maker}_price_dollars"])
        assert next_kind == "orderbook_delta"
        assert change(delta) == (maker, price_e4, -size_e2_from_text(msg["count_fp"]))
        assert delta["market_ticker"] == msg["market_ticker"]
    assert trades > 50


def test_books_are_deep_with_fractions_and_sub_cent_prices() -> None:
    """The deepest side has 20 to 35 levels; some sizes are fractional; the tapered market leaves the cents."""
    hub, frames = generated(SimConfig(rate=200, seed=4, start_ms=NEAR_HOUR_MS - 40_000), 9_000)
    deltas = [change(msg) for kind, msg in frames if kind == "orderbook_delta"]
    assert any(size_e2 % 100 for _, _, size_e2 in deltas)
    assert any(price_e4 % 100 for _, price_e4, _ in deltas)
    assert sum(size_e2 < 0 for *_, size_e2 in deltas) > len(deltas) / 4
    depths = [len(side) for m in hub.markets.values() if m.status == "active" for side in (m.book.yes, m.book.no)]
    assert max(depths) in range(20, 36)


def test_markets_close_empty_settle_and_roll_over_to_the_next_window() -> None:
    """At the hour: cancels, an empty snapshot, determined, settled; the next hour's and quarter's markets are open."""
    hub, frames = generated(SimConfig(rate=200, seed=3, strikes=2, start_ms=NEAR_HOUR_MS), 16_000)
    old = [m for m in hub.markets.values() if m.event_ticker in ("KXBTCD-25NOV2017", "KXBTC15M-25NOV201700")]
    new = [m for m in hub.markets.values() if m.event_ticker in ("KXBTCD-25NOV2018", "KXBTC15M-25NOV201715")]
    assert [m.status for m in old] == ["finalized"] * 3
    assert [m.status for m in new] == ["active"] * 3
    assert all(m.result in ("yes", "no") and not m.book.yes and not m.book.no for m in old)
    assert all(m.book.yes or m.book.no for m in new)
    for market in old:
        own = [(kind, msg) for kind, msg in frames if msg["market_ticker"] == market.ticker]
        told = [msg.get("event_type", kind) for kind, msg in own[-3:]]
        assert told == ["orderbook_snapshot", "determined", "settled"]
        assert own[-3][1]["yes_dollars_fp"] == own[-3][1]["no_dollars_fp"] == []


def test_result_follows_the_strike_and_its_comparison() -> None:
    """KXBTCD pays YES above the strike; of two strikes the lower one cannot lose while the higher one wins."""
    hub, _ = generated(SimConfig(rate=200, seed=3, strikes=12, start_ms=NEAR_HOUR_MS), 16_000)
    closed = sorted(
        (m.floor_strike or 0, m.result) for m in hub.markets.values() if m.event_ticker == "KXBTCD-25NOV2017"
    )
    results = [result for _, result in closed]
    assert results == sorted(results, reverse=True)
    assert set(results) == {"yes", "no"}


def test_hour_that_the_clocks_go_back_does_not_replace_markets_of_the_same_name() -> None:
    """1 Nov 2026: 05:00 and 06:00 UTC are both 01:00 Eastern; a listed market object stays the one it was."""
    before_ms = int(datetime(2026, 11, 1, 4, 59, 55, tzinfo=UTC).timestamp()) * 1_000
    config = SimConfig(rate=1, seed=3, strikes=12, start_ms=before_ms)
    hub = Hub(config)
    hub.source = generator = Generator(config, hub)
    seen = dict(hub.markets)
    while generator.now_ms < before_ms + 3_700_000:
        generator.step()
        for ticker, market in hub.markets.items():
            assert seen.setdefault(ticker, market) is market


def test_tickers_are_named_by_the_eastern_hour_of_the_close() -> None:
    """25NOV2017 is 17:00 EST = 22:00 UTC; 26APR031645 is 16:45 EDT = 20:45 UTC."""
    assert windows.hourly_event(NEAR_HOUR_MS + 5_000) == "KXBTCD-25NOV2017"
    assert windows.hourly_ticker("KXBTCD-25NOV2017", 91_999.99) == "KXBTCD-25NOV2017-T91999.99"
    close_ms = int(datetime(2026, 4, 3, 20, 45, tzinfo=UTC).timestamp()) * 1_000
    assert windows.quarter_ticker(windows.quarter_event(close_ms)) == "KXBTC15M-26APR031645-45"
    assert windows.next_close_ms(close_ms, windows.QUARTER_MS) == close_ms + windows.QUARTER_MS


@pytest.mark.parametrize("vintage", ["a", "b", "c", "d", "mixed"])
async def test_every_wire_vintage_folds_to_the_truth(vintage: Vintage) -> None:
    """The fields are those of the vintage; the numbers lose nothing."""
    config = SimConfig(rate=0, frames=3_000, seed=5, vintage=vintage)
    async with serving(config) as simulator, client_of(simulator) as client:
        tickers = sorted(simulator.hub.markets)
        await client.send("subscribe", channels=["orderbook_delta", "trade"], market_tickers=tickers)
        status = await finished(simulator)
        await until(lambda: len(client.texts) == status["connections"][0]["frames_served"])
        assert as_truth(fold(client.frames)) == await truth(simulator)
        fields = {
            frozenset(f["msg"]) & {"price", "delta", "delta_fp", "ts_ms"} for f in client.of_type("orderbook_delta")
        }
        whole = {"a": frozenset({"price", "delta"}), "b": frozenset({"price", "delta", "delta_fp"})}
        if vintage == "mixed":
            assert len(fields) == 3
        else:
            assert whole.get(vintage, frozenset({"delta_fp", "ts_ms"})) in fields
        empty = simulator.hub.encoder.snapshot("KX-A", "m", {}, {})
        assert vintage == "mixed" or ("yes_dollars_fp" in empty) == (vintage == "d")


@pytest.mark.parametrize(
    ("length", "header"),
    [(0, "8100"), (125, "817d"), (126, "817e007e"), (65_535, "817effff"), (65_536, "817f0000000000010000")],
)
def test_frame_headers_have_the_shortest_length_form(length: int, header: str) -> None:
    """RFC 6455 section 5.2."""
    assert frame_header(length).hex() == header


async def test_markets_listed_by_rest_page_by_cursor_and_filter_by_query() -> None:
    """Pages join to the whole list; status, series, event and ticker filters hold; a wrong limit is a 400."""
    async with serving(SimConfig(frames=0, strikes=5)) as simulator:
        base = "/trade-api/v2"
        seen: list[str] = []
        cursor = ""
        while True:
            page = await get(simulator, f"{base}/markets", params={"limit": 2, "cursor": cursor})
            seen += [market["ticker"] for market in page["markets"]]
            if not (cursor := page["cursor"]):
                break
        assert sorted(seen) == sorted(simulator.hub.markets)
        opened = await get(simulator, f"{base}/markets?status=open&series_ticker=KXBTCD")
        assert len(opened["markets"]) == 5
        market = opened["markets"][0]
        assert re.fullmatch(r"KXBTCD-\d\d[A-Z]{3}\d{4}-T\d+\.99", market["ticker"])
        assert (market["strike_type"], market["status"]) == ("greater", "active")
        event = await get(simulator, f"{base}/events/{market['event_ticker']}")
        assert len(event["markets"]) == 5
        events = await get(simulator, f"{base}/events?series_ticker=KXBTCD&status=open&with_nested_markets=true")
        assert [len(e["markets"]) for e in events["events"]] == [5]
        book = (await get(simulator, f"{base}/markets/{market['ticker']}/orderbook?depth=2"))["orderbook_fp"]
        assert all(side is None or len(side) <= 2 for side in book.values())
        assert (await get(simulator, f"{base}/series/KXBTC15M"))["series"]["fee_type"] == "quadratic"
        assert (await get(simulator, f"{base}/exchange/status"))["trading_active"] is True
        assert (await get(simulator, f"{base}/markets/KXNONE"))["code"] == "not_found"
        assert (await get(simulator, f"{base}/markets?limit=0"))["code"] == "bad_request"
        assert (await get(simulator, f"{base}/markets?cursor=!"))["code"] == "bad_request"
        assert (await get(simulator, f"{base}/markets?min_close_ts=soon"))["code"] == "bad_request"
