"""The simulator's WebSocket side, spoken to by a real client."""

import dataclasses
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from simulator_client import Client, as_truth, client_of, finished, fold, get, make_key, post, signed, truth, until
from websockets.exceptions import InvalidStatus

from venues.simulator.config import SimConfig
from venues.simulator.server import WS_PATH, serving

QUIET = SimConfig(rate=200, seed=7, strikes=3, frames=0)  # a venue where nothing happens by itself
BOOK = "orderbook_delta"


async def test_right_signature_is_let_in_and_wrong_ones_get_401(tmp_path: Path) -> None:
    """Only key k1, signed with its key, salt 32, right path and fresh time passes."""
    key, public = make_key(tmp_path)
    stranger = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    config = dataclasses.replace(QUIET, public_key=public, key_id="k1", clock_skew_s=10)
    refused = [
        None,
        signed(stranger),
        signed(key, key_id="k2"),
        signed(key, off_ms=-11_000),
        signed(key, off_ms=60_000),
        signed(key, path="/trade-api/v2/markets"),
        signed(key, salt=222),
        {**signed(key), "KALSHI-ACCESS-SIGNATURE": "%%%"},
        {**signed(key), "KALSHI-ACCESS-TIMESTAMP": "soon"},
    ]
    async with serving(config) as simulator:
        for headers in refused:
            with pytest.raises(InvalidStatus) as status:
                async with client_of(simulator, headers):
                    pass
            assert status.value.response.status_code == 401
        async with client_of(simulator, signed(key)) as client:
            assert (await client.ask("list_subscriptions"))["msg"] == []
        assert (await get(simulator, "/admin/status"))["refused_401"] == len(refused)


async def test_one_subscribe_gives_one_ack_and_one_sid_per_channel(tmp_path: Path) -> None:
    """Sids count from 1, all acks carry the command's id, an unknown channel is error 8 beside them."""
    async with serving(QUIET) as simulator, client_of(simulator) as client:
        tickers = sorted(simulator.hub.markets)
        number = await client.send("subscribe", channels=[BOOK, "nonsense", "trade"], market_tickers=tickers)
        await until(lambda: len([f for f in client.frames if f.get("id") == number]) == 3)
        answers = [f for f in client.frames if f.get("id") == number]
        acks = [f["msg"] for f in answers if f["type"] == "subscribed"]
        assert acks == [{"channel": BOOK, "sid": 1}, {"channel": "trade", "sid": 2}]
        assert [f["msg"]["code"] for f in answers if f["type"] == "error"] == [8]
        assert (await client.ask("list_subscriptions"))["msg"] == acks


async def test_seq_is_one_counter_per_sid_shared_by_its_markets_and_acks() -> None:
    """Snapshots, deltas, `ok` and `unsubscribed` of a sid count 1, 2, 3 without a hole; trades count on their own."""
    async with serving(dataclasses.replace(QUIET, frames=2_000, rate=0)) as simulator, client_of(simulator) as client:
        tickers = sorted(simulator.hub.markets)
        await client.send("subscribe", channels=[BOOK, "trade"], market_tickers=tickers)
        await client.ask("update_subscription", sids=[1], action="delete_markets", market_tickers=tickers[:1])
        await client.ask("update_subscription", sid=1, action="add_markets", market_tickers=tickers[:1])
        await finished(simulator)
        gone = await client.ask("unsubscribe", sids=[1])
        assert gone["type"] == "unsubscribed"
        for sid, least in ((1, 200), (2, 20)):
            seqs = [frame["seq"] for frame in client.of_sid(sid)]
            assert seqs == list(range(1, len(seqs) + 1))
            assert len(seqs) > least


async def test_snapshots_then_deltas_fold_to_the_simulators_own_truth() -> None:
    """Every book of the client equals /admin/books at the end; none was ever negative or crossed."""
    async with serving(dataclasses.replace(QUIET, frames=5_000, rate=0)) as simulator, client_of(simulator) as client:
        tickers = sorted(simulator.hub.markets)
        await client.send("subscribe", channels=[BOOK], market_tickers=tickers)
        status = await finished(simulator)
        await until(lambda: len(client.texts) == status["connections"][0]["frames_served"])
        assert as_truth(fold(client.frames)) == await truth(simulator)
        assert any(book.yes and book.no for book in fold(client.frames).values())


async def test_get_snapshot_answers_with_the_request_id_and_changes_nothing() -> None:
    """The answer is the truth, takes the sid's next seq, and the subscription goes on."""
    async with serving(QUIET) as simulator, client_of(simulator) as client:
        ticker = sorted(simulator.hub.markets)[0]
        await client.send("subscribe", channels=[BOOK], market_ticker=ticker)
        answer = await client.ask("update_subscription", sids=[1], action="get_snapshot", market_ticker=ticker)
        assert (answer["type"], answer["sid"], answer["seq"]) == ("orderbook_snapshot", 1, 2)
        assert as_truth(fold([answer]))[ticker] == (await truth(simulator))[ticker]
        assert len((await client.ask("list_subscriptions"))["msg"]) == 1


async def test_deleted_markets_are_silent_and_added_ones_start_with_a_snapshot() -> None:
    """After delete_markets no frame of the market; add_markets acks with all tickers, then sends its snapshot."""
    async with serving(QUIET) as simulator, client_of(simulator) as client:
        first, second, *_ = sorted(simulator.hub.markets)
        await client.ask("subscribe", channels=[BOOK], market_ticker=first)
        added = await client.ask("update_subscription", sid=1, action="add_markets", market_ticker=second)
        assert (added["type"], added["seq"], added["msg"]) == ("ok", 2, {"market_tickers": [first, second]})
        snapshot = await client.first(lambda f: f["type"] == "orderbook_snapshot" and f["seq"] == 3)
        assert snapshot["msg"]["market_ticker"] == second
        left = await client.ask("update_subscription", sid=1, action="delete_markets", market_ticker=first)
        assert left["msg"] == {"market_tickers": [second]}
        for market in (first, second):
            side = simulator.hub.markets[market].book
            price_e4 = max(side.yes or {100: 1})
            simulator.hub.delta(simulator.hub.markets[market], "yes", price_e4, 100, 1_700_000_000_000)
        simulator.hub.flush()
        delta = await client.first(lambda f: f["type"] == "orderbook_delta")
        assert (delta["msg"]["market_ticker"], delta["seq"]) == (second, 5)
        assert len(client.of_type("orderbook_delta")) == 1


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("no json", 1),
        ("[1]", 1),
        ('{"id":4,"cmd":"dance","params":{}}', 5),
        ('{"id":4,"cmd":["dance"],"params":{}}', 5),
        ('{"id":4,"cmd":"subscribe"}', 2),
        ('{"id":4,"cmd":"subscribe","params":{}}', 3),
        ('{"id":4,"cmd":"subscribe","params":{"channels":["orderbook_delta"]}}', 14),
        ('{"id":4,"cmd":"subscribe","params":{"channels":["nope"]}}', 8),
        ('{"id":4,"cmd":"subscribe","params":{"channels":["trade"],"market_ticker":"A","market_tickers":["B"]}}', 11),
        ('{"id":4,"cmd":"subscribe","params":{"channels":["trade"],"market_tickers":[1]}}', 11),
        ('{"id":4,"cmd":"subscribe","params":{"channels":["trade"],"use_yes_price":true}}', 11),
        ('{"id":4,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_ticker":"KXNONE-1"}}', 16),
        ('{"id":4,"cmd":"unsubscribe","params":{}}', 4),
        ('{"id":4,"cmd":"unsubscribe","params":{"sids":[9]}}', 7),
        ('{"id":4,"cmd":"update_subscription","params":{"sids":[1,2],"action":"add_markets"}}', 12),
        ('{"id":4,"cmd":"update_subscription","params":{"sids":[9],"action":"add_markets"}}', 7),
        ('{"id":4,"cmd":"update_subscription","params":{"sids":[1]}}', 15),
        ('{"id":4,"cmd":"update_subscription","params":{"sids":[1],"action":"paint"}}', 13),
        ('{"id":4,"cmd":"update_subscription","params":{"sids":[1],"action":"add_markets"}}', 14),
    ],
)
async def test_wrong_commands_get_their_error_code_and_the_connection_lives(command: str, code: int) -> None:
    """The answer carries the id when there was one; the next command works."""
    async with serving(QUIET) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=["trade"])
        await client.ws.send(command)
        error = await client.first(lambda frame: frame["type"] == "error")
        assert error["msg"]["code"] == code
        assert error.get("id") == (4 if code != 1 else None)
        assert len((await client.ask("list_subscriptions"))["msg"]) == 1


async def test_unknown_market_is_reported_and_the_others_are_subscribed() -> None:
    """Error 16 names the market; the known one gets its snapshot."""
    async with serving(QUIET) as simulator, client_of(simulator) as client:
        ticker = sorted(simulator.hub.markets)[0]
        ack = await client.ask("subscribe", channels=[BOOK], market_tickers=["KXNONE-1", ticker])
        assert ack["type"] == "subscribed"
        error = await client.first(lambda frame: frame["type"] == "error")
        assert (error["msg"]["code"], error["msg"]["market_ticker"]) == (16, "KXNONE-1")
        assert (await client.first(lambda f: f["type"] == "orderbook_snapshot"))["msg"]["market_ticker"] == ticker


async def test_market_limit_of_a_subscription_is_error_26() -> None:
    """One market more than allowed refuses the whole command."""
    async with serving(dataclasses.replace(QUIET, max_markets_per_sub=2)) as simulator, client_of(simulator) as client:
        tickers = sorted(simulator.hub.markets)
        assert (await client.ask("subscribe", channels=[BOOK], market_tickers=tickers[:3]))["msg"]["code"] == 26
        await client.ask("subscribe", channels=[BOOK], market_tickers=tickers[:2])
        grown = await client.ask("update_subscription", sid=1, action="add_markets", market_tickers=tickers[2:3])
        assert grown["msg"]["code"] == 26


async def test_sids_restart_at_one_on_each_connection_and_id_zero_is_no_id() -> None:
    """Two connections both have sid 1; an answer to id 0 carries no id."""
    async with serving(QUIET) as simulator, client_of(simulator) as one, client_of(simulator) as two:
        for client in (one, two):
            await client.ws.send('{"id":0,"cmd":"subscribe","params":{"channels":["trade"]}}')
            ack = await client.first(lambda frame: frame["type"] == "subscribed")
            assert ack == {"type": "subscribed", "msg": {"channel": "trade", "sid": 1}}


async def test_ticker_has_no_seq_and_begins_with_the_present_state_on_request() -> None:
    """One ticker frame per market at the subscription."""
    async with serving(QUIET) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=["ticker"], send_initial_snapshot=True)
        await until(lambda: len(client.of_type("ticker")) == len(simulator.hub.markets))
        assert all("seq" not in frame for frame in client.of_type("ticker"))


async def test_venue_pings_with_the_body_heartbeat() -> None:
    """The Ping's payload is `heartbeat`, at the set interval."""
    async with (
        serving(dataclasses.replace(QUIET, ping_interval_s=0.05)) as simulator,
        aiohttp.ClientSession() as http,
        http.ws_connect(f"http://127.0.0.1:{simulator.port}{WS_PATH}", autoping=False) as ws,
    ):
        for _ in range(2):
            message = await ws.receive(timeout=90)
            assert (message.type, message.data) == (aiohttp.WSMsgType.PING, b"heartbeat")
            await ws.pong(message.data)


async def test_market_added_now_is_announced_and_settled_now_is_emptied(tmp_path: Path) -> None:
    """POST /admin/markets: lifecycle created; at settlement cancels, an empty snapshot, determined, settled."""
    async with serving(QUIET) as simulator, client_of(simulator) as client:
        await client.ask("subscribe", channels=["market_lifecycle_v2"])
        assert (await post(simulator, "/admin/markets", {"add": "KXNEW-1-T5"}))["done"] is True
        assert (await post(simulator, "/admin/markets", {"add": "KXNEW-1-T5"}))["done"] is False
        await client.ask("subscribe", channels=[BOOK], market_ticker="KXNEW-1-T5")
        assert (await post(simulator, "/admin/markets", {"settle": "KXNEW-1-T5", "result": "yes"}))["done"] is True
        await client.first(lambda f: f["msg"].get("event_type") == "settled")
        kinds = [f["msg"]["event_type"] for f in client.of_type("market_lifecycle_v2")]
        assert kinds == ["created", "determined", "settled"]
        await until(lambda: _emptied(client))
        market = (await get(simulator, "/trade-api/v2/markets/KXNEW-1-T5"))["market"]
        assert (market["status"], market["result"]) == ("finalized", "yes")


def _emptied(client: Client) -> bool:
    last = [f for f in client.frames if f["type"] == "orderbook_snapshot"][-1]
    return last["seq"] > 1 and not last["msg"].get("yes_dollars_fp") and not last["msg"].get("no_dollars_fp")
