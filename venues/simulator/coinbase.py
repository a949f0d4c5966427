"""Coinbase Exchange's feed on /coinbase: ticker, matches and heartbeat of BTC-USD."""

import asyncio
import json
import time
import uuid
from collections.abc import Callable

from aiohttp import WSMsgType, web

from venues.simulator.spot import SpotWalk
from venues.simulator.wire import iso_second

PRODUCT = "BTC-USD"
CHANNELS = ("ticker", "matches", "heartbeat")
SUBSCRIBE_WITHIN_S = 5.0  # the venue closes a connection that asks for nothing for so long
TICK_S = 0.1
FIRST_SEQUENCE = 50_000_000_000


class CoinbaseFeed:
    """One market, walked by the source's spot; `sequence` rises with holes, as it counts the whole order stream."""

    def __init__(self, spot: Callable[[], SpotWalk]) -> None:
        self._spot = spot
        self._sequence = FIRST_SEQUENCE
        self._trade_id = 700_000_000
        self._last_match: dict[str, object] | None = None
        self._clients: dict[web.WebSocketResponse, set[str]] = {}

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """One client's connection."""
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        self._clients[ws] = set()
        try:
            while not ws.closed:
                timeout = None if self._clients[ws] else SUBSCRIBE_WITHIN_S
                message = await ws.receive(timeout=timeout)
                if message.type is not WSMsgType.TEXT:
                    break
                await self._command(ws, message.data)
        except TimeoutError:
            await ws.close(code=1008, message=b"no subscription within 5 s")
        finally:
            self._clients.pop(ws, None)
        return ws

    async def _command(self, ws: web.WebSocketResponse, text: str) -> None:
        try:
            command = json.loads(text)
            wanted = {_channel_name(c) for c in command["channels"]}
            products = set(command.get("product_ids") or [PRODUCT])
            verb = command["type"]
        except (ValueError, TypeError, KeyError, AttributeError):
            await ws.send_json({"type": "error", "message": "Malformed JSON"})
            return
        if verb not in ("subscribe", "unsubscribe") or not wanted <= set(CHANNELS) or PRODUCT not in products:
            await ws.send_json({"type": "error", "message": "Failed to subscribe", "reason": f"{text} is not valid"})
            return
        listening = self._clients[ws]
        new = wanted - listening
        self._clients[ws] = listening | wanted if verb == "subscribe" else listening - wanted
        channels = [{"name": name, "product_ids": [PRODUCT]} for name in sorted(self._clients[ws])]
        await ws.send_json({"type": "subscriptions", "channels": channels})
        if "matches" in new and verb == "subscribe" and self._last_match is not None:
            await ws.send_json({**self._last_match, "type": "last_match"})

    async def run(self) -> None:
        """Ten trades a second, a heartbeat each second, while anyone listens."""
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            now_ms = time.time_ns() // 1_000_000
            spot = self._spot()
            self._trade(spot, now_ms)
            ticks += 1
            if ticks % 10 == 0:
                await self._send("heartbeat", self._heartbeat(now_ms))
            if self._last_match is not None:
                await self._send("matches", self._last_match)
            await self._send("ticker", self._ticker(spot, now_ms))

    def _trade(self, spot: SpotWalk, now_ms: int) -> None:
        self._sequence += 1 + now_ms % 7
        self._trade_id += 1
        self._last_match = {
            "type": "match",
            "trade_id": self._trade_id,
            "maker_order_id": str(uuid.UUID(int=self._trade_id)),
            "taker_order_id": str(uuid.UUID(int=self._trade_id + (1 << 64))),
            "side": "sell" if self._trade_id % 2 else "buy",  # the maker's side; the ticker shows the taker's
            "size": f"0.{self._trade_id % 9_000 + 1:08d}",
            "price": f"{spot.dollars:.2f}",
            "product_id": PRODUCT,
            "sequence": self._sequence,
            "time": _time(now_ms),
        }

    def _ticker(self, spot: SpotWalk, now_ms: int) -> dict[str, object]:
        return {
            "type": "ticker",
            "sequence": self._sequence,
            "product_id": PRODUCT,
            "price": f"{spot.dollars:.2f}",
            "open_24h": "95000.00",
            "volume_24h": "9438.12800000",
            "low_24h": "90000.00",
            "high_24h": "99000.00",
            "volume_30d": "229557.95700000",
            "best_bid": f"{spot.dollars - 0.01:.2f}",
            "best_bid_size": "0.50000000",
            "best_ask": f"{spot.dollars + 0.01:.2f}",
            "best_ask_size": "0.50000000",
            "side": "buy" if self._trade_id % 2 else "sell",
            "time": _time(now_ms),
            "trade_id": self._trade_id,
            "last_size": f"0.{self._trade_id % 9_000 + 1:08d}",
        }

    def _heartbeat(self, now_ms: int) -> dict[str, object]:
        return {
            "type": "heartbeat",
            "sequence": self._sequence,
            "last_trade_id": self._trade_id,
            "product_id": PRODUCT,
            "time": _time(now_ms),
        }

    async def _send(self, channel: str, body: dict[str, object]) -> None:
        for ws, wanted in list(self._clients.items()):
            if channel in wanted and not ws.closed:
                try:
                    await ws.send_json(body)
                except ConnectionResetError:  # it went away between the check and the write; its handler cleans up
                    self._clients.pop(ws, None)


def _channel_name(channel: object) -> str:
    if isinstance(channel, dict):
        return str(channel["name"])
    return str(channel)


def _time(ms: int) -> str:
    return f"{iso_second(ms // 1_000)}.{ms % 1_000:03d}000Z"
