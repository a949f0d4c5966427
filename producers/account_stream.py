"""The private WebSocket channels: fill, user_orders (where offered), market_positions. One connection, reconnecting.

None of them carries seq: a lost frame leaves no trace, so nothing here is counted as complete; REST polling is.
"""

import asyncio
import json
import logging
import random
import time
from collections import Counter
from typing import Any

import msgspec
from websockets.exceptions import InvalidStatus, WebSocketException

from domain.errors import UserMistake
from producers.account_reporter import AccountReporter
from producers.connection import FrameConnection, open_connection
from producers.publisher import Publisher
from venues.kalshi.auth import RequestSigner

log = logging.getLogger("account")

CHANNELS = ("fill", "market_positions", "user_orders")
BACKOFF_FIRST_S = 0.5  # full jitter: uniform between 0 and this, doubled with each failure
BACKOFF_S_MAX = 30.0
TICK_S = 0.05  # how often pause and silence are looked at
UNKNOWN_CHANNEL = 8  # older venues have no user_orders: the others go on
TERMINAL_CODES = frozenset({10, 25})  # the subscription is over: connect anew

_decode = msgspec.json.Decoder().decode


class AccountStream:
    """Runs until cancelled. `counts` has frames_in and its classes."""

    def __init__(
        self,
        url: str,
        signer: RequestSigner | None,
        reporter: AccountReporter,
        publisher: Publisher,
        silence_timeout_s: float,
    ) -> None:
        self.problem: str | None = "not connected yet"
        self.connected = False
        self.last_frame_ms: int | None = None
        self.counts: Counter[str] = Counter()
        self._url, self._signer, self._reporter, self._publisher = url, signer, reporter, publisher
        self._silence_timeout_s = silence_timeout_s
        self._over = False
        self._connection: FrameConnection | None = None

    async def run(self) -> None:
        """Connect, listen, connect again. Raises UserMistake: the venue refuses our key on the first connect."""
        failures, ever_connected = 0, False
        while True:
            try:
                await self._session()
                failures, ever_connected = 0, True
            except InvalidStatus as refused:
                status = refused.response.status_code
                self.problem = f"the venue answers {status} to the WebSocket"
                if status in (401, 403) and not ever_connected:
                    raise UserMistake(
                        f"{self.problem}: expected a valid key id, its key file, and a right clock"
                    ) from None
            except (OSError, TimeoutError, WebSocketException) as wrong:
                self.problem = f"venue WebSocket unreachable: {type(wrong).__name__}"
            pause_s = random.uniform(0, min(BACKOFF_S_MAX, BACKOFF_FIRST_S * 2 ** min(failures, 16)))  # noqa: S311
            failures += 1
            await asyncio.sleep(pause_s)

    async def _session(self) -> None:
        headers = self._signer.headers("GET", self._url, time.time_ns() // 1_000_000) if self._signer else {}
        self._over = False
        connection = self._connection = await open_connection(self._url, headers, self._on_frame)
        try:
            subscribe = {"id": 1, "cmd": "subscribe", "params": {"channels": list(CHANNELS)}}
            await connection.send(json.dumps(subscribe))
            self.connected, self.problem = True, None
            while not self._over and not connection.transport.is_closing():
                if connection.silent_s() > self._silence_timeout_s:
                    self.problem = f"the venue said nothing for {self._silence_timeout_s} s"
                    break
                if connection.is_paused and not self._publisher.is_full:
                    connection.resume()
                await asyncio.sleep(TICK_S)
        finally:
            self.connected = False
            self.problem = self.problem or "disconnected"
            self.counts["disconnects"] += 1
            connection.transport.abort()
        if connection.failure is not None:
            raise connection.failure

    def _on_frame(self, data: bytes, is_text: bool, received_ns: int) -> None:
        self.counts["frames_in"] += 1
        self.last_frame_ms = received_ns // 1_000_000
        try:
            frame = _decode(data) if is_text else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            frame = None
        if not isinstance(frame, dict):
            self.counts["frames_unreadable"] += 1
            return
        self._on_message(str(frame.get("type")), frame)
        if self._publisher.is_full and self._connection is not None:
            self._connection.pause()

    def _on_message(self, kind: str, frame: dict[str, Any]) -> None:
        message = frame.get("msg")
        body = message if isinstance(message, dict) else {}
        if kind == "fill":
            self.counts["fill_frames"] += 1
            self._reporter.push_fill(body)
        elif kind == "user_order":
            self.counts["order_frames"] += 1
            self._reporter.say_order(body, "ws")
        elif kind == "market_position":
            self.counts["position_frames"] += 1
            self._reporter.say_position(body, "ws")
        elif kind == "error":
            self.counts["control_frames"] += 1
            self._on_error(body)
        else:
            self.counts["control_frames"] += 1

    def _on_error(self, body: dict[str, Any]) -> None:
        code = body.get("code")
        if code == UNKNOWN_CHANNEL:
            log.info("the venue does not offer one of %s: REST polling covers it", ", ".join(CHANNELS))
            return
        log.warning("the venue says error %s", code)
        self._over = self._over or code in TERMINAL_CODES
