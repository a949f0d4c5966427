"""The feed against a scripted venue on a real socket: sessions, gaps, mending, refusals, accounting."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import pytest
from scripted_feed import for_ever, running, sums_up

from domain.errors import UserMistake
from producers.feed import Feed
from producers.metrics import FeedCounts
from venues.kalshi.frames import FRAME_BYTES_MAX

pytestmark = pytest.mark.timeout(180)


async def test_a_session_starts_with_resets_and_ends_with_stopped(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """session_start first per market, then snapshots and deltas in order, stopped at the end."""

    async def venue(peer: Any) -> None:
        assert await peer.accept_subscribe() == ["A", "B"]
        await peer.snapshot(1, "A")
        await peer.snapshot(2, "B")
        await peer.delta(3, "A")
        await for_ever()

    async with (
        scripted_venue(venue) as server,
        running(server.url, publisher, ["A", "B"]) as (feed, counts),
    ):
        await eventually(lambda: counts.frames_in == 5, "all frames in")
        assert feed.market_states() == {"A": "live", "B": "live"}
    assert publisher.story() == [
        "reset:session_start A",
        "reset:session_start B",
        "snapshot A",
        "snapshot B",
        "delta A 3",
        "reset:stopped A",
        "reset:stopped B",
    ]
    resets = [r.payload for r in publisher.of("market.book_updates") if r.__struct_config__.tag == "book_reset"]
    assert [(r.sid, r.seq) for r in resets] == [(None, None), (None, None), (1, 3), (1, 3)]
    sums_up(counts, publisher)


async def test_a_gap_resets_every_book_of_the_sid_first_and_asks_for_snapshots(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """The frame that reveals the gap is published after the resets; get_snapshot heals all markets."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await peer.snapshot(2, "B")
        await peer.delta(5, "A")
        ask = await peer.command("update_subscription", "get_snapshot")
        assert sorted(ask["params"]["market_tickers"]) == ["A", "B"]
        assert ask["params"]["sids"] == [1]
        await peer.snapshot(6, "A", command_id=ask["id"])
        await peer.snapshot(7, "B", command_id=ask["id"])
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A", "B"]) as (feed, counts):
        await eventually(lambda: counts.frames_in == 7, "healed")
        assert set(feed.market_states().values()) == {"live"}
    assert publisher.story()[4:9] == ["reset:gap A", "reset:gap B", "delta A 5", "snapshot A", "snapshot B"]
    assert (counts.gaps, counts.frames_missing) == (1, 2)


async def test_an_answer_that_takes_no_number_of_its_own_is_a_snapshot_and_no_duplicate(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """get_snapshot may answer as of the last seq."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await peer.delta(3, "A")
        ask = await peer.command("update_subscription", "get_snapshot")
        await peer.snapshot(3, "A", command_id=ask["id"])
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A"]) as (feed, counts):
        await eventually(lambda: counts.frames_in == 5, "answered")
        assert (feed.market_states(), counts.duplicates_ignored) == ({"A": "live"}, 0)


async def test_a_gap_in_an_acknowledgement_counts_too(scripted_venue: Any, publisher: Any, eventually: Any) -> None:
    """`ok` takes a number of its sid: one that is too high reveals a loss, the right one does not."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        add = await peer.command("update_subscription", "add_markets")
        await peer.say({"id": add["id"], "type": "ok", "sid": 1, "seq": 2, "msg": {"market_tickers": ["A", "B"]}})
        await peer.snapshot(3, "B")
        await peer.say({"id": 99, "type": "ok", "sid": 1, "seq": 6})
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A"]) as (feed, counts):
        await eventually(lambda: feed.market_states() == {"A": "live"}, "A is live")
        feed.set_markets(["A", "B"])
        await eventually(lambda: counts.gaps == 1, "the gap")
    assert publisher.story()[:7] == [
        "reset:session_start A",
        "snapshot A",
        "reset:session_start B",
        "snapshot B",
        "reset:gap A",
        "reset:gap B",
        "reset:stopped A",
    ]


@pytest.mark.parametrize(("code", "reason"), [(10, "channel_error"), (25, "buffer_overflow")])
async def test_a_terminal_error_resets_and_subscribes_again(
    scripted_venue: Any, publisher: Any, eventually: Any, code: int, reason: str
) -> None:
    """Codes 10 and 25 end the sid they name: its books are reset, its markets get a new sid, trades stay."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await peer.say({"type": "error", "sid": 1, "seq": 2, "msg": {"code": code, "msg": "over"}})
        again = await peer.command("subscribe")
        assert again["params"]["channels"] == ["orderbook_delta"]
        ack = {"id": again["id"], "type": "subscribed", "msg": {"channel": "orderbook_delta", "sid": 3}}
        await peer.say(ack)
        await peer.snapshot(1, "A", sid=3)
        await peer.delta(2, "A", sid=3)
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A"]) as (_, counts):
        await eventually(lambda: counts.frames_in == 7, "subscribed again")
    assert publisher.story()[2:5] == [f"reset:{reason} A", "snapshot A", "delta A 2"]


async def test_where_get_snapshot_is_refused_it_unsubscribes_and_subscribes(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """An older venue answers 13: the same is reached by a new subscription."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await peer.delta(3, "A")
        ask = await peer.command("update_subscription", "get_snapshot")
        await peer.say({"id": ask["id"], "type": "error", "msg": {"code": 13, "msg": "unsupported"}})
        gone = await peer.command("unsubscribe")
        await peer.say({"id": gone["id"], "sid": 1, "seq": 4, "type": "unsubscribed"})
        await peer.accept_subscribe(book_sid=7)
        await peer.snapshot(1, "A", sid=7)
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A"]) as (feed, counts):
        await eventually(lambda: counts.frames_in == 8, "subscribed again")
        assert feed.market_states() == {"A": "live"}
    assert publisher.story()[-2:] == ["snapshot A", "reset:stopped A"]


async def test_a_disconnect_resets_at_once_and_a_new_session_begins(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """The second connection has another session id, its own session_start and its own snapshot."""

    async def first(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await peer.delta(2, "A")

    async def second(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await for_ever()

    async with scripted_venue(first, second) as server, running(server.url, publisher, ["A"]) as (_, counts):
        await eventually(lambda: counts.frames_in == 7, "the second session's snapshot")
    assert publisher.story() == [
        "reset:session_start A",
        "snapshot A",
        "delta A 2",
        "reset:disconnect A",
        "reset:session_start A",
        "snapshot A",
        "reset:stopped A",
    ]
    sessions = [record.payload.session_id for record in publisher.of("market.book_updates")]
    assert sessions == ["me-1"] * 4 + ["me-2"] * 3


async def test_silence_ends_the_session(scripted_venue: Any, publisher: Any, eventually: Any) -> None:
    """A connection on which nothing comes, no ping either, is given up."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await for_ever()

    async with (
        scripted_venue(venue) as server,
        running(server.url, publisher, ["A"], silence_timeout_s=0.3),
    ):
        await eventually(lambda: server.connections >= 2, "a second connection")
    assert "reset:disconnect A" in publisher.story()


async def test_401_on_the_first_connect_is_a_users_mistake(scripted_venue: Any, publisher: Any) -> None:
    """One line, no retry."""
    async with scripted_venue(_nothing, refuse=(401,)) as server:
        feed = Feed(server.url, None, "me", publisher, FeedCounts(), None, group_size=50, silence_timeout_s=30)
        with pytest.raises(UserMistake, match="401"):
            await feed.run()


async def test_401_later_is_waited_out_and_said(scripted_venue: Any, publisher: Any, eventually: Any) -> None:
    """Not ready meanwhile; fresh headers each time; the feed goes on when the venue lets it in again."""

    async def first(peer: Any) -> None:
        server.refuse += [401, 401]

    async def second(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await for_ever()

    problems: set[str | None] = set()
    async with scripted_venue(first, second) as server, running(server.url, publisher, ["A"]) as (feed, _):

        def live() -> bool:
            problems.add(feed.problem)
            return feed.market_states() == {"A": "live"}

        await eventually(live, "A is live")
        assert feed.problem is None
    assert any("401" in problem for problem in problems if problem)


async def _nothing(peer: Any) -> None:
    await for_ever()


async def test_bad_frames_become_dead_letters_and_the_stream_goes_on(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """Garbage, a binary frame, a wrong type, 4 MB, invalid UTF-8: each with its reason and its raw bytes."""
    huge = '{"type":"' + "x" * (FRAME_BYTES_MAX + 10)
    bad: list[str | bytes] = ["\x00garbage", b"\xff\xfe binary", '{"type":"surprise"}', "[]", huge, '{"type":NaN}']

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        for frame in bad:
            await peer.say(frame)
        await peer.socket.send(b"\xff\xff", text=True)
        await peer.delta(2, "A")
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A"]) as (_, counts):
        await eventually(lambda: counts.frames_in == 11, "all frames in")
    letters = [record.payload for record in publisher.of("dlq")]
    assert [letter.reason for letter in letters] == [
        "not_json",
        "binary_frame",
        "unknown_type",
        "not_an_object",
        "frame_too_large",
        "not_json",
        "not_json",
    ]
    raw = [f if isinstance(f, bytes) else f.encode() for f in bad] + [b"\xff\xff"]
    assert [base64.b64decode(letter.raw_base64) for letter in letters] == raw
    assert len({record.idempotency_key for record in publisher.of("dlq")}) == len(letters)
    assert publisher.story()[-2:] == ["delta A 2", "reset:stopped A"]
    sums_up(counts, publisher)


async def test_a_frame_beyond_any_dead_letter_is_a_counted_reconnect_with_resets(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """6 MB cannot be kept; the connection ends, the books are reset, the next session heals them."""

    async def first(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await peer.say("x" * (6 << 20))
        await for_ever()

    async def second(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await for_ever()

    async with scripted_venue(first, second) as server, running(server.url, publisher, ["A"]) as (_, counts):
        await eventually(lambda: counts.frames_in == 6, "the second session")
    assert counts.reconnects >= 1
    assert "reset:disconnect A" in publisher.story()


async def test_a_refused_book_frame_makes_that_book_stale(scripted_venue: Any, publisher: Any, eventually: Any) -> None:
    """A delta with an impossible price took a seq: no gap will show it, so its market is reset and asked for."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await peer.snapshot(2, "B")
        body = {"market_ticker": "A", "price_dollars": "1.0000", "delta_fp": "1.00", "side": "yes"}
        await peer.say({"type": "orderbook_delta", "sid": 1, "seq": 3, "msg": body})
        ask = await peer.command("update_subscription", "get_snapshot")
        assert ask["params"]["market_tickers"] == ["A"]
        await peer.snapshot(4, "A", command_id=ask["id"])
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A", "B"]) as (feed, counts):
        await eventually(lambda: counts.frames_in == 6, "healed")
        assert feed.market_states() == {"A": "live", "B": "live"}
    assert publisher.story()[4:6] == ["reset:dropped A", "snapshot A"]
    assert publisher.of("dlq")[0].payload.reason == "price_out_of_range"
    assert counts.gaps == 0


async def test_a_market_that_does_not_exist_is_reported_and_the_others_go_on(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """Error 16 names it; the acknowledged rest is live."""

    async def venue(peer: Any) -> None:
        command = await peer.command("subscribe")
        for sid, channel in enumerate(command["params"]["channels"], 1):
            await peer.say({"id": command["id"], "type": "subscribed", "msg": {"channel": channel, "sid": sid}})
        error = {"code": 16, "msg": "Market not found", "market_ticker": "NOPE"}
        await peer.say({"id": command["id"], "type": "error", "msg": error})
        await peer.snapshot(1, "A")
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A", "NOPE"]) as (feed, counts):
        await eventually(lambda: counts.frames_in == 4, "all frames in")
        assert feed.market_states() == {"A": "live", "NOPE": "not_found"}


async def test_a_nameless_not_found_is_found_by_halving(scripted_venue: Any, publisher: Any, eventually: Any) -> None:
    """Where the venue refuses the whole command without a name, halves find the bad market."""

    async def venue(peer: Any) -> None:
        sid = 0
        while True:
            command = await peer.command("subscribe")
            tickers = command["params"]["market_tickers"]
            if "NOPE" in tickers:
                await peer.say({"id": command["id"], "type": "error", "msg": {"code": 16, "msg": "not found"}})
                continue
            for channel in command["params"]["channels"]:
                sid += 1
                await peer.say({"id": command["id"], "type": "subscribed", "msg": {"channel": channel, "sid": sid}})
            for seq, ticker in enumerate(tickers, 1):
                await peer.snapshot(seq, ticker, sid=sid - 1)

    expected = {"A": "live", "B": "live", "C": "live", "NOPE": "not_found"}
    async with scripted_venue(venue) as server, running(server.url, publisher, list(expected)) as (feed, _):
        await eventually(lambda: feed.market_states() == expected, "the others are live")


async def test_a_removed_market_is_unsubscribed_then_reset_without_reconnecting(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """reset(removed) comes after the venue confirmed that nothing more of it comes."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await peer.snapshot(2, "B")
        await peer.command("update_subscription", "delete_markets")
        gone = await peer.command("update_subscription", "delete_markets")
        assert gone["params"] == {"sids": [1], "market_tickers": ["B"], "action": "delete_markets"}
        await peer.delta(3, "B")
        await peer.say({"id": gone["id"], "type": "ok", "sid": 1, "seq": 4, "msg": {"market_tickers": ["A"]}})
        await peer.delta(5, "A")
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A", "B"]) as (feed, counts):
        await eventually(lambda: counts.frames_in == 4, "both live")
        feed.set_markets(["A"])
        await eventually(lambda: counts.frames_in == 7, "the rest")
        assert server.connections == 1
    assert publisher.story()[4:] == ["delta B 3", "reset:removed B", "delta A 5", "reset:stopped A"]


async def test_groups_are_bounded(scripted_venue: Any, publisher: Any, eventually: Any) -> None:
    """Five markets at two a subscription are three subscribes, with use_yes_price false in each."""
    commands: list[dict[str, Any]] = []

    async def venue(peer: Any) -> None:
        while True:
            commands.append(await peer.command("subscribe"))

    async with scripted_venue(venue) as server, running(server.url, publisher, list("ABCDE"), group_size=2):
        await eventually(lambda: len(commands) == 3, "three subscribes")
    assert [c["params"]["market_tickers"] for c in commands] == [["A", "B"], ["C", "D"], ["E"]]
    assert all(c["params"]["use_yes_price"] is False for c in commands)
    assert len({c["id"] for c in commands}) == 3


async def test_a_full_publisher_stops_the_reading_and_loses_nothing(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """While the buffer is full the socket is not read; afterwards every frame arrives, in order."""
    deltas = 30_000

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        for seq in range(2, deltas + 2):
            await peer.delta(seq, "A")
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A"]) as (feed, counts):
        await eventually(lambda: counts.frames_in > 100, "it flows")
        publisher.is_full = True
        await eventually(lambda: feed.gauges()["reading_paused"], "reading paused")
        held = counts.frames_in
        await asyncio.sleep(0)
        assert held == counts.frames_in < deltas
        publisher.is_full = False
        publisher.on_room()
        await eventually(lambda: counts.frames_in == deltas + 3, "all frames in")
    assert (counts.gaps, counts.duplicates_ignored) == (0, 0)


async def test_a_bug_in_handling_ends_the_feed(scripted_venue: Any, publisher: Any) -> None:
    """An unexpected exception is ours: it is raised, not swallowed by the protocol."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        await for_ever()

    add: Callable[..., None] = publisher.add

    def broken(topic: str, key: str, value: bytes, ts_ms: int) -> None:
        if b"book_snapshot" in value:
            raise ZeroDivisionError("a bug")
        add(topic, key, value, ts_ms)

    publisher.add = broken
    async with scripted_venue(venue) as server:
        feed = Feed(server.url, None, "me", publisher, FeedCounts(), None, group_size=50, silence_timeout_s=30)
        feed.set_markets(["A"])
        with pytest.raises(Exception, match="handling of a frame") as raised:
            await feed.run()
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


async def test_a_snapshot_request_of_this_session_is_asked_for(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """The book agent's request leads to get_snapshot; one of another session or market is refused."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "A")
        ask = await peer.command("update_subscription", "get_snapshot")
        await peer.snapshot(2, "A", command_id=ask["id"])
        await for_ever()

    async with scripted_venue(venue) as server, running(server.url, publisher, ["A"]) as (feed, counts):
        await eventually(lambda: feed.market_states() == {"A": "live"}, "A is live")
        assert not feed.ask_snapshot("A", "other-1")
        assert not feed.ask_snapshot("B", feed.session_id)
        assert feed.ask_snapshot("A", feed.session_id)
        await eventually(lambda: counts.frames_in == 4, "answered")
