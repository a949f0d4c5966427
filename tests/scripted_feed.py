"""A feed on a scripted venue: what the venue says frame by frame, and a publisher that keeps what it is given."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import ServerConnection

from producers.feed import Feed
from producers.metrics import FeedCounts
from schemas.registry import decoder, topic_named

DEADLINE_S = 90.0


class KeepingPublisher:
    """Takes records like the real one, decodes each strictly, acknowledges at once."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, Any]] = []
        self.is_full = False
        self.on_room: Callable[[], None] = lambda: None

    def add(self, topic: str, key: str, value: bytes, ts_ms: int) -> None:
        self.records.append((topic, key, decoder(topic_named(topic)).decode(value)))

    def of(self, topic: str) -> list[Any]:
        return [record for name, _, record in self.records if name == topic]

    def story(self) -> list[str]:
        """Book updates as `reset:gap A`, `snapshot A`, `delta A 5`: what a reader of the topic sees, in order."""
        lines = []
        for record in self.of("market.book_updates"):
            kind, body = record.__struct_config__.tag, record.payload
            if kind == "book_reset":
                lines.append(f"reset:{body.reason} {body.market_ticker}")
            elif kind == "book_snapshot":
                lines.append(f"snapshot {body.market_ticker}")
            else:
                lines.append(f"delta {body.market_ticker} {body.seq}")
        return lines


@dataclass
class Peer:
    """The venue's side of one connection: says frames, hears commands."""

    socket: ServerConnection
    heard: asyncio.Queue[dict[str, Any]]

    async def say(self, frame: dict[str, Any] | str | bytes) -> None:
        await self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def command(self, cmd: str, action: str | None = None) -> dict[str, Any]:
        """The next command of that kind; others before it are passed over."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                heard = await self.heard.get()
                if heard["cmd"] == cmd and (action is None or heard["params"].get("action") == action):
                    return heard

    async def next_command(self) -> dict[str, Any]:
        """The next command of any kind."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.heard.get()

    async def accept_subscribe(self, book_sid: int = 1, trade_sid: int = 2) -> list[str]:
        """Acknowledge the next subscribe; returns its markets."""
        command = await self.command("subscribe")
        sids = {"orderbook_delta": book_sid, "trade": trade_sid}
        for channel in command["params"]["channels"]:
            ack = {"id": command["id"], "type": "subscribed", "msg": {"channel": channel, "sid": sids[channel]}}
            await self.say(ack)
        return list(command["params"]["market_tickers"])

    async def snapshot(self, seq: int, ticker: str, sid: int = 1, command_id: int | None = None) -> None:
        head = {"id": command_id} if command_id is not None else {}
        await self.say({**head, **snapshot_frame(seq, ticker, sid)})

    async def delta(self, seq: int, ticker: str, sid: int = 1) -> None:
        await self.say(delta_frame(seq, ticker, sid))


def snapshot_frame(seq: int, ticker: str, sid: int = 1) -> dict[str, Any]:
    body = {"market_ticker": ticker, "yes_dollars_fp": [["0.4200", "13.00"]], "no_dollars_fp": [["0.5500", "7.00"]]}
    return {"type": "orderbook_snapshot", "sid": sid, "seq": seq, "msg": body}


def delta_frame(seq: int, ticker: str, sid: int = 1) -> dict[str, Any]:
    body = {"market_ticker": ticker, "price_dollars": "0.4100", "delta_fp": "1.00", "side": "yes", "ts_ms": 1_000 + seq}
    return {"type": "orderbook_delta", "sid": sid, "seq": seq, "msg": body}


@dataclass
class ScriptedVenue:
    """Runs one script per connection, in order; the last one again for later connections."""

    url: str
    scripts: list[Callable[[Peer], Awaitable[None]]]
    connections: int = 0
    refuse: list[int] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


async def for_ever() -> None:
    """The venue holds the line."""
    await asyncio.Event().wait()


@asynccontextmanager
async def running(url: str, publisher: Any, markets: list[str], **more: Any) -> AsyncIterator[tuple[Feed, FeedCounts]]:
    """A feed that runs; stopped cleanly at the end, and its accounting checked."""
    counts = FeedCounts()
    options = {"group_size": 50, "silence_timeout_s": 30.0, **more}
    feed = Feed(url, None, "me", publisher, counts, None, **options)
    feed.set_markets(markets)
    task = asyncio.create_task(feed.run())
    try:
        yield feed, counts
    finally:
        feed.stop()
        await task


def sums_up(counts: FeedCounts, publisher: Any) -> None:
    """Every frame is in one class, and the records are those that frames caused."""
    caused = [r for r in publisher.of("market.book_updates") if r.__struct_config__.tag != "book_reset"]
    assert counts.records_caused_by_frames == len(caused) + len(publisher.of("market.trades"))
    assert counts.dead_letters == len(publisher.of("dlq"))
