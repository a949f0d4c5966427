"""The private WebSocket channels: fill, market_positions, user_orders. One connection, reconnecting.

None of them carries seq: a lost frame leaves no trace, so nothing here is counted as complete; REST polling is. What
the venue refuses, ends or leaves unanswered is asked for again (`private_channels`), and polled faster meanwhile.
"""

import asyncio
import json
import logging
import time
from collections import Counter
from typing import Any

import msgspec
from websockets.exceptions import InvalidStatus, WebSocketException

from domain.errors import UserMistake
from producers.account_reporter import AccountReporter
from producers.backoff import Backoff
from producers.connection import FrameConnection, open_connection
from producers.private_channels import PrivateChannels
from producers.publisher import Publisher
from venues.kalshi.auth import RequestSigner
from venues.kalshi.numbers import decode_exact
from venues.kalshi.subaccounts import Subaccounts

log = logging.getLogger("account")

_PRIVATE = frozenset({"fill", "user_order", "market_position"})  # frames of some subaccount
TICK_S = 0.05  # how often pause, silence and unanswered commands are looked at
TERMINAL_CODES = frozenset({10, 25})  # a subscription is over; where the venue does not say which: connect anew


class AccountStream:
    """Runs until cancelled. `counts` has frames_in and its classes."""

    def __init__(
        self,
        url: str,
        signer: RequestSigner | None,
        reporter: AccountReporter,
        publisher: Publisher,
        silence_timeout_s: float,
        subaccounts: Subaccounts | None = None,
    ) -> None:
        self._subaccounts = subaccounts or Subaccounts()
        self._problem: str | None = "not connected yet"
        self.connected = False
        self.last_frame_ms: int | None = None
        self.counts: Counter[str] = Counter()
        self._url, self._signer, self._reporter, self._publisher = url, signer, reporter, publisher
        self._silence_timeout_s = silence_timeout_s
        self._over = False
        self._connection: FrameConnection | None = None
        self._channels = PrivateChannels()

    @property
    def problem(self) -> str | None:
        """Why what happens is not heard at once, for readiness; None where all of it is."""
        return self._problem or self._channels.problem

    async def run(self) -> None:
        """Connect, listen, connect again. Raises UserMistake: the venue refuses our key on the first connect."""
        backoff, ever_connected = Backoff(), False
        while True:
            is_refused = False
            try:
                backoff.session_ended(is_good=await self._session())
                ever_connected = True
            except InvalidStatus as refused:
                status = refused.response.status_code
                is_refused = status in (401, 403, 429)
                self._problem = f"the venue answers {status} to the WebSocket"
                if status in (401, 403) and not ever_connected:
                    raise UserMistake(
                        f"{self._problem}: expected a valid key id, its key file, and a right clock"
                    ) from None
            except (OSError, TimeoutError, WebSocketException) as wrong:
                self._problem = f"venue WebSocket unreachable: {type(wrong).__name__}"
                if self._channels.was_good:  # it was there, and broke while we were sending
                    backoff.session_ended(is_good=True)
            await asyncio.sleep(backoff.next_pause_s(is_refused))

    async def _session(self) -> bool:
        """One connection, from its handshake to its end; whether the venue let us hear anything on it."""
        headers = self._signer.headers("GET", self._url, time.time_ns() // 1_000_000) if self._signer else {}
        self._over = False
        channels = self._channels = PrivateChannels()  # sids are of one connection
        connection = self._connection = await open_connection(self._url, headers, self._on_frame)
        try:
            self.connected, self._problem = True, None
            while not self._over and not connection.transport.is_closing():
                if connection.silent_s() > self._silence_timeout_s:
                    self._problem = f"the venue said nothing for {self._silence_timeout_s} s"
                    break
                if connection.is_paused and not self._publisher.is_full:
                    connection.resume()
                if not connection.is_paused:  # else no answer could be heard
                    for command in channels.due(time.monotonic()):
                        await connection.send(json.dumps(command))
                if channels.is_hopeless:
                    self._problem = channels.problem
                    break
                await asyncio.sleep(TICK_S)
        finally:
            self.connected = False
            self._problem = self._problem or "disconnected"
            self.counts["disconnects"] += 1
            connection.transport.abort()
        if connection.failure is not None:
            raise connection.failure
        return channels.was_good

    def _on_frame(self, data: bytes, is_text: bool, received_ns: int) -> None:
        self.counts["frames_in"] += 1
        self.last_frame_ms = received_ns // 1_000_000
        try:
            frame = decode_exact(data) if is_text else None
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
        if kind in _PRIVATE and not self._subaccounts.is_own(body, kind):
            self.counts["other_subaccounts_frames"] += 1
        elif kind == "fill":
            self.counts["fill_frames"] += 1
            self._reporter.push_fill(body)
        elif kind == "user_order":
            self.counts["order_frames"] += 1
            self._reporter.say_order(body, "ws")
        elif kind == "market_position":
            self.counts["position_frames"] += 1
            self._reporter.say_position(body, "ws")
        else:
            self.counts["control_frames"] += 1
            self._on_control(kind, frame)

    def _on_control(self, kind: str, frame: dict[str, Any]) -> None:
        now_s = time.monotonic()
        if kind == "subscribed":
            self._channels.acknowledged(frame, now_s)
        elif kind == "unsubscribed":
            lost = self._channels.ended(frame, now_s)
            if lost is not None:
                self._log_loss(lost, "the venue unsubscribed us")
        elif kind == "error":
            message = frame.get("msg")
            code = message.get("code") if isinstance(message, dict) else None
            lost = self._channels.refused(frame, now_s)
            self._log_loss(lost or "none", f"error {code}")
            self._over = self._over or (lost is None and code in TERMINAL_CODES)

    def _log_loss(self, channel: str, why: str) -> None:
        self.counts["refusals"] += 1
        log.warning(json.dumps({"event": "private_channel_refused", "channel": channel, "why": why}))
