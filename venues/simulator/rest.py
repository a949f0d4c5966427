"""The public REST interface: markets, events, series, trades, the exchange's own state, under /trade-api/v2."""

import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from aiohttp import web

from venues.simulator.exchange import Exchange
from venues.simulator.gate import KEY_HEADER, Gate
from venues.simulator.hub import Hub
from venues.simulator.market import STATUS_FILTER, Market
from venues.simulator.market_wire import Trade, event_body, ladder, market_body, series_body, trade_body
from venues.simulator.vintages import Body

_Row = TypeVar("_Row")

PREFIX = "/trade-api/v2"
PAGE_DEFAULT = 100
PAGE_MAX = 1_000
BOOKS_MAX = 100  # of one bulk request


def problem(status: int, code: str, message: str) -> web.Response:
    """An error answer in the venue's form."""
    return web.json_response({"code": code, "message": message, "details": message}, status=status)


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

    def __init__(self, hub: Hub, gate: Gate, exchange: Exchange) -> None:
        self._hub = hub
        self._gate = gate
        self._exchange = exchange
        self._vintage = hub.rest_vintage
        self._live_trades_ms = hub.config.live_fills_s * 1_000

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes of this module."""
        handlers: dict[str, Callable[[web.Request], web.Response]] = {
            "/exchange/status": lambda _: web.json_response(self._exchange.status()),
            "/exchange/schedule": lambda _: web.json_response(self._exchange.schedule(time.time())),
            # The fixed paths stand before those with a ticker.
            "/markets/orderbooks": self._orderbooks,
            "/markets/trades": lambda request: self._trades(request, archived=False),
            "/markets": lambda request: self._markets(request, self._sorted()),
            "/markets/{ticker}": lambda request: self._market(request, self._hub.markets),
            "/markets/{ticker}/orderbook": self._orderbook,
            "/historical/markets": lambda request: self._markets(request, list(self._hub.archive.values())),
            "/historical/markets/{ticker}": lambda request: self._market(request, self._hub.archive),
            "/historical/trades": lambda request: self._trades(request, archived=True),
            "/events/fee_changes": lambda _: web.json_response({"event_fee_changes": [], "cursor": ""}),
            "/events": self._events,
            "/events/{ticker}": self._event,
            "/series/fee_changes": lambda _: web.json_response({"series_fee_change_arr": []}),
            "/series": self._series_list,
            "/series/{ticker}": self._series,
        }
        return [web.get(PREFIX + path, self._guarded(handler)) for path, handler in handlers.items()]

    def _guarded(
        self, handler: Callable[[web.Request], web.Response]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            refused = guard(self._hub, self._gate, request, needs_key=False)
            if refused is not None:
                return refused
            try:
                return handler(request)
            except ValueError as wrong:
                return problem(400, "bad_request", str(wrong))

        return handle

    # --- markets and their books ---

    def _markets(self, request: web.Request, markets: list[Market]) -> web.Response:
        page, cursor = _page([m for m in markets if _wanted(m, request)], request)
        return web.json_response({"markets": [market_body(m, self._vintage) for m in page], "cursor": cursor})

    def _market(self, request: web.Request, markets: dict[str, Market]) -> web.Response:
        market = markets.get(request.match_info["ticker"])
        if market is None:
            return _not_found("market")
        return web.json_response({"market": market_body(market, self._vintage)})

    def _orderbook(self, request: web.Request) -> web.Response:
        market = self._hub.markets.get(request.match_info["ticker"])
        if market is None:
            return _not_found("market")
        return web.json_response({"orderbook_fp": self._sides(market, int(request.query.get("depth") or 0))})

    def _orderbooks(self, request: web.Request) -> web.Response:
        tickers = [t for text in request.query.getall("tickers", []) for t in text.split(",") if t]
        if not 1 <= len(tickers) <= BOOKS_MAX:
            raise ValueError(f"tickers: expected 1 to {BOOKS_MAX}")
        known = [market for ticker in tickers if (market := self._hub.markets.get(ticker)) is not None]
        books = [{"ticker": market.ticker, "orderbook_fp": self._sides(market, 0)} for market in known]
        return web.json_response({"orderbooks": books})

    def _sides(self, market: Market, depth: int) -> Body:
        book = market.book
        return {
            "yes_dollars": ladder(book.yes, depth, self._vintage),
            "no_dollars": ladder(book.no, depth, self._vintage),
        }

    def _trades(self, request: web.Request, *, archived: bool) -> web.Response:
        """Newest first; a trade older than the live tier is under /historical."""
        query, cutoff_ms = request.query, time.time_ns() // 1_000_000 - self._live_trades_ms
        since_ms, until_ms = int(query.get("min_ts") or 0) * 1_000, int(query.get("max_ts") or 1 << 40) * 1_000
        ticker = query.get("ticker")

        def wanted(trade: Trade) -> bool:
            in_tier = (trade.ts_ms < cutoff_ms) == archived
            return in_tier and ticker in (None, "", trade.ticker) and since_ms <= trade.ts_ms <= until_ms

        page, cursor = _page([trade for trade in reversed(self._hub.trades) if wanted(trade)], request)
        return web.json_response({"trades": [trade_body(t, self._vintage) for t in page], "cursor": cursor})

    # --- events and series ---

    def _events(self, request: web.Request) -> web.Response:
        events: dict[str, list[Market]] = {}
        for market in self._sorted():
            if _wanted(market, request):
                events.setdefault(market.event_ticker, []).append(market)
        page, cursor = _page(list(events.values()), request)
        nested = request.query.get("with_nested_markets", "").lower() == "true"
        shown = [event_body(markets, self._vintage, nested=nested) for markets in page]
        return web.json_response({"events": shown, "cursor": cursor})

    def _event(self, request: web.Request) -> web.Response:
        markets = [m for m in self._sorted() if m.event_ticker == request.match_info["ticker"]]
        if not markets:
            return _not_found("event")
        nested = request.query.get("with_nested_markets", "").lower() == "true"
        listed = [market_body(m, self._vintage) for m in markets]
        return web.json_response({"event": event_body(markets, self._vintage, nested=nested), "markets": listed})

    def _series_list(self, request: web.Request) -> web.Response:
        known = self._hub.series.values() if request.query.get("category") in (None, "", "Crypto") else ()
        return web.json_response({"series": [series_body(series, self._vintage) for series in known]})

    def _series(self, request: web.Request) -> web.Response:
        series = self._hub.series.get(request.match_info["ticker"])
        return (
            _not_found("series")
            if series is None
            else web.json_response({"series": series_body(series, self._vintage)})
        )

    def _sorted(self) -> list[Market]:
        return sorted(self._hub.markets.values(), key=lambda m: (m.close_ms, m.ticker))


def _not_found(what: str) -> web.Response:
    return problem(404, "not_found", f"{what} not found")


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
        and market.close_ms >= int(query.get("min_close_ts") or 0) * 1_000
        and market.close_ms <= int(query.get("max_close_ts") or 1 << 40) * 1_000
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
