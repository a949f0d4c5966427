"""Markets that come and go while their commands are under way."""

import asyncio
from typing import Any

import pytest
from scripted_feed import for_ever, running

pytestmark = pytest.mark.timeout(180)


async def test_a_market_removed_before_its_acknowledgement_is_taken_off_the_sid(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """Else its frames come for ever."""
    removed = asyncio.Event()
    deleted: set[int] = set()

    async def venue(peer: Any) -> None:
        command = await peer.command("subscribe")
        await removed.wait()
        for sid, channel in enumerate(command["params"]["channels"], 1):
            await peer.say({"id": command["id"], "type": "subscribed", "msg": {"channel": channel, "sid": sid}})
        while deleted != {1, 2}:
            gone = await peer.command("update_subscription", "delete_markets")
            assert gone["params"]["market_tickers"] == ["B"]
            deleted.update(gone["params"]["sids"])
        await peer.snapshot(1, "A")
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A", "B"]) as (feed, _):
        await eventually(lambda: server.connections == 1 and feed.connected, "connected")
        feed.set_markets(["A"])
        removed.set()
        await eventually(lambda: feed.market_states() == {"A": "live"}, "live")
    assert publisher.story()[2:4] == ["reset:removed B", "snapshot A"]


async def test_a_market_that_returns_while_it_is_being_removed_is_subscribed_again(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """It has a session_start of its own and is live at the end."""
    confirm = asyncio.Event()

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await peer.snapshot(2, "B")
        await peer.command("update_subscription", "delete_markets")
        gone = await peer.command("update_subscription", "delete_markets")
        await confirm.wait()
        await peer.say({"id": gone["id"], "type": "ok", "sid": 1, "seq": 3, "msg": {"market_tickers": ["A"]}})
        add = await peer.command("update_subscription", "add_markets")
        assert add["params"]["market_tickers"] == ["B"]
        await peer.say({"id": add["id"], "type": "ok", "sid": 1, "seq": 4, "msg": {"market_tickers": ["A", "B"]}})
        await peer.snapshot(5, "B")
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A", "B"]) as (feed, counts):
        await eventually(lambda: counts.frames_in == 4, "both live")
        feed.set_markets(["A"])
        feed.set_markets(["A", "B"])
        confirm.set()
        await eventually(lambda: counts.frames_in == 7, "B again")
        assert feed.market_states() == {"A": "live", "B": "live"}
    assert publisher.story()[4:6] == ["reset:session_start B", "snapshot B"]


async def test_already_subscribed_is_answered_by_adding_the_markets(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """An older venue gives a channel one subscription, and error 6 to a second."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        again = await peer.command("subscribe")
        for _ in again["params"]["channels"]:
            await peer.say({"id": again["id"], "type": "error", "msg": {"code": 6, "msg": "Already subscribed"}})
        for _ in again["params"]["channels"]:
            add = await peer.command("update_subscription", "add_markets")
            if add["params"]["sids"] == [1]:
                await peer.say({"id": add["id"], "type": "ok", "sid": 1, "seq": 2, "msg": {"market_tickers": []}})
        await peer.snapshot(3, "B")
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A", "B"], group_size=1) as (feed, _):
        await eventually(lambda: feed.market_states() == {"A": "live", "B": "live"}, "both live")
