"""/healthz, /readyz, /metrics and /status of a producer, on WEB_BIND and PRODUCER_PORT."""

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from app.http_guard import guarded, http_guard
from app.settings import Settings
from domain.errors import UserMistake

SHUTDOWN_S = 1.0  # for requests under way


class StatusServer:
    """Serves what the two callables say at the moment of the request."""

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        status: Callable[[], dict[str, Any]],
        problems: Callable[[], list[str]],
    ) -> None:
        """`problems` empty means ready."""
        self._host, self._port = settings.web_bind, settings.producer_port
        self._registry, self._status, self._problems = registry, status, problems
        app = web.Application(middlewares=[guarded(http_guard(self._host, settings.http_allowed_hosts))])
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/status", self._show_status),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)

    async def start(self) -> None:
        """Raises UserMistake: the port is in use or not ours to open."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as wrong:
            await self._runner.cleanup()
            raise UserMistake(f"PRODUCER_PORT {self._port}: {wrong.strerror}") from None

    async def stop(self) -> None:
        """Close the port."""
        await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        problems = self._problems()
        return _json({"ready": not problems, "reasons": problems}, 503 if problems else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _show_status(self, _request: web.Request) -> web.Response:
        return _json(self._status())


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
