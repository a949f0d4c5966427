"""The REST endpoints that a market producer needs, under /trade-api/v2."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from aiohttp import web

from domain.units import contracts_text, dollars_text
from venues.simulator.gate import KEY_HEADER, Gate
from venues.simulator.hub import Hub
from venues.simulator.listing import event_rest
from venues.simulator.market import STATUS_FILTER, Market

_Row = TypeVar("_Row")

PREFIX = "/trade-api/v2"
PAGE_DEFAULT = 100
PAGE_MAX = 1_000


def problem(status: int, code: str, message: str) -> web.Response:
    """An error answer in the venue's form."""
    body = {"code": code, "message": message, "details": message, "service": "simulator"}
    return web.json_response(body, status=status)


def guard(hub: Hub, gate: Gate, request: web.Request, *, needs_key: bool) -> web.Response | None:
    """The 401 for this request, or None. Market data is public, but a wrong signature is refused there too."""
    if hub.faults.settings.unauthorized:
        gate.refused += 1
        return problem(401, "authentication_error", "injected: unauthorized from now on")
    if not needs_key and KEY_HEADER not in request.headers:
        return None
    reason = gate.refusal(request.headers, request.method, request.rel_url.raw_path)
    return None if reason is None else problem(401, "authentication_error", reason)


class Rest:
    """Handlers over the hub's markets."""

    def __init__(self, hub: Hub, gate: Gate) -> None:
        self._hub = hub
        self._gate = gate

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes of this module."""
        handlers: dict[str, Callable[[web.Request], web.Response]] = {
            "/exchange/status": self._exchange_status,
            "/markets": self._markets,
            "/markets/{ticker}": self._market,
            "/markets/{ticker}/orderbook": self._orderbook,
            "/events": self._events,
            "/events/{ticker}": self._event,
            "/series/{ticker}": self._series,
        }
        return [web.get(PREFIX + path, self._guarded(handler)) for path, handler in handlers.items()]

    def _guarded(
        self, handler: Callable[[web.Request], web.Response]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            refused = guard(self._hub, self._gate, request, needs_key=False)
            return refused if refused is not None else handler(request)

        return handle

    def _exchange_status(self, _request: web.Request) -> web.Response:
        return web.json_response({"exchange_active": True, "trading_active": True})

    def _markets(self, request: web.Request) -> web.Response:
        try:
            page, cursor = _page([m for m in self._sorted() if _wanted(m, request)], request)
        except ValueError as wrong:
            return problem(400, "bad_request", str(wrong))
        return web.json_response({"markets": [m.rest() for m in page], "cursor": cursor})

    def _market(self, request: web.Request) -> web.Response:
        market = self._hub.markets.get(request.match_info["ticker"])
        return _not_found("market") if market is None else web.json_response({"market": market.rest()})

    def _orderbook(self, request: web.Request) -> web.Response:
        market = self._hub.markets.get(request.match_info["ticker"])
        if market is None:
            return _not_found("market")
        try:
            depth = int(request.query.get("depth", "0"))
        except ValueError:
            return problem(400, "bad_request", "depth is not a number")
        book = market.book
        sides = {"yes_dollars": _levels(book.yes, depth), "no_dollars": _levels(book.no, depth)}
        return web.json_response({"orderbook_fp": sides})

    def _events(self, request: web.Request) -> web.Response:
        events: dict[str, list[Market]] = {}
        for market in self._sorted():
            if _wanted(market, request):
                events.setdefault(market.event_ticker, []).append(market)
        try:
            page, cursor = _page(list(events.values()), request)
        except ValueError as wrong:
            return problem(400, "bad_request", str(wrong))
        nested = request.query.get("with_nested_markets") == "true"
        shown = [{**event_rest(ms), **({"markets": [m.rest() for m in ms]} if nested else {})} for ms in page]
        return web.json_response({"events": shown, "cursor": cursor})

    def _event(self, request: web.Request) -> web.Response:
        markets = [m for m in self._sorted() if m.event_ticker == request.match_info["ticker"]]
        if not markets:
            return _not_found("event")
        return web.json_response({"event": event_rest(markets), "markets": [m.rest() for m in markets]})

    def _series(self, request: web.Request) -> web.Response:
        series = self._hub.series.get(request.match_info["ticker"])
        return _not_found("series") if series is None else web.json_response({"series": series})

    def _sorted(self) -> list[Market]:
        return sorted(self._hub.markets.values(), key=lambda m: (m.close_ms, m.ticker))


def _not_found(what: str) -> web.Response:
    return problem(404, "not_found", f"{what} not found")


def _levels(levels: dict[int, int], depth: int) -> list[list[str]] | None:
    """Ascending, the best last; only the best `depth` of them. An empty side is null."""
    best = sorted(levels.items())[-depth:] if depth > 0 else sorted(levels.items())
    return [[dollars_text(price), contracts_text(size)] for price, size in best] or None


def _wanted(market: Market, request: web.Request) -> bool:
    """The query's filters. An unknown status value matches nothing, as no market has it."""
    query = request.query
    allowed = {s for part in query.get("status", "").split(",") for s in STATUS_FILTER.get(part, ())}
    tickers = query.get("tickers")
    return (
        (not query.get("status") or market.status in allowed)
        and query.get("event_ticker", market.event_ticker) in ("", market.event_ticker)
        and query.get("series_ticker", market.series_ticker) in ("", market.series_ticker)
        and (not tickers or market.ticker in tickers.split(","))
        and market.close_ms >= int(query.get("min_close_ts", 0)) * 1_000
        and market.close_ms <= int(query.get("max_close_ts", 1 << 40)) * 1_000
    )


def _page(rows: list[_Row], request: web.Request) -> tuple[list[_Row], str]:
    """One page and the cursor of the next; "" at the end. Raises ValueError for a wrong limit or cursor."""
    limit = int(request.query.get("limit") or PAGE_DEFAULT)
    if not 1 <= limit <= PAGE_MAX:
        raise ValueError(f"limit must be 1..{PAGE_MAX}")
    cursor = request.query.get("cursor", "")
    try:
        start = int(base64.b64decode(cursor, validate=True)) if cursor else 0
    except (binascii.Error, ValueError):
        raise ValueError("invalid cursor") from None
    more = start + limit < len(rows)
    return rows[start : start + limit], base64.b64encode(str(start + limit).encode()).decode() if more else ""
