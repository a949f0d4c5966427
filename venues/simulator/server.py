"""Puts the simulator together: one process, one port, WebSocket, REST, Coinbase and admin on it."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from aiohttp import WSCloseCode, WSMsgType, web

from app.http_guard import guarded, http_guard
from domain.errors import UserMistake
from venues.simulator import commands
from venues.simulator.admin import Admin, token_guard
from venues.simulator.channels import Extension
from venues.simulator.coinbase import CoinbaseFeed
from venues.simulator.config import SimConfig
from venues.simulator.gate import Gate
from venues.simulator.generator import Generator
from venues.simulator.hub import Hub
from venues.simulator.playback import Playback
from venues.simulator.rest import Rest, guard
from venues.simulator.session import Session

WS_PATH = "/trade-api/ws/v2"
COMMAND_BYTES_MAX = 1 << 20  # a subscribe to 10,000 markets is 400 kB


class Simulator:
    """A running venue; use `serving`."""

    def __init__(self, config: SimConfig, extensions: Iterable[Extension] = ()) -> None:
        self.config = config
        self.extensions = tuple(extensions)
        self.hub = Hub(config)
        self.gate = Gate(config)
        self.source = Generator(config, self.hub) if config.source == "generator" else Playback(config, self.hub)
        self.hub.source = self.source
        for extension in self.extensions:
            self.hub.channels.update({channel.name: channel for channel in extension.channels()})
        self.coinbase = CoinbaseFeed(self.source.spot_now)
        self.port = 0
        self.admin_token = secrets.token_urlsafe()

    def application(self) -> web.Application:
        """All routes."""
        guards = (guarded(http_guard(self.config.host)), token_guard(self.admin_token))
        app = web.Application(middlewares=guards)
        app.router.add_get(WS_PATH, self._kalshi)
        app.router.add_get("/coinbase", self.coinbase.handle)
        app.router.add_routes(Rest(self.hub, self.gate, self.hub.exchange).routes())
        app.router.add_routes(Admin(self.hub, self.gate, self.extensions).routes())
        app.router.add_routes(self.hub.exchange.routes())
        for extension in self.extensions:
            app.router.add_routes(extension.routes())
        return app

    async def _kalshi(self, request: web.Request) -> web.StreamResponse:
        refused = guard(self.hub, self.gate, request, needs_key=True)
        if refused is not None:
            return refused
        # No compression: the frames are framed here. The time-out is how long a slow client may take to read the rest.
        ws = web.WebSocketResponse(compress=False, max_msg_size=COMMAND_BYTES_MAX, timeout=30.0)
        await ws.prepare(request)
        transport = request.transport
        if transport is None:
            return ws  # gone again
        session = Session(self.hub, self.hub.next_connection(), ws, transport)
        self.hub.sessions.append(session)
        pings = asyncio.create_task(session.ping_forever(self.config.ping_interval_s))
        try:
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    commands.handle(self.hub, session, message.data)
                elif message.type is WSMsgType.BINARY:
                    commands.handle(self.hub, session, "")
        finally:
            pings.cancel()
            self.hub.detach(session)
        return ws


@contextlib.asynccontextmanager
async def serving(config: SimConfig, extensions: Iterable[Extension] = ()) -> AsyncIterator[Simulator]:
    """A simulator that listens (`.port`) until the block ends.

    Raises:
        UserMistake: the port is taken, a capture or key cannot be read, the token's file cannot be written.
    """
    simulator = Simulator(config, extensions)
    if config.admin_token_file is not None:
        _write_token(config.admin_token_file, simulator.admin_token)
    runner = web.AppRunner(simulator.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    tasks: list[asyncio.Future[None]] = []
    try:
        listener = _listen(config.host, config.port)
        simulator.port = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        work = [simulator.source.run(), simulator.coinbase.run(), *(e.run(simulator.hub) for e in extensions)]
        tasks = [asyncio.ensure_future(job) for job in work]
        for task in tasks:
            task.add_done_callback(_die_loudly)
        yield simulator
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for session in list(simulator.hub.sessions):
            with contextlib.suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(session.ws.close(code=WSCloseCode.GOING_AWAY), timeout=1.0)
        await runner.cleanup()


def _write_token(path: Path, token: str) -> None:
    """Anew with each run, and never readable by others, not even for a moment."""
    try:
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token)
    except OSError as wrong:
        raise UserMistake(f"--admin-token-file {path}: {wrong.strerror}") from None


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as taken:
        listener.close()
        raise UserMistake(f"port {port} on {host} is not free: {taken.strerror}") from None
    return listener


def _die_loudly(task: "asyncio.Future[None]") -> None:
    """A failed task is a bug of ours: the loop's handler logs it with its traceback, `__main__` ends the process."""
    if not task.cancelled() and task.exception() is not None:
        context = {"message": "a task of the simulator failed", "exception": task.exception(), "task": task}
        task.get_loop().call_exception_handler(context)
