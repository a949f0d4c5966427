"""Books that wait: lost first snapshots, answers that are none, and books that are not ours."""

import asyncio
from typing import Any

import pytest
from scripted_feed import delta_frame, for_ever, running, snapshot_frame, sums_up

pytestmark = pytest.mark.timeout(180)


async def test_a_delta_of_a_book_that_waits_asks_for_its_snapshot_at_once(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """The snapshot that was the first frame of its sid is lost and no gap shows it; the delta does."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(2, "B")
        await peer.delta(3, "A")
        ask = await peer.command("update_subscription", "get_snapshot")
        assert ask["params"]["market_tickers"] == ["A"]
        await peer.snapshot(4, "A", command_id=ask["id"])
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A", "B"]) as (feed, counts):
        await eventually(lambda: counts.frames_in == 5, "asked and answered")
        assert feed.market_states() == {"A": "live", "B": "live"}
    assert publisher.story()[2:5] == ["snapshot B", "delta A 3", "snapshot A"]


async def test_a_quiet_market_whose_first_snapshot_was_lost_is_asked_for(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """No delta, no gap: only patience; and /readyz names it while it waits."""
    asked = asyncio.Event()

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(2, "B")
        ask = await peer.command("update_subscription", "get_snapshot")
        assert ask["params"]["market_tickers"] == ["A"]
        await asked.wait()
        ask = await peer.command("update_subscription", "get_snapshot")
        await peer.snapshot(3, "A", command_id=ask["id"])
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A", "B"]) as (feed, _):
        await eventually(feed.waiting_problem, "not ready")
        assert feed.waiting_problem() == "1 market waits for a snapshot: A"
        asked.set()
        await eventually(lambda: set(feed.market_states().values()) == {"live"}, "live")
        assert feed.waiting_problem() is None


@pytest.mark.parametrize("answer", ["unnumbered", "unnumbered and nameless", "numbered zero", "none"])
async def test_where_get_snapshot_gives_no_usable_answer_it_subscribes_again_and_remembers(
    scripted_venue: Any, publisher: Any, eventually: Any, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The first gap finds it out, the second asks no more."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await peer.delta(3, "A")
        while (command := await peer.next_command())["cmd"] == "update_subscription":
            frame = snapshot_frame(0, "A")
            if answer.startswith("unnumbered"):
                del frame["seq"]
            if answer != "none":
                await peer.say(frame if "nameless" in answer else {"id": command["id"], **frame})
        assert command == {"id": command["id"], "cmd": "unsubscribe", "params": {"sids": [1]}}
        await peer.say({"id": command["id"], "sid": 1, "seq": 4, "type": "unsubscribed"})
        await peer.accept_subscribe(book_sid=7)
        await peer.snapshot(1, "A", sid=7)
        await peer.delta(3, "A", sid=7)
        assert (await peer.next_command())["cmd"] == "unsubscribe"
        await peer.accept_subscribe(book_sid=8)
        await peer.snapshot(1, "A", sid=8)
        await peer.delta(2, "A", sid=8)
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A"]) as (feed, counts):
        await eventually(lambda: "delta A 2" in publisher.story(), "twice subscribed again")
        assert (feed.market_states(), counts.gaps) == ({"A": "live"}, 2)
        sums_up(counts, publisher)
    assert caplog.text.count("from here on we unsubscribe and subscribe instead") == 1
    assert "does it exist" not in caplog.text


async def test_a_refused_delta_of_a_foreign_market_makes_no_book_and_no_wait(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """Its name is garbled, or it is not ours: all of its sid is mended, nothing of that name comes to be."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        bad = delta_frame(2, "GHOST")
        bad["msg"]["price_dollars"] = "1.0000"
        await peer.say(bad)
        ask = await peer.command("update_subscription", "get_snapshot")
        assert ask["params"]["market_tickers"] == ["A"]
        await peer.snapshot(3, "A", command_id=ask["id"])
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A"]) as (feed, counts):
        await eventually(lambda: counts.frames_in == 5, "mended")
        assert feed.market_states() == {"A": "live"}
        assert feed._subscriptions is not None
        assert len(feed._subscriptions.books.waits) == 0
    assert publisher.story() == [
        "reset:session_start A", "snapshot A", "reset:dropped A", "snapshot A", "reset:stopped A",
    ]  # fmt: skip
    assert publisher.of("dlq")[0].payload.reason == "price_out_of_range"


async def test_books_of_foreign_markets_are_dead_letters(scripted_venue: Any, publisher: Any, eventually: Any) -> None:
    """A delta and a snapshot that nobody asked for are kept, and no book of that name comes to be."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await peer.snapshot(2, "GHOST")
        await peer.delta(3, "GHOST")
        await peer.delta(4, "A")
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A"]) as (_, counts):
        await eventually(lambda: counts.frames_in == 6, "all frames in")
        sums_up(counts, publisher)
    assert publisher.story() == ["reset:session_start A", "snapshot A", "delta A 4", "reset:stopped A"]
    assert [letter.payload.reason for letter in publisher.of("dlq")] == ["not_subscribed"] * 2
    assert {key for topic, key, _ in publisher.records if topic == "market.book_updates"} == {"A"}


async def test_answered_snapshots_are_not_counted_as_unanswered_commands(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """Hundreds of gaps in a row are no reason to give up the connection."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        for n in range(5):
            await peer.delta(3 + 3 * n, "A")
            ask = await peer.command("update_subscription", "get_snapshot")
            await peer.snapshot(4 + 3 * n, "A", command_id=ask["id"])
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A"]) as (feed, counts):
        await eventually(lambda: counts.frames_in == 13, "five gaps mended")
        assert feed._subscriptions is not None
        assert feed._subscriptions.desk.pending == {}
