"""Captures served again: the recorded frames and nothing else, numbered anew, cut where the recording was cut."""

import asyncio
import gzip
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from simulator_client import Client, as_truth, client_of, finished, fold, get, post, truth, until

from domain.errors import UserMistake
from venues.simulator.config import FaultSettings, SimConfig
from venues.simulator.server import Simulator, serving

pytestmark = pytest.mark.long

CAPTURES = Path(__file__).parents[3] / "shared" / "data" / "kalshi_ws"
RECORDED = sorted(CAPTURES.glob("*.ndjson.gz"))
DATA = ("orderbook_snapshot", "orderbook_delta", "trade")
recorded = pytest.mark.skipif(not RECORDED, reason="no recorded captures beside the checkout")


def snapshot(ticker: str, seq: int, *yes: tuple[str, str], sid: int = 1) -> dict[str, Any]:
    msg = {"market_ticker": ticker, "market_id": "m", **({"yes_dollars_fp": [list(y) for y in yes]} if yes else {})}
    return {"type": "orderbook_snapshot", "sid": sid, "seq": seq, "msg": msg}


def delta(ticker: str, seq: int, price: str, change: str, sid: int = 1) -> dict[str, Any]:
    msg = {"market_ticker": ticker, "price_dollars": price, "delta_fp": change, "side": "yes", "ts_ms": seq}
    return {"type": "orderbook_delta", "sid": sid, "seq": seq, "msg": msg}


def capture(path: Path, *frames: dict[str, Any], start_ms: int = 1_000, step_ms: int = 1) -> Path:
    lines = [{"recv_ms": start_ms + n * step_ms, "event": frame} for n, frame in enumerate(frames)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def playing(*captures: Path, **more: Any) -> SimConfig:
    return SimConfig(source="capture", captures=captures, **{"speed": 0, **more})


async def play(simulator: Simulator) -> list[Client]:
    """Subscribe to everything, again after each cut, until the end. One client per connection."""
    clients: list[Client] = []
    numbers: list[int] = []
    while not simulator.source.finished:
        async with client_of(simulator) as client:
            clients.append(client)
            await until(lambda: bool(simulator.hub.sessions))
            numbers.append(simulator.hub.sessions[-1].number)
            tickers = sorted(simulator.hub.markets)
            for channel in ("orderbook_delta", "trade"):
                await client.send("subscribe", channels=[channel], market_tickers=tickers)
            await until(lambda c=client: c.closed or simulator.source.finished, 60)  # type: ignore[misc]
            served = await get(simulator, "/admin/status")
            mine = max(c["frames_served"] for c in served["connections"] if c["connection"] == numbers[-1])
            await until(lambda c=client, n=mine: len(c.texts) == n)  # type: ignore[misc]
    return clients


def data_of(frames: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(frame["type"], frame["msg"]) for frame in frames if frame["type"] in DATA]


@recorded
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name.split(".")[0])
async def test_client_gets_exactly_the_recorded_frames(path: Path) -> None:
    """Types and `msg` in order are the file's, seq has no hole, and one connection ends at each recorded reconnect."""
    with gzip.open(path, "rt") as lines:
        frames = [json.loads(line)["event"] for line in lines]
    reconnects = json.loads((path.parents[1] / "expected.json").read_text())
    rebases = reconnects["captures"]["gold/" + path.name.split(".")[0]]["sids"]["1"]["rebases"]
    async with serving(playing(path)) as simulator:
        clients = await play(simulator)
        got = [frame for client in clients for frame in client.frames]
        assert len(clients) == 1 + rebases
        assert data_of(got) == data_of(frames)
        for client in clients:
            for sid in (1, 2):
                seqs = [frame["seq"] for frame in client.of_sid(sid)]
                assert seqs == list(range(1, len(seqs) + 1))
        assert (await get(simulator, "/admin/status"))["recorded_reconnects_served"] == rebases


@recorded
async def test_several_captures_merge_by_receive_time() -> None:
    """All recorded frames of both files, each market's in its file's order."""
    async with serving(playing(*RECORDED[:2])) as simulator:
        clients = await play(simulator)
        status = await get(simulator, "/admin/status")
        assert status["source_frames"] == status["source_frames_total"] == 23_003 + 34_334
    assert sum(len(data_of(client.frames)) for client in clients) == status["source_frames_total"]


async def test_feed_waits_until_every_market_is_subscribed(tmp_path: Path) -> None:
    """With one of two markets nothing is served; the status names the other."""
    path = capture(tmp_path / "c.ndjson", snapshot("KX-A", 5), snapshot("KX-B", 6), delta("KX-A", 7, "0.5000", "1.00"))
    async with serving(playing(path)) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=["orderbook_delta"], market_tickers=["KX-A"])
        status = await get(simulator, "/admin/status")
        assert (status["waiting_for"], status["source_frames"], status["finished"]) == (["KX-B"], 0, False)
        await client.ask("update_subscription", sid=1, action="add_markets", market_tickers=["KX-B"])
        await finished(simulator)
        await until(lambda: len(data_of(client.frames)) == 3)
        markets = (await get(simulator, "/trade-api/v2/markets?status=open"))["markets"]
        assert sorted(market["ticker"] for market in markets) == ["KX-A", "KX-B"]


async def test_recorded_reconnect_cuts_the_connection_before_its_snapshot(tmp_path: Path) -> None:
    """The first client gets all up to the cut and a close; the second begins with the recorded snapshot, no extra."""
    path = capture(
        tmp_path / "c.ndjson",
        snapshot("KX-A", 500, ("0.4000", "10.00")),
        delta("KX-A", 502, "0.4000", "5.00"),
        snapshot("KX-A", 2, ("0.4100", "7.00")),
        delta("KX-A", 9, "0.4100", "1.00"),
    )
    async with serving(playing(path)) as simulator:
        before, after = await play(simulator)
        assert (before.ws.close_code, before.ws.close_reason) == (1001, "the recording was cut here")
        assert [frame["seq"] for frame in before.of_sid(1)] == [1, 2]
        assert [(f["type"], f["seq"]) for f in after.of_sid(1)] == [("orderbook_snapshot", 1), ("orderbook_delta", 2)]
        assert await truth(simulator) == {"KX-A": {"yes": [[4_100, 800]], "no": []}}


async def test_recorded_duplicates_and_swaps_are_no_reconnect(tmp_path: Path) -> None:
    """A lower seq in a delta is served on the same connection."""
    frames = [snapshot("KX-A", 5, ("0.4000", "10.00")), delta("KX-A", 7, "0.4000", "1.00")]
    path = capture(tmp_path / "c.ndjson", *frames, delta("KX-A", 6, "0.4000", "1.00"))
    async with serving(playing(path)) as simulator:
        assert len(await play(simulator)) == 1


async def test_cut_of_one_file_brings_a_snapshot_for_the_markets_of_the_other(tmp_path: Path) -> None:
    """KX-B was recorded elsewhere and has no snapshot after the cut: the simulator sends its truth."""
    one = capture(tmp_path / "a", snapshot("KX-A", 50), delta("KX-A", 51, "0.5000", "1.00"), snapshot("KX-A", 1))
    two = capture(
        tmp_path / "b",
        snapshot("KX-B", 7, ("0.3000", "2.00")),
        *(delta("KX-B", n, "0.3000", "1.00") for n in range(8, 12)),
    )
    async with serving(playing(one, two)) as simulator:
        _, after = await play(simulator)
        kinds = [(f["type"], f["msg"]["market_ticker"]) for f in after.of_sid(1)]
        assert kinds[0] == ("orderbook_snapshot", "KX-B")
        assert ("orderbook_snapshot", "KX-A") in kinds
        assert as_truth(fold(after.frames)) == await truth(simulator)


async def test_lost_client_goes_on_where_it_stopped_after_fresh_snapshots(tmp_path: Path) -> None:
    """A client that leaves in the middle and comes back ends with the recording's books."""
    frames = [snapshot("KX-A", 1), *(delta("KX-A", n, f"0.{n % 40 + 10}00", "1.00") for n in range(2, 3_000))]
    async with serving(playing(capture(tmp_path / "c", *frames), speed=1.0)) as simulator:
        async with client_of(simulator) as first:
            await first.ask("subscribe", channels=["orderbook_delta"], market_tickers=["KX-A"])
            await until(lambda: len(first.frames) > 50)
        await until(lambda: not simulator.hub.sessions)
        stopped = (await get(simulator, "/admin/status"))["source_frames"]
        assert stopped < 3_000
        async with client_of(simulator) as second:
            await second.ask("subscribe", channels=["orderbook_delta"], market_tickers=["KX-A"])
            status = await finished(simulator)
            await until(lambda: len(second.texts) == status["connections"][-1]["frames_served"])
            assert second.of_sid(1)[0]["type"] == "orderbook_snapshot"
            # The frame under way when the first client left may have been played after we asked.
            assert 2_999 - len(second.of_type("orderbook_delta")) in (stopped, stopped + 1)
            assert as_truth(fold(second.frames)) == await truth(simulator)


async def test_viewer_that_leaves_changes_nothing_for_the_others(tmp_path: Path) -> None:
    """A second client comes and goes in the middle; after the recorded cut there is still no snapshot of ours."""
    frames = [snapshot("KX-A", 101), *(delta("KX-A", n, "0.4000", "1.00") for n in range(102, 600))]
    path = capture(tmp_path / "c", *frames, snapshot("KX-A", 1, ("0.4100", "7.00")), step_ms=2)
    async with serving(playing(path, speed=1.0)) as simulator:
        playing_on = asyncio.create_task(play(simulator))
        await until(lambda: simulator.hub.source_frames["orderbook_delta"] > 20)
        async with client_of(simulator) as viewer:
            await viewer.ask("subscribe", channels=["orderbook_delta"], market_tickers=["KX-A"])
            await viewer.first(lambda frame: frame["type"] == "orderbook_delta")
        before, after = await playing_on
        assert len(before.of_sid(1)) == 499
        assert len(after.of_sid(1)) == 1


async def test_feed_that_waits_for_any_starts_with_the_first_market(tmp_path: Path) -> None:
    """With --wait any the frames of unsubscribed markets pass unheard, and are counted."""
    path = capture(tmp_path / "c", snapshot("KX-A", 1), snapshot("KX-B", 2), delta("KX-A", 3, "0.5000", "1.00"))
    async with serving(playing(path, wait="any")) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=["orderbook_delta"], market_tickers=["KX-A"])
        status = await finished(simulator)
        assert status["not_subscribed"] == {"orderbook_delta": 1}
        await until(lambda: len(client.of_sid(1)) == 2)


async def test_asked_for_snapshots_come_with_the_subscription(tmp_path: Path) -> None:
    """--add-snapshots sends one before any recorded frame; get_snapshot works at any time."""
    path = capture(tmp_path / "c", snapshot("KX-A", 5, ("0.4000", "1.00")))
    async with serving(playing(path, add_snapshots=True)) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=["orderbook_delta"], market_tickers=["KX-A"])
        await finished(simulator)
        asked = await client.ask("update_subscription", sid=1, action="get_snapshot", market_ticker="KX-A")
        assert [frame["seq"] for frame in client.of_type("orderbook_snapshot")] == [1, 2, 3]
        assert asked["msg"]["yes_dollars_fp"] == [["0.4000", "1.00"]]


async def test_recorded_garbage_is_served_as_it_stands_and_acks_are_left_out(tmp_path: Path) -> None:
    """Text that is no frame and unknown types go out unchanged, in place; the recording's own acks do not."""
    path = tmp_path / "c.ndjson"
    lines: list[dict[str, Any]] = [
        {"recv_ms": 1, "event": {"id": 1, "type": "subscribed", "msg": {"channel": "orderbook_delta", "sid": 1}}},
        {"recv_ms": 2, "event": snapshot("KX-A", 1)},
        {"recv_ts_ns": 3_000_000, "raw": "garbage \x01"},
        {"recv_ms": 4, "event": {"type": "new_thing", "x": 1}},
        {"recv_ts_ns": 5_000_000, "raw_base64": "AP8="},
        {"recv_ms": 6, "event": delta("KX-A", 2, "0.5000", "1.00")},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    async with serving(playing(path)) as simulator:
        (client,) = await play(simulator)
        assert client.texts[3] == "garbage \x01"
        assert json.loads(client.texts[4]) == {"type": "new_thing", "x": 1}
        assert client.texts[5] == b"\x00\xff"
        assert [f["seq"] for f in client.of_sid(1)] == [1, 2]
        assert len(client.of_type("subscribed")) == 2


async def test_speed_follows_the_recorded_times(tmp_path: Path) -> None:
    """Frames two recorded minutes apart are not served at speed 1, and are at once at speed 0."""
    path = capture(tmp_path / "c", snapshot("KX-A", 1), snapshot("KX-A", 2), step_ms=120_000)
    async with serving(playing(path, speed=1.0)) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=["orderbook_delta"], market_tickers=["KX-A"])
        await client.first(lambda frame: frame["type"] == "orderbook_snapshot")
        assert (await get(simulator, "/admin/status"))["source_frames"] == 1
    async with serving(playing(path, speed=0)) as simulator:
        assert len(data_of((await play(simulator))[0].frames)) == 2


async def test_slow_reader_loses_nothing_and_holds_the_feed_back(tmp_path: Path) -> None:
    """A client that reads nothing for a while: the feed stands still, later every frame arrives."""
    frames = [snapshot("KX-A", 1), *(delta("KX-A", n, f"0.{n % 40 + 10}00", "1.00") for n in range(2, 40_000))]
    async with serving(playing(capture(tmp_path / "c", *frames))) as simulator, AsyncExitStack() as stack:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port, limit=1 << 16)
        stack.callback(writer.close)
        writer.write(
            b"GET /trade-api/ws/v2 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        command = b'{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_ticker":"KX-A"}}'
        writer.write(b"\x81" + bytes([0x80 | len(command)]) + b"\0\0\0\0" + command)
        await until(lambda: bool(simulator.hub.sessions) and simulator.hub.sessions[0].waiting_bytes() > 500_000)
        assert not simulator.source.finished
        seen = 0
        while seen < 40_000:  # the ack and 39,999 frames
            await reader.readuntil(b'"type":')
            seen += 1
        await until(lambda: simulator.source.finished)


async def test_disconnects_in_a_capture_end_with_the_recordings_books(tmp_path: Path) -> None:
    """Every 400th frame cuts the line; the client comes back; the tail is clean and the books are right."""
    frames = [snapshot("KX-A", 1), *(delta("KX-A", n, f"0.{n % 40 + 10}00", "1.00") for n in range(2, 3_000))]
    faults = FaultSettings(disconnect_every=400, clean_tail_frames=500)
    async with serving(playing(capture(tmp_path / "c", *frames), faults=faults)) as simulator:
        clients = await play(simulator)
        status = await get(simulator, "/admin/status")
        assert status["faults"]["disconnect"] == len(clients) - 1 == 6
        assert as_truth(fold(clients[-1].frames)) == await truth(simulator)
        assert (await post(simulator, "/admin/faults", {"disconnect_every": 0}))["disconnect_every"] == 0


async def test_missing_capture_is_a_users_mistake(tmp_path: Path) -> None:
    """One line with the file's name."""
    with pytest.raises(UserMistake, match="nowhere"):
        async with serving(playing(tmp_path / "nowhere.ndjson")):
            pass
