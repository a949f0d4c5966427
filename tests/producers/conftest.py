"""A scripted venue on a real socket, and a publisher that keeps what it is given."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

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


VenueFactory = Callable[..., Any]


@pytest.fixture
def scripted_venue() -> VenueFactory:
    """`async with scripted_venue(script, script, refuse=[503]) as venue`: statuses are given out first."""

    @asynccontextmanager
    async def start(*scripts: Callable[[Peer], Awaitable[None]], refuse: tuple[int, ...] = ()) -> AsyncIterator[Any]:
        venue = ScriptedVenue("", list(scripts), refuse=list(refuse))

        async def handle(socket: ServerConnection) -> None:
            script = venue.scripts[min(venue.connections, len(venue.scripts) - 1)]
            venue.connections += 1
            peer = Peer(socket, asyncio.Queue())
            reading = asyncio.create_task(_hear(socket, peer.heard))
            playing = asyncio.ensure_future(script(peer))
            await asyncio.wait((reading, playing), return_when=asyncio.FIRST_COMPLETED)
            for task in (reading, playing):
                task.cancel()
            _, failed = await asyncio.gather(reading, playing, return_exceptions=True)
            if isinstance(failed, Exception) and not isinstance(failed, ConnectionClosed):
                venue.failures.append(failed)

        def check(socket: ServerConnection, request: Request) -> Response | None:
            venue.headers.append(dict(request.headers.raw_items()))
            return socket.respond(HTTPStatus(venue.refuse.pop(0)), "no\n") if venue.refuse else None

        async with serve(
            handle, "127.0.0.1", 0, process_request=check, max_size=None, ping_interval=None, close_timeout=1
        ) as server:
            venue.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/trade-api/ws/v2"
            yield venue
        assert venue.failures == []

    return start


async def _hear(socket: ServerConnection, heard: asyncio.Queue[dict[str, Any]]) -> None:
    async for text in socket:
        heard.put_nowait(msgspec.json.decode(text))


@pytest.fixture
def publisher() -> KeepingPublisher:
    """Keeps every record."""
    return KeepingPublisher()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object], str], Awaitable[None]]:
    """Wait until the condition holds; fails with the text after a generous deadline."""

    async def wait(holds: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not holds():  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pytest.fail(f"never came true: {what}")

    return wait
