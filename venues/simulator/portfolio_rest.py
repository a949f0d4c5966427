"""What the account has and had, over REST: GET /portfolio/* of the live tier, GET /historical/* of the archived one."""

import base64
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from aiohttp import web

from domain.units import contracts_text, money_text
from venues.simulator import account_wire as wire
from venues.simulator import holdings_wire as holdings
from venues.simulator.account_door import Door, Refused
from venues.simulator.account_ledger import (
    DOLLAR_E4,
    Ledger,
    SimFill,
    SimOrder,
    SimPosition,
    SimSettlement,
)
from venues.simulator.config import EXCHANGE_INDEX, SimConfig
from venues.simulator.order_desk import OrderDesk
from venues.simulator.vintages import TODAY, Body

T = TypeVar("T")
PAGE_DEFAULT = 100
PAGE_MAX = 1_000
_COUNT_FILTERS = {"position", "total_traded"}  # resting_orders_count was one until 2026
_SETTLEMENT_STATUSES = ("all", "settled", "unsettled")


class Portfolio:
    """Handlers over the ledger. Rows are newest first; `clock_us` is the account's."""

    def __init__(self, door: Door, ledger: Ledger, desk: OrderDesk, config: SimConfig, clock_us: Callable[[], int]):
        self._door, self._ledger, self._desk, self._clock_us = door, ledger, desk, clock_us
        self._sides, self._mixed = config.fill_sides, config.account_vintage == "mixed"
        self._live_orders_us = config.live_orders_s * 1_000_000
        self._live_fills_us = config.live_fills_s * 1_000_000

    def routes(self) -> Iterable[web.RouteDef]:
        """All reads; each needs a key."""
        answers: dict[str, Callable[[web.Request, Any], Body | None]] = {
            "/portfolio/balance": self._balance,
            "/portfolio/fills": self._fills,
            "/portfolio/orders": self._orders,
            "/portfolio/orders/queue_positions": self._queue_positions,
            "/portfolio/orders/{order_id}": self._order,
            "/portfolio/orders/{order_id}/queue_position": self._queue_position,
            "/portfolio/positions": self._positions,
            "/portfolio/settlements": self._settlements,
            "/portfolio/summary/total_resting_order_value": self._resting_value,
            "/historical/fills": self._old_fills,
            "/historical/orders": self._old_orders,
            "/historical/positions": self._old_positions,
        }
        return [self._door.route("GET", path, answer) for path, answer in answers.items()]

    # --- fills ---

    def _fills(self, request: web.Request, _body: Any) -> Body:
        return self._fills_between(request, self._fills_cutoff_us(), 1 << 62)

    def _old_fills(self, request: web.Request, _body: Any) -> Body:
        return self._fills_between(request, 0, self._fills_cutoff_us())

    def _fills_cutoff_us(self) -> int:
        return self._clock_us() - self._live_fills_us

    def _fills_between(self, request: web.Request, from_us: int, to_us: int) -> Body:
        since_us, until_us = _bounds(request)
        rows = _between(self._ledger.fills, lambda f: f.ts_us, max(since_us, from_us), min(until_us, to_us))
        ticker, order_id = request.query.get("ticker"), request.query.get("order_id")
        if ticker or order_id:
            rows = [
                f for f in rows if ticker in (None, "", f.order.ticker) and order_id in (None, "", f.order.order_id)
            ]
        page, cursor = self._page(rows, request)
        items = [self._fill_item(fill) for fill in page]
        if self._door.turn("orders_as_fills_every"):
            items = [wire.order_item(order, "b") for order in self._ledger.orders[-len(items) :]] + items
        return {"fills": items, "cursor": cursor}

    def _fill_item(self, fill: SimFill) -> Body:
        item = wire.fill_item(fill, self._door.told(), self._sides)
        if self._door.turn("strip_ids_every") and self._is_unique(fill):
            del item["fill_id"], item["trade_id"]
        if self._door.faults.mix_units:
            del item["created_time"]
            self._door.counts["mixed_units"] += 1
            item["ts"] = fill.ts_us // (1_000 if self._door.counts["mixed_units"] % 2 else 1_000_000)
        return item

    def _is_unique(self, fill: SimFill) -> bool:
        """Whether no other fill of its order has the same price, count and second: only then may its id be missing."""
        twins = [
            f
            for f in self._ledger.fills
            if f.order is fill.order
            and (f.price_e4, f.count_e2, f.ts_us // 1_000_000)
            == (fill.price_e4, fill.count_e2, fill.ts_us // 1_000_000)
        ]
        return len(twins) == 1

    # --- orders ---

    def _orders(self, request: web.Request, _body: Any) -> Body:
        cutoff_us = self._clock_us() - self._live_orders_us
        return self._orders_where(request, lambda o: o.status == "resting" or o.updated_us >= cutoff_us)

    def _old_orders(self, request: web.Request, _body: Any) -> Body:
        cutoff_us = self._clock_us() - self._live_orders_us
        return self._orders_where(request, lambda o: o.status != "resting" and o.updated_us < cutoff_us)

    def _orders_where(self, request: web.Request, in_tier: Callable[[SimOrder], bool]) -> Body:
        since_us, until_us = _bounds(request)
        status, ticker = request.query.get("status", ""), request.query.get("ticker")
        known = self._ledger.resting() if status == "resting" else self._ledger.orders
        rows = [
            order
            for order in _between(known, lambda o: o.created_us, since_us, until_us)
            if in_tier(order) and status in ("", order.status) and ticker in (None, "", order.ticker)
        ]
        page, cursor = self._page(rows, request)
        return {"orders": [wire.order_item(order, self._door.told()) for order in page], "cursor": cursor}

    def _order(self, request: web.Request, _body: Any) -> Body | None:
        found = self._ledger.by_id.get(request.match_info["order_id"])
        vintage = TODAY if self._mixed else self._door.told()
        return {"order": wire.order_item(found, vintage)} if found is not None else None

    def _queue_position(self, request: web.Request, _body: Any) -> Body | None:
        order = self._ledger.live.get(request.match_info["order_id"])
        return None if order is None else {"queue_position_fp": self._queue_text(order)}

    def _queue_positions(self, request: web.Request, _body: Any) -> Body:
        tickers = set(filter(None, request.query.get("market_tickers", "").split(",")))
        event = request.query.get("event_ticker")
        if not tickers and not event:
            raise Refused(400, "invalid_parameters", "expected market_tickers or event_ticker")
        rows = [o for o in self._ledger.resting() if o.ticker in tickers or self._event_of(o.ticker) == event]
        items = [
            {"order_id": o.order_id, "market_ticker": o.ticker, "queue_position_fp": self._queue_text(o)} for o in rows
        ]
        return {"queue_positions": items}

    def _queue_text(self, order: SimOrder) -> str:
        assert self._door.hub is not None
        return contracts_text(self._desk.queue_e2(self._door.hub, order))

    def _resting_value(self, _request: web.Request, _body: Any) -> Body:
        value_e6 = sum(order.remaining_e2 * order.price_e4 for order in self._ledger.resting())
        breakdown = [{"exchange_index": EXCHANGE_INDEX, "balance": money_text(value_e6)}]
        return {
            "total_resting_order_value": value_e6 // holdings.CENT_E6,
            "resting_order_value_breakdown": breakdown,
        }

    # --- positions, settlements, cash ---

    def _positions(self, request: web.Request, _body: Any) -> Body:
        status = request.query.get("settlement_status") or "unsettled"
        if status not in _SETTLEMENT_STATUSES:
            raise Refused(400, "invalid_parameters", f"settlement_status: expected {', '.join(_SETTLEMENT_STATUSES)}")
        lag_us, cutoff_us = int(self._door.faults.positions_lag_s * 1_000_000), self._fills_cutoff_us()
        known = self._ledger.positions_at(self._clock_us() - lag_us) if lag_us else self._ledger.positions
        return self._positions_where(
            request,
            known,
            lambda p: (
                status in ("all", "settled" if p.settled else "unsettled")
                and (not p.settled or p.updated_us >= cutoff_us)
            ),
        )

    def _old_positions(self, request: web.Request, _body: Any) -> Body:
        cutoff_us = self._fills_cutoff_us()
        return self._positions_where(request, self._ledger.positions, lambda p: p.settled and p.updated_us < cutoff_us)

    def _positions_where(
        self, request: web.Request, known: dict[str, SimPosition], in_tier: Callable[[SimPosition], bool]
    ) -> Body:
        query, filters = request.query, set(filter(None, request.query.get("count_filter", "").split(",")))
        if filters - _COUNT_FILTERS:
            raise Refused(400, "invalid_parameters", f"count_filter: expected {', '.join(sorted(_COUNT_FILTERS))}")
        resting = Counter(order.ticker for order in self._ledger.resting())
        rows = [
            (ticker, p)
            for ticker, p in sorted(known.items())
            if in_tier(p)
            and query.get("ticker") in (None, "", ticker)
            and query.get("event_ticker") in (None, "", self._event_of(ticker))
            and (not filters or ("position" in filters and p.net_e2) or ("total_traded" in filters and p.traded_e6))
        ]
        page, cursor = self._page(rows, request)
        items = [holdings.position_item(t, p, resting[t], self._door.told()) for t, p in page]
        return {"market_positions": items, "event_positions": self._event_positions(page), "cursor": cursor}

    def _event_positions(self, page: list[tuple[str, SimPosition]]) -> list[Body]:
        events: dict[str, list[SimPosition]] = {}
        for ticker, position in page:
            events.setdefault(self._event_of(ticker), []).append(position)
        return [holdings.event_position_item(event, positions) for event, positions in sorted(events.items())]

    def _event_of(self, ticker: str) -> str:
        market = self._door.hub.markets.get(ticker) if self._door.hub is not None else None
        return market.event_ticker if market is not None else ticker.rpartition("-")[0] or ticker

    def _balance(self, _request: web.Request, _body: Any) -> Body:
        """A position is worth its contracts at the market's last price, half a dollar each where there is none."""
        value_e6 = 0
        for ticker, position in self._ledger.positions.items():
            market = self._door.hub.markets.get(ticker) if self._door.hub is not None else None
            yes_e4 = (market.last_yes_e4 if market is not None else 0) or DOLLAR_E4 // 2
            value_e6 += abs(position.net_e2) * (yes_e4 if position.net_e2 > 0 else DOLLAR_E4 - yes_e4)
        cash = holdings.Cash(self._ledger, value_e6, self._clock_us())
        return holdings.balance_body(cash, self._door.told())

    def _settlements(self, request: web.Request, _body: Any) -> Body:
        since_us, until_us = _bounds(request)
        ticker = request.query.get("ticker")
        rows = [
            s
            for s in self._ledger.settlements
            if since_us <= s.settled_us < until_us and ticker in (None, "", s.ticker)
        ]
        page, cursor = self._page(rows, request)
        return {"settlements": [self._settlement_item(settlement) for settlement in page], "cursor": cursor}

    def _settlement_item(self, settlement: SimSettlement) -> Body:
        return holdings.settlement_item(settlement, self._event_of(settlement.ticker), self._door.told())

    def _page(self, rows: Sequence[T], request: web.Request) -> tuple[list[T], str]:
        """Newest first. The cursor names an absolute place, so that new rows shift nothing."""
        limit = int(request.query.get("limit") or PAGE_DEFAULT)
        if not 1 <= limit <= PAGE_MAX:
            raise ValueError(f"limit must be 1..{PAGE_MAX}")
        cursor = request.query.get("cursor", "")
        end = int(base64.b64decode(cursor, validate=True)) if cursor else len(rows)
        if self._door.faults.same_page:
            return list(reversed(rows[-limit:])), _cursor(len(rows))
        start = max(0, end - limit)
        next_end = end if start and self._door.turn("repeat_page_every") else start
        return list(reversed(rows[start:end])), _cursor(next_end) if next_end else ""


def _between(rows: Sequence[T], time_us: Callable[[T], int], since_us: int, until_us: int) -> Sequence[T]:
    """The rows of a time span; they stand in time order."""
    return rows[bisect_left(rows, since_us, key=time_us) : bisect_left(rows, until_us, key=time_us)]


def _cursor(place: int) -> str:
    return base64.b64encode(f"{place:09d}".encode()).decode()


def _bounds(request: web.Request) -> tuple[int, int]:
    """min_ts and max_ts (seconds, inclusive) as microseconds."""
    low, high = int(request.query.get("min_ts") or 0), int(request.query.get("max_ts") or 1 << 40)
    return low * 1_000_000, (high + 1) * 1_000_000
