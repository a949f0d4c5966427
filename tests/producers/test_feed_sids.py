"""Markets and sids: what one sid carries, whose books a fault hits, who is asked for, and who is not ours."""

import asyncio
import json
import logging
from typing import Any

import pytest
from scripted_feed import delta_frame, for_ever, running, snapshot_frame

from producers import silence

pytestmark = pytest.mark.timeout(180)

#: The sids of books and trades that two subscribes of two markets each get: of their own, or those of the first.
MODES = pytest.mark.parametrize("second", [(3, 4), (1, 2)], ids=["own sids", "one sid"])
MARKETS = ["A", "B", "C", "D"]


async def _two_subscribes(peer: Any, second: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Both acknowledged, all four books live; ticker -> (sid, newest seq of it)."""
    await peer.accept_subscribe()
    await peer.snapshot(1, "A")
    await peer.snapshot(2, "B")
    await peer.accept_subscribe(*second)
    first_seq = 3 if second[0] == 1 else 1
    await peer.snapshot(first_seq, "C", sid=second[0])
    await peer.snapshot(first_seq + 1, "D", sid=second[0])
    return {"A": (1, 2), "B": (1, 2), "C": (second[0], first_seq + 1), "D": (second[0], first_seq + 1)}


@MODES
async def test_a_gap_hits_all_books_of_its_sid_and_no_other(
    scripted_venue: Any, publisher: Any, eventually: Any, second: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    """From whatever subscribe they came; the line names the sid and the markets; get_snapshot heals exactly them."""
    one_sid = second[0] == 1
    hit = MARKETS if one_sid else ["C", "D"]

    async def venue(peer: Any) -> None:
        sid, seq = (await _two_subscribes(peer, second))["D"]
        await peer.delta(seq + 3, "D", sid=sid)
        ask = await peer.command("update_subscription", "get_snapshot")
        asked = list(ask["params"]["market_tickers"])
        if len(asked) < len(hit):
            asked += (await peer.command("update_subscription", "get_snapshot"))["params"]["market_tickers"]
        assert sorted(asked) == hit
        for n, ticker in enumerate(asked, seq + 4):
            await peer.snapshot(n, ticker, sid=sid)
        await for_ever()

    with caplog.at_level(logging.WARNING):
        async with (
            scripted_venue(venue) as server,
            running(server.url, publisher, MARKETS, group_size=2) as (feed, counts),
        ):
            await eventually(lambda: counts.frames_in == 9 + len(hit), "healed")
            assert set(feed.market_states().values()) == {"live"}
    assert [line for line in publisher.story() if "gap" in line] == [f"reset:gap {ticker}" for ticker in hit]
    assert counts.gaps == 1
    assert f"sid {second[0]} are missing before seq" in caplog.text
    assert f"stale: {', '.join(hit)}" in caplog.text


@MODES
async def test_a_second_acknowledgement_does_not_hide_a_gap(
    scripted_venue: Any, publisher: Any, eventually: Any, second: tuple[int, int]
) -> None:
    """A frame that was lost before it is missed at the next frame of that sid."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await peer.snapshot(2, "B")
        await peer.delta(4, "A")  # 3 is lost, and flagged
        await peer.accept_subscribe(*second)
        await peer.delta(6, "A")  # 5 is lost before the acknowledgement
        await for_ever()

    async with (
        scripted_venue(venue) as server,
        running(server.url, publisher, MARKETS, group_size=2) as (_, counts),
    ):
        await eventually(lambda: counts.frames_in == 8, "all frames in")
    assert (counts.gaps, counts.frames_missing) == (2, 2)


@MODES
@pytest.mark.parametrize(("code", "reason"), [(10, "channel_error"), (25, "buffer_overflow")])
async def test_a_terminal_error_hits_all_books_of_its_sid_and_all_are_subscribed_again(
    scripted_venue: Any, publisher: Any, eventually: Any, second: tuple[int, int], code: int, reason: str
) -> None:
    """Nothing stays frozen and live; the trades of that sid's markets stay where they are."""
    hit = MARKETS if second[0] == 1 else ["C", "D"]

    async def venue(peer: Any) -> None:
        sid, seq = (await _two_subscribes(peer, second))["D"]
        await peer.say({"type": "error", "sid": sid, "seq": seq + 1, "msg": {"code": code, "msg": "over"}})
        again: list[str] = []
        while len(again) < len(hit):
            command = await peer.command("subscribe")
            assert command["params"]["channels"] == ["orderbook_delta"]
            ack = {"channel": "orderbook_delta", "sid": 9}
            await peer.say({"id": command["id"], "type": "subscribed", "msg": ack})
            for ticker in command["params"]["market_tickers"]:
                again.append(ticker)
                await peer.snapshot(len(again), ticker, sid=9)
        assert sorted(again) == hit
        await peer.delta(len(hit) + 1, hit[0], sid=9)
        await for_ever()

    async with (
        scripted_venue(venue) as server,
        running(server.url, publisher, MARKETS, group_size=2) as (feed, counts),
    ):
        await eventually(lambda: f"delta {hit[0]} {len(hit) + 1}" in publisher.story(), "subscribed again")
        assert set(feed.market_states().values()) == {"live"}
        assert counts.gaps == 0
    assert [line for line in publisher.story() if reason in line] == [f"reset:{reason} {ticker}" for ticker in hit]


@MODES
async def test_an_unsubscribed_that_nobody_asked_for_is_a_lost_subscription(
    scripted_venue: Any, publisher: Any, eventually: Any, second: tuple[int, int]
) -> None:
    """Its books are not left live for ever."""
    hit = MARKETS if second[0] == 1 else ["C", "D"]

    async def venue(peer: Any) -> None:
        sid, seq = (await _two_subscribes(peer, second))["D"]
        await peer.say({"type": "unsubscribed", "sid": sid, "seq": seq + 1})
        again: set[str] = set()
        while again != set(hit):
            again |= set(await peer.accept_subscribe(book_sid=9))
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, MARKETS, group_size=2):
        await eventually(lambda: sum("channel_error" in line for line in publisher.story()) == len(hit), "reset")
    assert sorted(line for line in publisher.story() if "channel" in line) == [f"reset:channel_error {t}" for t in hit]


@MODES
async def test_a_silent_subscription_is_found_by_probing_and_subscribed_again(
    scripted_venue: Any,
    publisher: Any,
    eventually: Any,
    second: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """C and D were accepted and then nothing comes of them while A flows: get_snapshot shows that C has moved."""
    monkeypatch.setattr(silence, "CHECK_S", 0.05)
    monkeypatch.setattr(silence, "PROBE_AFTER_S", 0.3)
    hit = set(MARKETS) if second[0] == 1 else {"C", "D"}

    async def venue(peer: Any) -> None:
        places = await _two_subscribes(peer, second)
        seqs = dict(places.values())
        flowing = asyncio.create_task(_flow(peer, seqs))
        ask = await peer.command("update_subscription", "get_snapshot")
        asked, sid = set(ask["params"]["market_tickers"]), ask["params"]["sids"][0]
        assert asked == {"C", "D"}
        flowing.cancel()
        for ticker in sorted(asked):
            seqs[sid] += 1
            moved = snapshot_frame(seqs[sid], ticker, sid)
            moved["msg"]["yes_dollars_fp"] = [["0.3300", "5.00"]]
            await peer.say({"id": ask["id"], **moved})
        gone = await peer.command("unsubscribe")
        assert gone["params"]["sids"] == [sid]
        again: set[str] = set()
        while again != hit:
            again |= set(await peer.accept_subscribe(book_sid=9))
        await for_ever()

    async def _flow(peer: Any, seqs: dict[int, int]) -> None:
        while True:
            seqs[1] += 1
            await peer.say(json.dumps(delta_frame(seqs[1], "A")))
            await asyncio.sleep(0.02)

    async with scripted_venue(venue) as server, running(server.url, publisher, MARKETS, group_size=2):
        await eventually(lambda: sum("channel_error" in line for line in publisher.story()) == len(hit), "found")
    assert f"sid {second[0]} is silent: the book of C moved without a frame" in caplog.text
