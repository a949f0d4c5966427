"""A scripted venue on a real socket, and a publisher that keeps what it is given."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import msgspec
import pytest
from scripted_feed import DEADLINE_S, KeepingPublisher, Peer, ScriptedVenue
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

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
