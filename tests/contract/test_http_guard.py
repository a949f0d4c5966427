"""Web pages of other sites get 403 from every HTTP server of the project; programs that name it rightly are served."""

import ast
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from app.http_guard import http_guard
from app.settings import Settings
from app.worker import build_app
from ops.ports import free_ports
from producers.status_server import StatusServer
from venues.simulator.account import Account
from venues.simulator.admin import ADMIN_HEADER
from venues.simulator.config import SimConfig
from venues.simulator.server import WS_PATH, serving

GUARD = http_guard("10.1.2.3", ("state", "Sink.Example."))


class _Headers(list[tuple[str, str]]):
    def getall(self, key: str, default: list[str]) -> list[str]:
        return [value for name, value in self if name == key] or default


def _refused(*headers: tuple[str, str]) -> str | None:
    return GUARD.refusal(_Headers(headers))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:6066", "localhost:1", "LOCALHOST", "[::1]:6066", "10.1.2.3", "state:6066", "sink.example",
     "localhost.", socket.gethostname()],
)  # fmt: skip
def test_a_name_of_ours_is_let_in(host: str) -> None:
    """Whatever the port: it may be mapped."""
    assert _refused(("Host", host)) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:6066", "0.0.0.0", "10.1.2.4", "",
     "evil@127.0.0.1", "127.0.0.1:80:80", "127.0.0.1/", "127.0.0.1#", "127.0.0.1, evil.example", "[::1",
     "[::ffff:127.0.0.1]", "2130706433", "127.1", "\xb927.0.0.1", "localhost\x00", "127.0.0.1:99999999"],
)  # fmt: skip
def test_another_name_is_refused(host: str) -> None:
    """A name that the page's owner made resolve to loopback, or a spelling that another parser reads as ours."""
    assert "Host: expected" in str(_refused(("Host", host)))


def test_none_or_several_hosts_are_refused() -> None:
    """Which of them is meant?"""
    assert "Host" in str(_refused())
    assert "Host" in str(_refused(("Host", "127.0.0.1"), ("Host", "127.0.0.1")))


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://127.0.0.1:3000", "http://localhost:6066", "https://127.0.0.1",
     "file://", "http://127.0.0.1:6066.evil.example", "http://127.0.0.1:6066@evil.example", "http://127.0.0.1:6066/x",
     "chrome-extension://127.0.0.1:6066"],
)  # fmt: skip
def test_pages_of_another_origin_are_refused(origin: str) -> None:
    """Another port of the same machine is another origin."""
    assert "Origin" in str(_refused(("Host", "127.0.0.1:6066"), ("Origin", origin)))


@pytest.mark.parametrize(
    ("host", "origin"),
    [("127.0.0.1:6066", "http://127.0.0.1:6066"), ("localhost", "http://localhost"), ("state:443", "https://state"),
     ("state", "https://state"), ("localhost", "http://localhost:80")],
)  # fmt: skip
def test_our_own_pages_are_let_in(host: str, origin: str) -> None:
    """The scheme's own port may be written or not."""
    assert _refused(("Host", host), ("Origin", origin)) is None


def test_requests_without_an_origin_are_told_by_the_fetch_metadata() -> None:
    """An image, a script or a fetch of mode no-cors sends no Origin."""
    for site, served in (
        ("cross-site", False),
        ("same-site", False),
        ("", False),
        ("same-origin", True),
        ("none", True),
    ):
        assert (_refused(("Host", "localhost"), ("Sec-Fetch-Site", site)) is None) is served, site


@pytest.mark.parametrize(
    ("headers", "served"),
    [([("Content-Length", "0")], True), ([("Content-Length", "2")], False),
     ([("Content-Length", "2"), ("Content-Type", "application/json; charset=utf-8")], True),
     ([("Content-Length", "2"), ("Content-Type", "Application/JSON")], True),
     ([("Content-Length", "2"), ("Content-Type", "text/plain")], False),
     ([("Transfer-Encoding", "chunked"), ("Content-Type", "application/x-www-form-urlencoded")], False),
     ([("Content-Length", "2"), ("Content-Type", "application/json"), ("Content-Type", "text/plain")], False)],
)  # fmt: skip
def test_a_body_is_of_an_expected_type(headers: list[tuple[str, str]], served: bool) -> None:
    """A form can be sent anywhere by any page, JSON cannot."""
    assert (_refused(("Host", "localhost"), *headers) is None) is served


def test_a_refusal_shows_little_of_what_a_stranger_sent() -> None:
    """In ASCII, cut."""
    assert len(str(_refused(("Host", "é\n" * 10_000)))) < 500
    assert str(_refused(("Host", "é\n"))).isprintable()


# --- every server, on a socket ---


@asynccontextmanager
async def _producer(_folder: Path) -> AsyncIterator[tuple[str, str]]:
    (port,) = free_ports(1)
    settings = Settings(_env_file=None, producer_port=port)
    server = StatusServer(settings, CollectorRegistry(), dict, list)
    await server.start()
    try:
        yield f"http://127.0.0.1:{port}", "/healthz"
    finally:
        await server.stop()


@asynccontextmanager
async def _worker(folder: Path) -> AsyncIterator[tuple[str, str]]:
    app = build_app(Settings(_env_file=None, data_dir=folder), transient=True)
    runner = web.AppRunner(await app.web.wsgi(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", "/healthz"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _simulator(_folder: Path) -> AsyncIterator[tuple[str, str]]:
    config = SimConfig(account_rate=0)
    async with serving(config, (Account(config),)) as simulator:
        yield f"http://127.0.0.1:{simulator.port}", "/admin/status"


@pytest.mark.parametrize("serve", [_producer, _worker, _simulator])
async def test_every_server_serves_programs_and_refuses_pages(serve: Any, tmp_path: Path) -> None:
    """Any path, one that does not exist too; the refusal says why and nothing else."""
    strangers = (
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
    )
    async with serve(tmp_path) as (url, page), aiohttp.ClientSession() as http:
        async with http.get(url + page) as answer:
            assert answer.status == 200
        for path in (page, "/", "/none"):
            for headers in strangers:
                async with http.request("POST", url + path, data=b"{}", headers=headers) as answer:
                    told = await answer.json()
                    assert (answer.status, list(told)) == (403, ["error"]), (path, headers)
                    assert "Access-Control-Allow-Origin" not in answer.headers


def _is_bare(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "Application"):
        return False
    return not any(word.arg == "middlewares" and "guard" in ast.unparse(word.value) for word in node.keywords)


def test_no_server_is_made_without_the_guard(python_files: list[Path], root: Path) -> None:
    """Each `web.Application(...)` of the project names its guards, and nothing else serves HTTP."""
    bare = []
    for path in python_files:
        if path.relative_to(root).parts[0] == "tests":
            continue
        text = path.read_text()
        bare += [f"{path}:{call.lineno}" for call in ast.walk(ast.parse(text)) if _is_bare(call)]
        if "http.server" in text or "start_http_server" in text or "make_wsgi_app" in text:
            bare.append(str(path))

    assert bare == []


# --- the simulator's admin ---


async def test_a_change_of_the_simulator_needs_the_token_of_its_run() -> None:
    """The extensions' too, and by any spelling of the path; reading needs none."""
    config = SimConfig(account_rate=0)
    changes = ("faults", "markets", "exchange", "account/faults", "account/trade", "%66aults")
    async with serving(config, (Account(config),)) as simulator, aiohttp.ClientSession() as http:
        for change in changes:
            for headers in ({}, {ADMIN_HEADER: "x"}, {ADMIN_HEADER: simulator.admin_token + "x"}):
                url = f"http://127.0.0.1:{simulator.port}/admin/{change}"
                async with http.post(url, json={}, headers=headers) as answer:
                    assert answer.status == 401, (change, headers)
                    assert simulator.admin_token not in await answer.text()
            async with http.post(url, json={}, headers={ADMIN_HEADER: simulator.admin_token}) as answer:
                assert answer.status != 401, change


async def test_the_token_is_written_for_its_user_alone(tmp_path: Path) -> None:
    """Anew with each run, over the last one's."""
    file = tmp_path / "token"
    seen = set()
    for _ in range(2):
        async with serving(SimConfig(admin_token_file=file)) as simulator:
            assert file.read_text() == simulator.admin_token
            assert file.stat().st_mode & 0o777 == 0o600
            seen.add(simulator.admin_token)

    assert len(seen) == 2


async def test_a_page_cannot_open_the_simulators_feed() -> None:
    """A WebSocket is not bound by CORS: the browser only says where it comes from."""
    async with serving(SimConfig()) as simulator, aiohttp.ClientSession() as http:
        url = f"ws://127.0.0.1:{simulator.port}{WS_PATH}"
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await http.ws_connect(url, origin="http://evil.example")
        async with http.ws_connect(url) as feed:
            assert not feed.closed
