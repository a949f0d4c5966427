"""Private channels that the venue refuses, ends, or leaves unanswered: a reason, another try, and faster polls."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from scripted_feed import for_ever

from producers import private_channels
from producers.account_reporter import AccountReporter
from producers.account_stream import AccountStream
from producers.poll_pace import PollPace
from producers.private_channels import CHANNELS, PrivateChannels

pytestmark = pytest.mark.timeout(180)


@asynccontextmanager
async def listening(url: str, publisher: Any) -> AsyncIterator[AccountStream]:
    """The private channels of a scripted venue, being listened to."""
    stream = AccountStream(url, None, AccountReporter(publisher, "session"), publisher, 25.0)
    task = asyncio.create_task(stream.run())
    try:
        yield stream
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def acknowledge(peer: Any, command: dict[str, Any], sid: int) -> None:
    """Say that the command's channel is heard on this sid."""
    ack = {"channel": command["params"]["channels"][0], "sid": sid}
    await peer.say({"id": command["id"], "type": "subscribed", "msg": ack})


async def accept_all(peer: Any) -> dict[str, int]:
    """Acknowledge all channels; the sid of each."""
    sids: dict[str, int] = {}
    while len(sids) < len(CHANNELS):
        command = await peer.command("subscribe")
        name = command["params"]["channels"][0]
        sids[name] = len(sids) + 1
        await acknowledge(peer, command, sids[name])
    return sids


@pytest.mark.parametrize("refused", CHANNELS)
@pytest.mark.parametrize("code", [8, 9, 17])
async def test_a_refused_channel_is_a_reason_and_asked_for_again_until_it_is_given(
    scripted_venue: Any, publisher: Any, eventually: Any, refused: str, code: int
) -> None:
    """Twice refused, then given; the others are heard meanwhile."""
    allowed = asyncio.Event()
    seen: list[str] = []

    async def venue(peer: Any) -> None:
        refusals = 0
        while len(seen) < len(CHANNELS):
            command = await peer.command("subscribe")
            name = command["params"]["channels"][0]
            if name == refused and refusals < 2:
                refusals += 1
                await peer.say({"id": command["id"], "type": "error", "msg": {"code": code, "msg": "no"}})
                continue
            if name == refused:
                await allowed.wait()
            seen.append(name)
            await acknowledge(peer, command, len(seen))
        await for_ever()

    async with scripted_venue(venue) as server, listening(server.url, publisher) as stream:
        reason = f"private channels not heard, polling meanwhile: {refused} (error {code})"
        await eventually(lambda: stream.problem == reason, reason)
        assert stream.connected
        allowed.set()
        await eventually(lambda: stream.problem is None, "given")
        assert stream.counts["disconnects"] == 0


async def test_a_partial_acknowledgement_is_a_reason_that_names_what_is_missing(
    scripted_venue: Any, publisher: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of three is never answered: it is asked for again, and heard at last."""
    monkeypatch.setattr(private_channels, "ANSWER_TIMEOUT_S", 0.2)
    given = asyncio.Event()

    async def venue(peer: Any) -> None:
        for sid in (1, 2, 3):
            command = await peer.command("subscribe")
            if command["params"]["channels"] != ["fill"]:
                await acknowledge(peer, command, sid)
        while not given.is_set():
            command = await peer.command("subscribe")
            assert command["params"]["channels"] == ["fill"]
        await acknowledge(peer, command, 4)
        await for_ever()

    async with scripted_venue(venue) as server, listening(server.url, publisher) as stream:
        reason = "private channels not heard, polling meanwhile: fill (no answer in 0.2 s)"
        await eventually(lambda: stream.problem == reason, reason)
        given.set()
        await eventually(lambda: stream.problem is None, "acknowledged")


async def test_a_venue_that_acknowledges_nothing_is_left_and_connected_to_anew(
    scripted_venue: Any, publisher: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer at all: after some tries the connection is taken for broken."""
    monkeypatch.setattr(private_channels, "ANSWER_TIMEOUT_S", 0.05)
    monkeypatch.setattr(private_channels, "RETRY_FIRST_S", 0.01)

    async def deaf(_peer: Any) -> None:
        await for_ever()

    async def good(peer: Any) -> None:
        await accept_all(peer)
        await for_ever()

    async with scripted_venue(deaf, good) as server, listening(server.url, publisher) as stream:
        await eventually(lambda: server.connections == 2 and stream.problem is None, "connected anew")
        assert stream.counts["disconnects"] == 1


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize(
    "end", [{"type": "unsubscribed"}, {"type": "error", "msg": {"code": 10}}, {"type": "error", "msg": {"code": 25}}]
)
async def test_a_subscription_that_ends_later_is_a_reason_and_subscribed_again_on_its_own(
    scripted_venue: Any, publisher: Any, eventually: Any, name: str, end: dict[str, Any]
) -> None:
    """The other channels stay as they are, and so does the connection."""
    over, again = asyncio.Event(), asyncio.Event()

    async def venue(peer: Any) -> None:
        sids = await accept_all(peer)
        await over.wait()
        await peer.say({**end, "sid": sids[name], "seq": 7})
        command = await peer.next_command()
        assert command["params"]["channels"] == [name]
        await again.wait()
        await acknowledge(peer, command, 9)
        await for_ever()

    async with scripted_venue(venue) as server, listening(server.url, publisher) as stream:
        await eventually(lambda: stream.problem is None and stream.connected, "heard")
        over.set()
        await eventually(lambda: stream.problem is not None, "a reason")
        assert f": {name} (" in (stream.problem or "")
        again.set()
        await eventually(lambda: stream.problem is None, "heard again")
        assert (stream.counts["disconnects"], server.connections) == (0, 1)


async def test_a_terminal_error_that_names_nothing_ends_the_connection(
    scripted_venue: Any, publisher: Any, eventually: Any
) -> None:
    """Whose subscription is over cannot be told: all are made anew."""

    async def venue(peer: Any) -> None:
        await accept_all(peer)
        if server.connections == 1:
            await peer.say({"type": "error", "msg": {"code": 25, "msg": "overflow"}})
        await for_ever()

    async with scripted_venue(venue) as server, listening(server.url, publisher) as stream:
        await eventually(lambda: server.connections == 2 and stream.problem is None, "connected anew")


def test_retries_back_off_to_a_bound_and_a_channel_that_was_good_is_asked_for_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half a second doubled to thirty; after a minute of hearing it starts from half a second."""
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    channels, now_s, pauses = PrivateChannels(), 0.0, []
    fill, *others = channels.due(now_s)
    for sid, command in enumerate(others):
        channels.acknowledged({"id": command["id"], "msg": {"sid": sid}}, now_s)
    for _ in range(9):
        channels.refused({"id": fill["id"], "msg": {"code": 9}}, now_s)
        refused_s = now_s
        while not (due := channels.due(now_s)):
            now_s += 0.25
        (fill,) = due
        pauses.append(now_s - refused_s)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]

    channels.acknowledged({"id": fill["id"], "msg": {"channel": "fill", "sid": 77}}, now_s)
    assert channels.problem is None
    now_s += private_channels.GOOD_S
    assert channels.ended({"sid": 77}, now_s) == "fill"
    assert len(channels.due(now_s + private_channels.RETRY_FIRST_S)) == 1


async def test_polls_come_sooner_from_the_moment_that_pushes_are_missing() -> None:
    """A pause of an hour ends within the hurried interval, and is an hour again when they are back."""
    missing = False
    pace = PollPace(3_600.0, lambda: missing)
    waiting = asyncio.create_task(pace.wait(time.monotonic() - 1_000))
    done, _ = await asyncio.wait((waiting,), timeout=0.5)
    assert not done
    missing = True  # a fifth of an hour is over for long
    await asyncio.wait_for(waiting, 60)
    missing = False
    later = asyncio.create_task(pace.wait(time.monotonic() - 1_000))
    done, _ = await asyncio.wait((later,), timeout=0.5)
    later.cancel()
    assert not done
