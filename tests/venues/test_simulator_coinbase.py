"""Coinbase's feed as the simulator speaks it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from venues.simulator import coinbase
from venues.simulator.config import SimConfig
from venues.simulator.server import serving

QUIET = SimConfig(frames=0, strikes=1)


@asynccontextmanager
async def feed() -> AsyncIterator[ClientConnection]:
    async with serving(QUIET) as simulator, connect(f"ws://127.0.0.1:{simulator.port}/coinbase") as ws:
        yield ws


async def read(ws: ClientConnection, wanted: int, kind: str) -> list[dict[str, Any]]:
    """All frames until `wanted` of one kind were seen."""
    frames: list[dict[str, Any]] = []
    async with asyncio.timeout(90):
        while sum(frame["type"] == kind for frame in frames) < wanted:
            frames.append(json.loads(await ws.recv()))
    return frames


async def test_ticker_matches_and_heartbeat_come_after_the_acknowledgement() -> None:
    """Sequence rises with holes; a ticker shows the taker's side, its match the maker's."""
    async with feed() as ws:
        channels = ["ticker", "heartbeat", "matches"]
        await ws.send(json.dumps({"type": "subscribe", "product_ids": ["BTC-USD"], "channels": channels}))
        frames = await read(ws, 2, "heartbeat")
        assert frames[0]["type"] == "subscriptions"
        assert {channel["name"] for channel in frames[0]["channels"]} == set(channels)
        matches = {f["trade_id"]: f for f in frames if f["type"] == "match"}
        tickers = [f for f in frames if f["type"] == "ticker"]
        sequences = [ticker["sequence"] for ticker in tickers]
        assert sequences == sorted(set(sequences))
        for ticker in tickers:
            match = matches[ticker["trade_id"]]
            assert match["side"] != ticker["side"]
            assert match["price"] == ticker["price"]
            assert Decimal(ticker["best_bid"]) < Decimal(ticker["best_ask"])


async def test_last_match_is_sent_once_on_subscribing() -> None:
    """It repeats a trade that was already there."""
    async with feed() as ws:
        await ws.send('{"type":"subscribe","product_ids":["BTC-USD"],"channels":["ticker"]}')
        await read(ws, 2, "ticker")
        await ws.send('{"type":"subscribe","product_ids":["BTC-USD"],"channels":[{"name":"matches"}]}')
        frames = await read(ws, 3, "match")
        assert sum(frame["type"] == "last_match" for frame in frames) == 1


@pytest.mark.parametrize(
    "command",
    [
        "nonsense",
        "[]",
        '{"type":"subscribe","channels":["level9"]}',
        '{"type":"subscribe","product_ids":["X"],"channels":["ticker"]}',
    ],
)
async def test_wrong_subscriptions_get_an_error_message(command: str) -> None:
    """The connection lives: a right one works afterwards."""
    async with feed() as ws:
        await ws.send(command)
        assert (await read(ws, 1, "error"))[0]["type"] == "error"
        await ws.send('{"type":"subscribe","channels":["ticker"]}')
        await read(ws, 1, "ticker")


async def test_client_that_asks_for_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the venue's patience is over."""
    monkeypatch.setattr(coinbase, "SUBSCRIBE_WITHIN_S", 0.05)
    async with feed() as ws, asyncio.timeout(90):
        with pytest.raises(ConnectionClosed):
            await ws.recv()
