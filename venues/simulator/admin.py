"""The simulator's own endpoints under /admin: status, truth, faults, markets, send times. No venue has them.

GET  /admin/status               counters, connections, injected gaps with their wall-clock ms
GET  /admin/gaps                 all injected gaps that are kept
GET  /admin/books[?ticker=]      the truth: levels best last, sid and seq of the newest connection that listens
GET  /admin/faults               the repeating faults in force
POST /admin/faults               any of config.FaultSettings, and the one-shot ones below
GET  /admin/sent[?since=n]       with --stamp-us: [connection, sid, seq, sent_ns], and the next `since`
POST /admin/markets              {"add": ticker, ...} or {"settle": ticker, "result": "yes"|"no"}

Whatever is not a GET needs the token of this run in X-Admin-Token, those of the extensions too.
"""

import base64
import binascii
import hmac
from collections.abc import Iterable
from dataclasses import asdict, fields
from itertools import islice
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from venues.simulator.channels import BOOK, Extension
from venues.simulator.config import FaultSettings
from venues.simulator.gate import Gate
from venues.simulator.generator import Generator
from venues.simulator.hub import Hub
from venues.simulator.market import Market

_REPEATING = {field.name for field in fields(FaultSettings)}
ADDED_OPEN_S = 3_600
GAPS_SHOWN = 2_000  # newest in the status, which is polled; some 300 kB


ADMIN_HEADER = "X-Admin-Token"
_READS = ("GET", "HEAD")


def token_guard(token: str) -> Middleware:
    """Middleware: 401 for a change under /admin without the token. By the route that was found, not by the spelling of
    the path."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        if resource is None or not resource.canonical.startswith("/admin") or request.method in _READS:
            return await handler(request)
        given = request.headers.get(ADMIN_HEADER, "")
        if hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode()):
            return await handler(request)
        return web.json_response({"error": f"{ADMIN_HEADER}: expected the token of this run"}, status=401)

    return check


class Admin:
    """Handlers over the hub."""

    def __init__(self, hub: Hub, gate: Gate, extensions: Iterable[Extension]) -> None:
        self._hub = hub
        self._gate = gate
        self._extensions = tuple(extensions)

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes of this module."""
        return [
            web.get("/admin/status", self._status),
            web.get("/admin/gaps", self._gaps),
            web.get("/admin/books", self._books),
            web.get("/admin/faults", self._faults),
            web.post("/admin/faults", self._set_faults),
            web.get("/admin/sent", self._sent),
            web.post("/admin/markets", self._change_markets),
        ]

    async def _status(self, _request: web.Request) -> web.Response:
        hub = self._hub
        served, by_type = hub.frames_served()
        body: dict[str, object] = {
            "finished": hub.source.finished,
            "source": hub.config.source,
            "frames_served": served,
            "frames_by_type": by_type,
            "source_frames_by_type": dict(hub.source_frames),
            "frames_dropped": hub.frames_dropped,
            "subscribed": sorted(m.ticker for m in hub.markets.values() if m.targets.get(BOOK)),
            "markets": len(hub.markets),
            "connections": [*hub.past_sessions, *(session.status() for session in hub.sessions)],
            "refused_401": self._gate.refused,
            "faults": dict(hub.faults.counts),
            "gaps_total": hub.faults.gaps_total,
            "gaps": list(hub.faults.gaps)[-GAPS_SHOWN:],
            **hub.source.status(),
        }
        for extension in self._extensions:
            body.update(extension.status())
        return web.json_response(body)

    async def _gaps(self, _request: web.Request) -> web.Response:
        return web.json_response(list(self._hub.faults.gaps))

    async def _books(self, request: web.Request) -> web.Response:
        ticker = request.query.get("ticker")
        markets = [m for m in self._hub.markets.values() if ticker in (None, m.ticker)]
        return web.json_response({market.ticker: _truth(market) for market in markets})

    async def _faults(self, _request: web.Request) -> web.Response:
        return web.json_response(asdict(self._hub.faults.settings))

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            wanted: dict[str, Any] = await request.json()
            repeating = {key: wanted.pop(key) for key in _REPEATING & wanted.keys()}
            settings = msgspec.convert({**asdict(self._hub.faults.settings), **repeating}, FaultSettings)
            told = await self._strike(wanted)
        except (ValueError, AttributeError, KeyError, TypeError, binascii.Error) as wrong:  # msgspec's are ValueErrors
            return web.json_response({"error": str(wrong)}, status=400)
        self._hub.faults.set(settings)
        return web.json_response({**asdict(settings), "told": told})

    async def _strike(self, wanted: dict[str, Any]) -> int:
        """The one-shot faults; returns how many connections or subscriptions were hit."""
        hub, hit = self._hub, 0
        sid = wanted.pop("sid", None)
        close_code = wanted.pop("close_code", None)
        for name, value in wanted.items():
            if name == "silence_s":
                hub.faults.silence(float(value))
            elif name == "error_code":
                hit += hub.faults.end_subscriptions(int(value), sid)
            elif name == "inject_text":
                hit += self._inject(str(value).encode("utf-8", "surrogatepass"), binary=False)
            elif name == "inject_bytes":
                hit += self._inject(b"x" * int(value), binary=False)
            elif name == "inject_binary_base64":
                hit += self._inject(base64.b64decode(value, validate=True), binary=True)
            elif name == "disconnect":
                hit += self._disconnect()
            else:
                raise ValueError(f"unknown fault {name!r}")
        if close_code is not None:
            for session in list(hub.sessions):
                session.flush()
                hub.faults.counts["close"] += 1
                await session.ws.close(code=int(close_code), message=b"injected")
                hit += 1
        return hit

    def _inject(self, payload: bytes, *, binary: bool) -> int:
        sessions = list(self._hub.sessions)
        for session in sessions:
            session.write_bytes(payload, "garbage", binary=binary)
            session.flush()
            self._hub.faults.counts["inject"] += 1
        return len(sessions)

    def _disconnect(self) -> int:
        sessions = list(self._hub.sessions)
        for session in sessions:
            self._hub.faults.counts["disconnect"] += 1
            session.sever()
        return len(sessions)

    async def _sent(self, request: web.Request) -> web.Response:
        try:
            since = max(0, int(request.query.get("since", "0")))
        except ValueError:
            return web.json_response({"error": "since is not a number"}, status=400)
        hub = self._hub
        first = hub.sent_total - len(hub.sent)
        rows = list(islice(hub.sent, max(0, since - first), None))
        return web.json_response({"first": max(since, first), "next": hub.sent_total, "sent": rows})

    async def _change_markets(self, request: web.Request) -> web.Response:
        source = self._hub.source
        if not isinstance(source, Generator):
            return web.json_response({"error": "only the generator's markets can be changed"}, status=409)
        try:
            wanted = await request.json()
            if "settle" in wanted:
                done = source.settle_now(wanted["settle"], wanted.get("result"))
            else:
                done = source.add_market(wanted["add"], wanted.get("floor_strike"), wanted.get("open_s", ADDED_OPEN_S))
        except (ValueError, KeyError, TypeError) as wrong:
            return web.json_response({"error": f"wrong request: {wrong}"}, status=400)
        self._hub.flush()
        return web.json_response({"done": done}, status=200 if done else 409)


def _truth(market: Market) -> dict[str, object]:
    listeners = market.targets.get(BOOK) or ()
    newest = listeners[-1] if listeners else None
    return {
        "yes": [list(level) for level in sorted(market.book.yes.items())],
        "no": [list(level) for level in sorted(market.book.no.items())],
        "sid": newest.sid if newest else None,
        "seq": newest.seq if newest else None,
        "status": market.status,
    }
