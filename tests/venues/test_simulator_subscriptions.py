"""What a venue may do with subscriptions: one sid for several subscribes, answers without seq, silence."""

import dataclasses
from pathlib import Path
from typing import Any

from simulator_client import as_truth, client_of, fold, levels, truth, until

from venues.capture import format_line
from venues.simulator.config import FaultSettings, SimConfig
from venues.simulator.server import serving

BOOK = "orderbook_delta"
STREAM = SimConfig(rate=0, frames=3_000, seed=11, strikes=3)
STILL = dataclasses.replace(STREAM, frames=0)


def doing(config: SimConfig, **faults: Any) -> SimConfig:
    return dataclasses.replace(config, faults=FaultSettings(**faults))


async def test_a_second_subscribe_joins_the_sid_and_its_counter_goes_on() -> None:
    """Both are acknowledged with one sid; the second brings the snapshots of its own markets; unsubscribe ends all."""
    async with serving(doing(STREAM, join_sid=True)) as simulator, client_of(simulator) as client:
        tickers = sorted(simulator.hub.markets)
        acks = [
            await client.ask("subscribe", channels=[BOOK], market_tickers=part) for part in (tickers[:2], tickers[2:])
        ]
        assert [ack["msg"]["sid"] for ack in acks] == [1, 1]
        await until(lambda: simulator.source.finished)
        await client.ask("unsubscribe", sids=[1])
        assert [frame["seq"] for frame in client.of_sid(1)] == list(range(1, len(client.of_sid(1)) + 1))
        assert len(client.of_type("orderbook_snapshot")) == len(tickers)
        assert as_truth(fold(client.frames)) == await truth(simulator)
        again = await client.ask("subscribe", channels=[BOOK], market_tickers=tickers)
        assert again["msg"]["sid"] == 2


async def test_answers_may_come_without_a_number() -> None:
    """They take none of the sid's numbers either."""
    async with serving(doing(STILL, unnumbered_answers=True)) as simulator, client_of(simulator) as client:
        tickers = sorted(simulator.hub.markets)
        await client.ask("subscribe", channels=[BOOK], market_tickers=tickers)
        answer = await client.ask("update_subscription", sid=1, action="get_snapshot", market_tickers=tickers[:1])
        assert (answer["type"], answer["sid"], "seq" in answer) == ("orderbook_snapshot", 1, False)
        gone = await client.ask("unsubscribe", sids=[1])
        assert gone["seq"] == len(tickers) + 1


async def test_the_first_snapshot_of_a_sid_may_be_lost_without_a_hole_that_shows() -> None:
    """The first frame that comes has seq 2."""
    async with serving(doing(STILL, lose_first_snapshot=True)) as simulator, client_of(simulator) as client:
        tickers = sorted(simulator.hub.markets)
        await client.ask("subscribe", channels=[BOOK], market_tickers=tickers)
        await until(lambda: len(client.of_sid(1)) == len(tickers) - 1)
        assert client.of_sid(1)[0]["seq"] == 2
        assert tickers[0] not in {frame["msg"]["market_ticker"] for frame in client.of_sid(1)}


async def test_a_mute_subscription_is_acknowledged_and_nothing_follows() -> None:
    """The next one flows; get_snapshot is answered on both."""
    async with serving(doing(STREAM, mute_every=2)) as simulator, client_of(simulator) as client:
        tickers = sorted(simulator.hub.markets)
        await client.ask("subscribe", channels=[BOOK], market_tickers=tickers[:2])
        muted = await client.ask("subscribe", channels=[BOOK], market_tickers=tickers[2:4])
        assert (muted["type"], muted["msg"]["sid"]) == ("subscribed", 2)
        await until(lambda: simulator.source.finished)
        answer = await client.ask("update_subscription", sid=2, action="get_snapshot", market_tickers=tickers[2:3])
        assert answer["seq"] == 1
        assert client.of_sid(2) == [answer]
        assert dict(levels(answer["msg"], "yes")) == dict((await truth(simulator))[tickers[2]]["yes"])
        assert any(frame["type"] == "orderbook_delta" for frame in client.of_sid(1))


async def test_a_recording_does_not_know_a_book_before_its_first_snapshot(tmp_path: Path) -> None:
    """get_snapshot gets error 18 while only deltas were served, and the truth after the recorded snapshot."""
    place = '"market_ticker":"KX-A","price_dollars":"0.4000","delta_fp":"1.00","side":"yes"'
    frames = [
        f'{{"type":"orderbook_delta","sid":1,"seq":7,"msg":{{{place}}}}}',
        '{"type":"orderbook_snapshot","sid":1,"seq":8,"msg":{"market_ticker":"KX-A",'
        '"yes_dollars_fp":[["0.4000","5.00"]]}}',
        f'{{"type":"orderbook_delta","sid":1,"seq":9,"msg":{{{place}}}}}',
    ]
    capture = tmp_path / "c.ndjson"
    capture.write_bytes(b"".join(format_line(n * 10**9, f.encode(), True, True) for n, f in enumerate(frames, 1)))
    config = SimConfig(source="capture", captures=(capture,), speed=0, wait="any")
    async with serving(config) as simulator, client_of(simulator) as client:
        assert not simulator.source.knows_book(simulator.hub.markets["KX-A"])
        await client.ask("subscribe", channels=[BOOK], market_tickers=["KX-A"])
        await until(lambda: simulator.source.finished)
        answer = await client.ask("update_subscription", sid=1, action="get_snapshot", market_tickers=["KX-A"])
        assert answer["msg"]["yes_dollars_fp"] == [["0.4000", "6.00"]]
    capture.write_bytes(format_line(10**9, frames[0].encode(), True, True))
    async with serving(config) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=[BOOK], market_tickers=["KX-A"])
        await until(lambda: simulator.source.finished)
        answer = await client.ask("update_subscription", sid=1, action="get_snapshot", market_tickers=["KX-A"])
        assert (answer["type"], answer["msg"]["code"], answer["msg"]["market_ticker"]) == ("error", 18, "KX-A")
