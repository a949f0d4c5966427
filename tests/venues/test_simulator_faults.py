"""Each fault on demand: what the client sees of it, that the sequence betrays it, that the truth stays the truth."""

import asyncio
import dataclasses
import json
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from simulator_client import Client, as_truth, client_of, finished, fold, get, post, truth, until
from websockets.exceptions import InvalidStatus

from venues.simulator.admin import ADMIN_HEADER
from venues.simulator.config import FaultSettings, SimConfig
from venues.simulator.server import Simulator, serving

BOOK = "orderbook_delta"
STREAM = SimConfig(rate=0, frames=3_000, seed=11, strikes=3)


def faulty(**faults: Any) -> SimConfig:
    return dataclasses.replace(STREAM, faults=FaultSettings(clean_tail_frames=300, **faults))


async def served(simulator: Simulator, client: Client, channels: tuple[str, ...] = (BOOK,)) -> dict[str, Any]:
    """Subscribe to all, wait for the last frame, return the status."""
    await client.send("subscribe", channels=list(channels), market_tickers=sorted(simulator.hub.markets))
    status = await finished(simulator)
    await until(lambda: len(client.texts) == status["connections"][0]["frames_served"])
    return status


async def healed(client: Client, simulator: Simulator) -> dict[str, Any]:
    """The client's books after a get_snapshot of every market, in the form of the truth."""
    for ticker in sorted(simulator.hub.markets):
        await client.ask("update_subscription", sid=1, action="get_snapshot", market_ticker=ticker)
    return as_truth(fold([f for f in client.frames if f["type"] == "orderbook_snapshot"]))


def holes(client: Client) -> list[int]:
    """Sequence numbers of sid 1 that never came."""
    seqs = {frame["seq"] for frame in client.of_sid(1)}
    return sorted(set(range(1, max(seqs) + 1)) - seqs)


async def test_dropped_frames_leave_holes_that_the_status_names() -> None:
    """Each hole in seq is one noted gap, none in the tail, and a snapshot gives the truth."""
    async with serving(faulty(drop_every=250)) as simulator, client_of(simulator) as client:
        status = await served(simulator, client)
        assert holes(client) == [gap["seq"] for gap in status["gaps"]]
        assert status["frames_dropped"] == len(status["gaps"]) > 5
        assert {gap["kind"] for gap in status["gaps"]} == {"drop"}
        assert client.of_sid(1)[-1]["seq"] - status["gaps"][-1]["seq"] >= 200
        assert await healed(client, simulator) == await truth(simulator)


async def test_duplicated_frames_come_twice_with_one_seq() -> None:
    """Nothing is missing; ignoring what was seen gives the truth."""
    async with serving(faulty(duplicate_every=250)) as simulator, client_of(simulator) as client:
        status = await served(simulator, client)
        seqs = [frame["seq"] for frame in client.of_sid(1)]
        assert len(seqs) - len(set(seqs)) == status["faults"]["duplicate"] > 5
        assert holes(client) == []
        assert as_truth(fold(client.frames)) == await truth(simulator)


async def test_reordered_frames_swap_with_the_next_of_their_sid() -> None:
    """n + 1 comes before n; sorted by seq nothing is missing."""
    async with serving(faulty(reorder_every=250)) as simulator, client_of(simulator) as client:
        status = await served(simulator, client)
        seqs = [frame["seq"] for frame in client.of_sid(1)]
        swapped = [after for before, after in pairwise(seqs) if after < before]
        assert swapped == [gap["seq"] for gap in status["gaps"]]
        assert len(swapped) > 5
        assert sorted(seqs) == list(range(1, len(seqs) + 1))
        in_order = sorted(client.of_sid(1), key=lambda frame: frame["seq"])
        assert as_truth(fold(in_order)) == await truth(simulator)


async def test_garbage_replaces_frames_or_comes_on_top() -> None:
    """Replaced frames are holes or no deltas; extra garbage costs nothing."""
    async with serving(faulty(garbage_every=200, garbage_kind="replace")) as simulator, client_of(simulator) as client:
        status = await served(simulator, client)
        assert status["frames_by_type"]["garbage"] == len(status["gaps"]) > 7
        spoiled = [f["seq"] for f in client.of_sid(1) if f["msg"].get("side") == 7]
        assert set(holes(client)) <= {gap["seq"] for gap in status["gaps"]}
        assert spoiled
        assert {*holes(client), *spoiled} == {gap["seq"] for gap in status["gaps"]}
        assert any(isinstance(text, bytes) for text in client.texts)
    async with serving(faulty(garbage_every=200, garbage_kind="extra")) as simulator, client_of(simulator) as client:
        status = await served(simulator, client)
        assert status["frames_by_type"]["garbage"] > 7
        assert (holes(client), status["gaps"]) == ([], [])
        known = [frame for frame in client.frames if "sid" in frame]
        assert as_truth(fold(known)) == await truth(simulator)


async def test_disconnects_end_the_connection_and_fresh_snapshots_give_the_truth() -> None:
    """Every 500th frame; each new connection starts at sid 1, seq 1."""
    async with serving(faulty(disconnect_every=500)) as simulator:
        clients: list[Client] = []
        while not simulator.source.finished:
            async with client_of(simulator) as client:
                clients.append(client)
                await client.send("subscribe", channels=[BOOK], market_tickers=sorted(simulator.hub.markets))
                await until(lambda c=client: c.closed or simulator.source.finished)  # type: ignore[misc]
                last = (await get(simulator, "/admin/status"))["connections"][-1]["frames_served"]
                await until(lambda c=client, n=last: len(c.texts) == n)  # type: ignore[misc]
                assert client.of_sid(1)[0]["seq"] == 1
        status = await get(simulator, "/admin/status")
        assert status["faults"]["disconnect"] == len(clients) - 1 > 3
        assert all(client.ws.close_code == 1006 for client in clients[:-1])
        assert as_truth(fold(clients[-1].frames)) == await truth(simulator)


async def test_equal_periods_of_all_kinds_still_show_every_kind() -> None:
    """The kinds are shifted against each other."""
    every = {f"{kind}_every": 400 for kind in ("drop", "duplicate", "reorder", "garbage")}
    async with serving(faulty(**every)) as simulator, client_of(simulator) as client:
        status = await served(simulator, client)
        assert set(status["faults"]) == {"drop", "duplicate", "reorder", "garbage"}


async def test_faults_can_be_kept_to_one_channel() -> None:
    """Only trades are dropped: the book's seq has no hole."""
    async with serving(faulty(drop_every=10, channels=("trade",))) as simulator, client_of(simulator) as client:
        status = await served(simulator, client, (BOOK, "trade"))
        assert {gap["channel"] for gap in status["gaps"]} == {"trade"}
        assert holes(client) == []


async def test_silence_holds_frames_and_pings_back_and_loses_nothing() -> None:
    """While silent nothing arrives, not even an answer; afterwards everything does."""
    config = dataclasses.replace(STREAM, frames=None, rate=500)
    async with serving(config) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=[BOOK], market_tickers=sorted(simulator.hub.markets))
        await post(simulator, "/admin/faults", {"silence_s": 0.6})
        number = await client.send("list_subscriptions")
        await asyncio.wait_for(_still(client, simulator), 10)
        assert not any(frame.get("id") == number for frame in client.frames)
        await client.first(lambda frame: frame.get("id") == number)
        assert holes(client) == []


async def _still(client: Client, simulator: Simulator) -> None:
    """Wait for the end of the silence; the client must not get anything before it."""
    seen = len(client.texts)
    while simulator.hub.faults.silent():
        before_check = len(client.texts)
        assert before_check == seen or not simulator.hub.faults.silent()
        seen = before_check
        await asyncio.sleep(0)


@pytest.mark.parametrize("code", [10, 25])
async def test_terminal_error_ends_the_subscription_and_a_new_one_works(code: int) -> None:
    """The error names sid and seq; the sid is gone; subscribing again gives the next sid and the truth."""
    async with serving(dataclasses.replace(STREAM, frames=0)) as simulator, client_of(simulator) as client:
        tickers = sorted(simulator.hub.markets)
        await client.ask("subscribe", channels=[BOOK, "trade"], market_tickers=tickers)
        answer = await post(simulator, "/admin/faults", {"error_code": code, "sid": 1})
        assert answer["told"] == 1
        error = await client.first(lambda frame: frame["type"] == "error")
        assert (error["sid"], error["msg"]["code"], error["seq"]) == (1, code, len(tickers) + 1)
        assert (await client.ask("list_subscriptions"))["msg"] == [{"channel": "trade", "sid": 2}]
        again = await client.ask("subscribe", channels=[BOOK], market_tickers=tickers)
        assert again["msg"]["sid"] == 3
        await until(lambda: len(client.of_sid(3)) == len(tickers))
        assert as_truth(fold(client.of_sid(3))) == await truth(simulator)


async def test_other_error_codes_are_only_told() -> None:
    """Code 18 on all sids leaves the subscriptions alone."""
    async with serving(dataclasses.replace(STREAM, frames=0)) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=[BOOK], market_tickers=sorted(simulator.hub.markets))
        await post(simulator, "/admin/faults", {"error_code": 18})
        await client.first(lambda frame: frame["type"] == "error")
        assert len((await client.ask("list_subscriptions"))["msg"]) == 1


async def test_close_code_reaches_the_client() -> None:
    """The WebSocket is closed with the code asked for."""
    async with serving(dataclasses.replace(STREAM, frames=0)) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=["trade"])
        assert (await post(simulator, "/admin/faults", {"close_code": 1013}))["told"] == 1
        await until(lambda: client.closed)
        assert client.ws.close_code == 1013
        assert simulator.hub.sessions == []


async def test_unauthorized_from_now_on_refuses_new_connections_and_rest() -> None:
    """401 until it is taken back; the open connection lives."""
    async with serving(dataclasses.replace(STREAM, frames=0)) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=["trade"])
        await post(simulator, "/admin/faults", {"unauthorized": True})
        with pytest.raises(InvalidStatus):
            async with client_of(simulator):
                pass
        assert (await get(simulator, "/trade-api/v2/markets"))["code"] == "authentication_error"
        assert len((await client.ask("list_subscriptions"))["msg"]) == 1
        await post(simulator, "/admin/faults", {"unauthorized": False})
        async with client_of(simulator):
            pass


async def test_any_text_bytes_and_size_can_be_injected() -> None:
    """A given text, a binary frame, and 4 MB of nothing arrive as they are."""
    async with serving(dataclasses.replace(STREAM, frames=0)) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=["trade"])
        body = {"inject_text": '{"a":NaN}', "inject_binary_base64": "AAH/", "inject_bytes": 4 << 20}
        assert (await post(simulator, "/admin/faults", body))["told"] == 3
        await until(lambda: len(client.texts) == 4)
        assert client.texts[1:3] == ['{"a":NaN}', b"\x00\x01\xff"]
        assert len(client.texts[3]) == 4 << 20


@pytest.mark.parametrize("body", ["[]", "{", '{"drop_every":"x"}', '{"nonsense":1}', '{"inject_binary_base64":"%"}'])
async def test_wrong_fault_requests_are_a_400_and_change_nothing(body: str) -> None:
    """The faults in force stay what they were."""
    async with serving(faulty(drop_every=77)) as simulator, aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{simulator.port}/admin/faults"
        headers = {ADMIN_HEADER: simulator.admin_token, "Content-Type": "application/json"}
        async with http.post(url, data=body, headers=headers) as answer:
            assert answer.status == 400
        assert (await get(simulator, "/admin/faults"))["drop_every"] == 77


async def test_slow_feed_keeps_to_the_rate_asked_for() -> None:
    """Taken back, the feed goes on at full speed to its end."""
    config = dataclasses.replace(STREAM, faults=FaultSettings(slow_frames_per_s=50))
    async with serving(config) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=[BOOK], market_tickers=sorted(simulator.hub.markets))
        await until(lambda: len(client.of_type(BOOK)) >= 10)
        assert not simulator.source.finished
        await post(simulator, "/admin/faults", {"slow_frames_per_s": 0})
        await finished(simulator)


async def test_send_times_can_be_joined_by_sid_and_seq() -> None:
    """With stamping every sequenced frame has one row, and `since` pages through them."""
    config = dataclasses.replace(STREAM, stamp_us=True)
    async with serving(config) as simulator, client_of(simulator) as client:
        await served(simulator, client)
        first = await get(simulator, "/admin/sent")
        stamped = {(sid, seq) for _, sid, seq, _ in first["sent"]}
        assert stamped == {(1, frame["seq"]) for frame in client.of_sid(1)}
        times = [sent_ns for *_, sent_ns in first["sent"]]
        assert times == sorted(times)
        rest = await get(simulator, f"/admin/sent?since={first['next'] - 5}")
        assert rest["sent"] == first["sent"][-5:]
        assert json.dumps(rest)
