"""Whatever is asked of an HTTP server of ours, it answers: no 5xx, no traceback, nothing without bound."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from aiohttp import web
from http_walk import complaint, requests, send
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from app.settings import Settings
from app.worker import build_app
from ops.ports import free_ports
from producers.status_server import StatusServer
from venues.simulator.account import Account
from venues.simulator.admin import ADMIN_HEADER
from venues.simulator.config import SimConfig
from venues.simulator.server import serving

EXAMPLES = 250  # for each server; a second or two each

Served = tuple[int, tuple[str, ...], dict[str, str]]


def routes_of(app: web.Application) -> tuple[str, ...]:
    """All paths of an application."""
    return tuple(sorted({resource.canonical for resource in app.router.resources()}))


async def _producer(parts: AsyncExitStack, _folder: Path) -> Served:
    (port,) = free_ports(1)
    server = StatusServer(Settings(_env_file=None, producer_port=port), CollectorRegistry(), dict, lambda: ["why"])
    await server.start()
    parts.push_async_callback(server.stop)
    return port, routes_of(server._runner.app), {}


async def _worker(parts: AsyncExitStack, folder: Path) -> Served:
    app = build_app(Settings(_env_file=None, data_dir=folder), transient=True)
    pages = await app.web.wsgi()
    runner = web.AppRunner(pages, access_log=None)
    await runner.setup()
    parts.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return int(runner.addresses[0][1]), routes_of(pages), {}


async def _simulator(parts: AsyncExitStack, _folder: Path) -> Served:
    config = SimConfig(account_rate=0)
    simulator = await parts.enter_async_context(serving(config, (Account(config),)))
    headers = {ADMIN_HEADER: simulator.admin_token}
    return simulator.port, routes_of(simulator.application()), headers


@contextmanager
def _running(serve: Callable[[AsyncExitStack, Path], Any], folder: Path) -> Iterator[Served]:
    """The server on a loop of its own, so that the test may block."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    parts = AsyncExitStack()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(120)

    try:
        yield run(serve(parts, folder))
    finally:
        run(parts.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.parametrize("serve", [_producer, _worker, _simulator])
def test_whatever_is_asked_is_answered(serve: Any, tmp_path: Path) -> None:
    """Every route, with the simulator's token, so that what it guards is reached."""
    with _running(serve, tmp_path) as (port, routes, headers):
        assert len(routes) > 3

        @given(st.data())
        @settings(max_examples=EXAMPLES)
        def walk(data: st.DataObject) -> None:
            request = data.draw(requests(routes, headers))
            assert complaint(*send(port, request), is_head=request.method == "HEAD") is None, request

        walk()
