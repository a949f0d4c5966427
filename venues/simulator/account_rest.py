"""GET /portfolio/* of the simulated account, the token budget it enforces, and the faults its answers can have."""

import asyncio
import base64
import binascii
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from venues.simulator import account_wire as wire
from venues.simulator import holdings_wire as holdings
from venues.simulator.account_ledger import DOLLAR_E4, Ledger, SimFill, SimOrder, SimPosition, SimSettlement
from venues.simulator.config import SimConfig
from venues.simulator.gate import Gate
from venues.simulator.hub import Hub
from venues.simulator.rest import PREFIX, guard, problem
from venues.simulator.vintages import TODAY

T = TypeVar("T")
PAGE_DEFAULT = 100
PAGE_MAX = 1_000
REQUEST_TOKENS = 10  # the venue's default cost of a request


@dataclass(frozen=True, slots=True)
class AccountFaults:
    """POST /admin/account/faults takes these names. `*_every`: each Nth answer (or item, or frame); 0 is off."""

    same_page: bool = False  # every page says there is another one: itself
    repeat_page_every: int = 0  # a page is served twice under two cursors
    strip_ids_every: int = 0  # every Nth fill item comes without fill_id and trade_id
    mix_units: bool = False  # ts alternates between seconds and ms, without created_time
    wrong_shape_every: int = 0  # a text, a list, another name for the list
    orders_as_fills_every: int = 0  # order objects in the list of fills
    status_429_every: int = 0
    status_500_every: int = 0
    retry_after_s: int | None = None
    slow_s: float = 0.0
    drop_frame_every: int = 0
    repeat_frame_every: int = 0
    resend_on_subscribe: int = 0  # so many of the newest fills are pushed again on each subscription


class Portfolio:
    """Handlers over the ledger. `budget_per_s` tokens may be spent a second, a second of it saved up."""

    def __init__(self, ledger: Ledger, faults: AccountFaults, budget_per_s: int, config: SimConfig) -> None:
        self.ledger = ledger
        self.faults = faults
        self.counts: Counter[str] = Counter()
        self._vintage, self._sides = config.account_vintage, config.fill_sides
        self._hub: Callable[[], Hub | None] = lambda: None
        self._budget_per_s = budget_per_s
        self._tokens = float(budget_per_s)
        self._filled_s = time.monotonic()
        self._turns: Counter[str] = Counter()

    def routes(self, hub_now: Callable[[], Hub | None], gate: Gate) -> Iterable[web.RouteDef]:
        """All of /portfolio; each needs a key."""
        handlers: dict[str, Callable[[web.Request], dict[str, Any] | None]] = {
            "/portfolio/balance": self._balance,
            "/portfolio/fills": self._fills,
            "/portfolio/orders": self._orders,
            "/portfolio/orders/{order_id}": self._order,
            "/portfolio/positions": self._positions,
            "/portfolio/settlements": self._settlements,
        }

        self._hub = hub_now

        def route(path: str, answer: Callable[[web.Request], dict[str, Any] | None]) -> web.RouteDef:
            async def handle(request: web.Request) -> web.Response:
                hub = hub_now()
                if hub is None:
                    return problem(503, "service_unavailable", "starting")
                refused = guard(hub, gate, request, needs_key=True)
                return refused if refused is not None else await self._answer(request, answer)

            return web.get(PREFIX + path, handle)

        return [route(path, answer) for path, answer in handlers.items()]

    async def _answer(
        self, request: web.Request, answer: Callable[[web.Request], dict[str, Any] | None]
    ) -> web.Response:
        self.counts["requests"] += 1
        if self.faults.slow_s:
            await asyncio.sleep(self.faults.slow_s)
        if not self._within_budget() or self.turn("status_429_every"):
            after = self.faults.retry_after_s
            headers = {} if after is None else {"Retry-After": str(after)}
            return web.json_response({"error": "too many requests"}, status=429, headers=headers)
        if self.turn("status_500_every"):
            return problem(503, "service_unavailable", "injected")
        try:
            body = answer(request)
        except (ValueError, binascii.Error) as wrong:
            return problem(400, "bad_request", str(wrong))
        if body is None:
            return problem(404, "not_found", "order not found")
        return web.json_response(self._misshapen(body) if self.turn("wrong_shape_every") else body)

    def _within_budget(self) -> bool:
        now_s = time.monotonic()
        self._tokens = min(float(self._budget_per_s), self._tokens + (now_s - self._filled_s) * self._budget_per_s)
        self._filled_s = now_s
        if self._tokens < REQUEST_TOKENS:
            self.counts["over_budget"] += 1
            return False
        self._tokens -= REQUEST_TOKENS
        return True

    def turn(self, name: str) -> bool:
        """Whether the fault of this name strikes now; each call is one opportunity."""
        every = int(getattr(self.faults, name))
        if not every:
            return False
        self._turns[name] += 1
        struck = self._turns[name] % every == 0
        self.counts[name] += struck
        return struck

    def _misshapen(self, body: dict[str, Any]) -> Any:
        rows = next((value for value in body.values() if isinstance(value, list)), [])
        self._turns["shapes"] += 1
        return ["service busy", {"data": rows, "cursor": body.get("cursor", "")}, {"nothing": 1}, [*rows, "x", 7]][
            self._turns["shapes"] % 4
        ]

    def _told(self) -> str:
        """The vintage of this answer; of mixed ones every other is old."""
        if self._vintage != "mixed":
            return self._vintage
        return "b" if self.counts["requests"] % 2 == 0 else TODAY

    def _fills(self, request: web.Request) -> dict[str, Any]:
        since_us, until_us = _bounds(request)
        rows = _between(self.ledger.fills, lambda fill: fill.ts_us, since_us, until_us)
        page, cursor = self._page(rows, request)
        items = [self._fill_item(fill) for fill in page]
        if self.turn("orders_as_fills_every"):
            items = [wire.order_item(order, "b") for order in self.ledger.orders[-len(items) :]] + items
        return {"fills": items, "cursor": cursor}

    def _fill_item(self, fill: SimFill) -> dict[str, Any]:
        item = wire.fill_item(fill, self._told(), self._sides)
        if self.turn("strip_ids_every") and self._is_unique(fill):
            del item["fill_id"], item["trade_id"]
        if self.faults.mix_units:
            del item["created_time"]
            self._turns["units"] += 1
            item["ts"] = fill.ts_us // (1_000 if self._turns["units"] % 2 else 1_000_000)
        return item

    def _is_unique(self, fill: SimFill) -> bool:
        """Whether no other fill of its order has the same price, count and second: only then may its id be missing."""
        twins = [
            f
            for f in self.ledger.fills
            if f.order is fill.order
            and (f.price_e4, f.count_e2, f.ts_us // 1_000_000)
            == (fill.price_e4, fill.count_e2, fill.ts_us // 1_000_000)
        ]
        return len(twins) == 1

    def _orders(self, request: web.Request) -> dict[str, Any]:
        since_us, until_us = _bounds(request)
        status = request.query.get("status", "")
        known = self.ledger.resting() if status == "resting" else self.ledger.orders
        rows = _between(known, lambda order: order.created_us, since_us, until_us)
        if status not in ("", "resting"):
            rows = [order for order in rows if order.status == status]
        page, cursor = self._page(rows, request)
        return {"orders": [wire.order_item(order, self._told()) for order in page], "cursor": cursor}

    def _order(self, request: web.Request) -> dict[str, Any] | None:
        wanted = request.match_info["order_id"]
        found: SimOrder | None = self.ledger.by_id.get(wanted)
        return (
            {"order": wire.order_item(found, TODAY if self._vintage == "mixed" else self._vintage)}
            if found is not None
            else None
        )

    def _positions(self, request: web.Request) -> dict[str, Any]:
        resting = Counter(order.ticker for order in self.ledger.resting())
        rows = [(ticker, p) for ticker, p in sorted(self.ledger.positions.items()) if not p.settled]
        page, cursor = self._page(rows, request)
        items = [holdings.position_item(t, p, resting[t], self._told()) for t, p in page]
        return {"market_positions": items, "event_positions": self._event_positions(page), "cursor": cursor}

    def _event_positions(self, page: list[tuple[str, SimPosition]]) -> list[dict[str, Any]]:
        events: dict[str, list[SimPosition]] = {}
        for ticker, position in page:
            events.setdefault(self._event_of(ticker), []).append(position)
        return [holdings.event_position_item(event, positions) for event, positions in sorted(events.items())]

    def _event_of(self, ticker: str) -> str:
        hub = self._hub()
        market = hub.markets.get(ticker) if hub is not None else None
        return market.event_ticker if market is not None else ticker.rpartition("-")[0] or ticker

    def _balance(self, _request: web.Request) -> dict[str, Any]:
        """The value of a position is that of its contracts at the market's last price, half a dollar where none is."""
        value_e6, hub = 0, self._hub()
        for ticker, position in self.ledger.positions.items():
            market = hub.markets.get(ticker) if hub is not None else None
            yes_e4 = (market.last_yes_e4 if market is not None else 0) or DOLLAR_E4 // 2
            value_e6 += abs(position.net_e2) * (yes_e4 if position.net_e2 > 0 else DOLLAR_E4 - yes_e4)
        cash = holdings.Cash(self.ledger, value_e6, time.time_ns() // 1_000)
        return holdings.balance_body(cash, self._told())

    def _settlements(self, request: web.Request) -> dict[str, Any]:
        since_us, until_us = _bounds(request)
        rows = [s for s in self.ledger.settlements if since_us <= s.settled_us < until_us]
        page, cursor = self._page(rows, request)
        return {"settlements": [self._settlement_item(settlement) for settlement in page], "cursor": cursor}

    def _settlement_item(self, settlement: SimSettlement) -> dict[str, Any]:
        return holdings.settlement_item(settlement, self._event_of(settlement.ticker), self._told())

    def _page(self, rows: Sequence[T], request: web.Request) -> tuple[list[T], str]:
        """Newest first. The cursor names an absolute place, so that new rows shift nothing."""
        limit = int(request.query.get("limit") or PAGE_DEFAULT)
        if not 1 <= limit <= PAGE_MAX:
            raise ValueError(f"limit must be 1..{PAGE_MAX}")
        cursor = request.query.get("cursor", "")
        end = int(base64.b64decode(cursor, validate=True)) if cursor else len(rows)
        if self.faults.same_page:
            return list(reversed(rows[-limit:])), _cursor(len(rows))
        start = max(0, end - limit)
        next_end = end if start and self.turn("repeat_page_every") else start
        return list(reversed(rows[start:end])), _cursor(next_end) if next_end else ""

    async def set_faults(self, request: web.Request) -> web.Response:
        """POST /admin/account/faults: any of the fields of `AccountFaults`; the others stay."""
        try:
            wanted = await request.json()
            self.faults = msgspec.convert({**msgspec.to_builtins(self.faults), **wanted}, AccountFaults)
        except (ValueError, TypeError) as wrong:
            return web.json_response({"error": str(wrong)}, status=400)
        return web.json_response(msgspec.to_builtins(self.faults))


def _between(rows: Sequence[T], time_us: Callable[[T], int], since_us: int, until_us: int) -> Sequence[T]:
    """The rows of a time span; they stand in time order."""
    return rows[bisect_left(rows, since_us, key=time_us) : bisect_left(rows, until_us, key=time_us)]


def _cursor(place: int) -> str:
    return base64.b64encode(f"{place:09d}".encode()).decode()


def _bounds(request: web.Request) -> tuple[int, int]:
    """min_ts and max_ts (seconds, inclusive) as microseconds."""
    low, high = int(request.query.get("min_ts") or 0), int(request.query.get("max_ts") or 1 << 40)
    return low * 1_000_000, (high + 1) * 1_000_000
