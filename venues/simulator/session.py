"""One client connection: its subscriptions, its sequence numbers, and its way to the socket.

`sid` counts from 1 per connection, one per (subscription, channel); `seq` is one counter per sid, shared by all of its
markets. Frames are collected and leave in one write per flush.
"""

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING

from aiohttp import web

from venues.simulator.channels import Channel
from venues.simulator.wire import frame_header

if TYPE_CHECKING:
    from venues.simulator.hub import Hub

# Beyond so many bytes waiting for a client the source stands still: a slow client slows the venue, nothing is lost.
HIGH_WATER_BYTES = 512 * 1024


class Subscription:
    """One sid. `tickers` is None for all markets. `held` is a frame kept back to be sent after the next one."""

    __slots__ = ("channel", "held", "seq", "session", "sid", "tickers")

    def __init__(self, session: "Session", sid: int, channel: Channel, tickers: set[str] | None) -> None:
        self.session = session
        self.sid = sid
        self.channel = channel
        self.tickers = tickers
        self.seq = 0
        self.held: str | None = None

    def next_seq(self) -> int:
        """Consume a sequence number."""
        self.seq += 1
        return self.seq


class Session:
    """A connection that has passed the handshake."""

    def __init__(self, hub: "Hub", number: int, ws: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self.hub = hub
        self.number = number
        self.ws = ws
        self.transport = transport
        self.subscriptions: dict[int, Subscription] = {}
        self.opened_ms = time.time_ns() // 1_000_000
        self.closed = False
        self.frames_served = 0
        self.counts: Counter[str] = Counter()
        self._next_sid = 1
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._stamps: list[tuple[int, int]] = []

    def subscribed_to(self, channel: Channel) -> Subscription | None:
        """The oldest subscription to this channel."""
        return next((sub for sub in self.subscriptions.values() if sub.channel is channel), None)

    def subscribe(self, channel: Channel, tickers: set[str] | None) -> Subscription:
        """A new subscription under the next sid."""
        sub = Subscription(self, self._next_sid, channel, tickers)
        self.subscriptions[sub.sid] = sub
        self._next_sid += 1
        return sub

    def send(self, sub: Subscription, kind: str, body: str) -> None:
        """One frame of a source; this is where faults strike."""
        if self.closed:
            return
        if not sub.channel.sequenced:
            self.write(f'{{"type":"{kind}","sid":{sub.sid},"msg":{body}}}', kind)
            return
        seq = sub.seq = sub.seq + 1
        text = f'{{"type":"{kind}","sid":{sub.sid},"seq":{seq},"msg":{body}}}'
        if self.hub.faults.armed:
            self.hub.faults.deliver(sub, kind, text)
        else:
            self.deliver(sub, kind, text)

    def deliver(self, sub: Subscription, kind: str, text: str) -> None:
        """One frame that carries `sub`'s newest seq, then the one kept back, if any."""
        self.write(text, kind)
        if self.hub.stamping:
            self._stamps.append((sub.sid, sub.seq))
        if sub.held is not None:
            held, sub.held = sub.held, None
            self.write(held, kind)

    def reply(self, text: str) -> None:
        """An answer to a command (control frame)."""
        self.write(text, "control")

    def write(self, text: str, kind: str) -> None:
        """Any text frame, at the next flush."""
        self.write_bytes(text.encode(), kind)

    def write_bytes(self, payload: bytes, kind: str, *, binary: bool = False) -> None:
        """Any payload as one frame, at the next flush."""
        if self.closed:
            return
        length = len(payload)
        self._out.append(frame_header(length, binary=binary))
        self._out.append(payload)
        self._out_bytes += length
        self.frames_served += 1
        self.counts[kind] += 1

    def flush(self) -> None:
        """Everything collected, to the socket in one write; nothing while the venue is silenced."""
        if not self._out or self.hub.faults.silent():
            return
        if self._stamps:
            now_ns = time.time_ns()
            self.hub.sent.extend((self.number, sid, seq, now_ns) for sid, seq in self._stamps)
            self.hub.sent_total += len(self._stamps)
            self._stamps.clear()
        if not self.transport.is_closing():
            self.transport.write(b"".join(self._out))
        self._out.clear()
        self._out_bytes = 0

    def waiting_bytes(self) -> int:
        """What the client has not taken yet, as far as we can see."""
        if self.transport.is_closing():
            return 0
        return self._out_bytes + self.transport.get_write_buffer_size()

    def sever(self) -> None:
        """End the connection without a word: what was sent still arrives, then the stream ends."""
        self.flush()
        self.transport.close()
        self.hub.detach(self)

    async def ping_forever(self, interval_s: float) -> None:
        """The venue's keep-alive: a Ping with body `heartbeat`."""
        while not self.closed:
            await asyncio.sleep(interval_s)
            if not self.hub.faults.silent() and not self.transport.is_closing():
                with contextlib.suppress(ConnectionError):  # it went away just now; its handler cleans up
                    await self.ws.ping(b"heartbeat")

    def status(self) -> dict[str, object]:
        """For GET /admin/status."""
        return {
            "connection": self.number,
            "open": not self.closed,
            "opened_ms": self.opened_ms,
            "frames_served": self.frames_served,
            "by_type": dict(self.counts),
            "waiting_bytes": self.waiting_bytes(),
            "sids": {
                sub.sid: {"channel": sub.channel.name, "seq": sub.seq, "markets": _count(sub)}
                for sub in self.subscriptions.values()
            },
        }


def _count(sub: Subscription) -> int | None:
    return None if sub.tickers is None else len(sub.tickers)
