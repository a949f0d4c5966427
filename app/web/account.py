"""The account's pages: what is held, what rests, and what became of the reported fills.

Like the books they come from live state and say at which offset it stands. Lists show the partitions of this worker.
"""

from __future__ import annotations

import time
from typing import Any

from faust.web import Request, Response, View

from app.web.views import elsewhere, partition_of
from domain.orders import KnownOrder, OpenInventory, open_inventory
from domain.positions import INV_CONVENTION, cash_e6
from domain.units import contracts_text, dollars_text, money_text
from tables import decision_links, open_orders, seen_fills
from tables.decision_links import LinkValue
from tables.open_orders import OrderValue
from tables.positions import MarketPosition
from tables.seen_fills import SeenValue
from tables.stage import Stage
from tables.task import Task

#: What the dedup decides of a report, in the order of the page.
VERDICTS = ("new", "duplicate", "amended", "conflicting", "too_old")


def add_account(
    app: Any,
    fills: Stage[SeenValue],
    positions: Stage[MarketPosition],
    orders: Stage[OrderValue],
    links: Stage[LinkValue],
) -> None:
    """`/positions`, `/positions/{ticker}`, `/orders`, `/fills/stats`, `/reconciliation`."""

    @app.page("/positions", name="positions")
    async def all_positions(self: View, request: Request) -> Response:
        rows = []
        for task in _restored(positions):
            for _, position in task.table.items():
                resting = _inventory(orders, task.partition, position.state.market_ticker)
                rows.append(position_row(position, resting, task.position))
        return self.json(sorted(rows, key=lambda row: row["market_ticker"]))

    @app.page("/positions/{ticker}", name="position")
    async def one_position(self: View, request: Request, ticker: str) -> Response:
        owner = await elsewhere(app, positions, self, request, ticker, f"/positions/{ticker}")
        if owner is not None:
            return owner
        partition = partition_of(app, ticker)
        found = positions.state(partition, ticker.encode())
        if found is None:
            return self.json({"error": f"partition {partition} of {ticker} is being restored"}, status=503)
        if found[0] is None:
            return self.json({"error": f"no position in {ticker}"}, status=404)
        return self.json(position_row(found[0], _inventory(orders, partition, ticker), found[1]))

    @app.page("/orders", name="orders")
    async def live(self: View, request: Request) -> Response:
        rows = [
            order_row(order, _decision_id(links, task.partition, order.order_id))
            for task in _restored(orders)
            for market in open_orders.markets(task.table)
            for order in open_orders.live_orders(task.table, market)
        ]
        return self.json(sorted(rows, key=lambda row: (row["market_ticker"], row["order_id"])))

    @app.page("/reconciliation", name="reconciliation")
    async def reconciliation(self: View, request: Request) -> Response:
        return self.json(reconciliation_rows(positions, orders))

    @app.page("/fills/stats", name="fills_stats")
    async def stats(self: View, request: Request) -> Response:
        return self.json(fill_stats(fills, time.time_ns() // 1_000_000) | link_stats(links))


def _restored(stage: Stage[Any]) -> list[Task[Any]]:
    return [task for task in stage.tasks.values() if task.restored]


def _inventory(orders: Stage[OrderValue], partition: int, ticker: str) -> OpenInventory | None:
    """What rests in the market, None while the orders of the partition are being restored."""
    task = orders.tasks.get(partition)
    if task is None or not task.restored:
        return None
    return open_inventory(open_orders.live_orders(task.table, open_orders.market_of(task.table, ticker)))


def _decision_id(links: Stage[LinkValue], partition: int, order_id: str) -> str | None:
    """The decision behind an order, None while it is not known here."""
    task = links.tasks.get(partition)
    if task is None or not task.restored:
        return None
    decision = decision_links.order_of(task.table, order_id).decision
    return None if decision is None else decision.decision_id


def position_row(position: MarketPosition, resting: OpenInventory | None, offset: int) -> dict[str, Any]:
    """One market: contracts signed (YES positive), money in dollars, the average cost computed only here."""
    state = position.state
    count_e2, cost_e6, venue = state.fold.count_e2, state.fold.cost_e6, state.venue
    fees_e6 = state.sums.fees_e6 + (state.opening.fees_e6 if state.opening is not None else 0)
    drift_e2 = None if venue is None or state.settlement is not None else count_e2 - venue.position_e2
    row: dict[str, Any] = {
        "market_ticker": state.market_ticker,
        "inv_convention": INV_CONVENTION,
        "pos_filled": contracts_text(count_e2),
        "pos_open_exposure": None if resting is None else contracts_text(resting.pos_open_exposure_e2),
        "pos_total_est": None if resting is None else contracts_text(count_e2 + resting.pos_open_exposure_e2),
        "cash": money_text(cash_e6(state.sums, state.opening)),
        "cost": money_text(cost_e6),
        # 1/1,000,000 dollar per 1/100 contract is 1/10,000 dollar per contract.
        "average_price": dollars_text(round(cost_e6 / abs(count_e2))) if count_e2 else None,
        "realized_pnl": money_text(state.fold.realized_e6),
        "fees": money_text(fees_e6),
        "fills": state.sums.fills,
        "fills_without_fee": state.sums.fills_without_fee,
        "last_fill_ts_ms": state.last_ts_ms or None,
        "settled": state.settlement is not None,
        "venue_position": None if venue is None else contracts_text(venue.position_e2),
        "drift": None if drift_e2 is None else contracts_text(drift_e2),
        "drift_since_ms": None if venue is None else venue.drift_since_ms,
        "revision": state.revision,
        "offset": offset,
    }
    return row | inventory_row(resting)


def reconciliation_rows(positions: Stage[MarketPosition], orders: Stage[OrderValue]) -> list[dict[str, Any]]:
    """Per market of which the venue has told its own position or resting orders: what differs from ours, since when."""
    rows: dict[str, dict[str, Any]] = {}
    for task in _restored(positions):
        for _, position in task.table.items():
            full = position_row(position, None, task.position)
            if full["venue_position"] is not None:
                names = ("market_ticker", "pos_filled", "venue_position", "drift", "drift_since_ms")
                rows[full["market_ticker"]] = {name: full[name] for name in names}
    for task in _restored(orders):
        for market in open_orders.markets(task.table):
            if market.venue_as_of_ms is not None:
                rows.setdefault(market.market_ticker, {"market_ticker": market.market_ticker}).update(
                    open_orders_count=len(market.live),
                    drifting_orders=list(market.drift),
                    orders_drift_since_ms=market.drift_since_ms,
                    orders_as_of_ms=market.venue_as_of_ms,
                )
    return [row for _, row in sorted(rows.items())]


def inventory_row(resting: OpenInventory | None) -> dict[str, Any]:
    """The seeds' names for what rests."""
    if resting is None:
        return {}
    return {
        "open_orders_count": resting.open_orders_count,
        "open_yes_bid_size": contracts_text(resting.open_yes_bid_e2),
        "open_yes_ask_size": contracts_text(resting.open_yes_ask_e2),
        "open_no_bid_size": contracts_text(resting.open_no_bid_e2),
        "open_no_ask_size": contracts_text(resting.open_no_ask_e2),
    }


def order_row(order: KnownOrder, decision_id: str | None) -> dict[str, Any]:
    """One live order."""
    return {
        "market_ticker": order.market_ticker,
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "decision_id": decision_id,
        "status": order.status,
        "side": order.side,
        "action": order.action,
        "price": None if order.price_e4 is None else dollars_text(order.price_e4),
        "initial_size": contracts_text(order.initial_e2),
        "filled_size": contracts_text(order.filled_e2),
        "remaining_size": contracts_text(order.remaining_e2),
        "created_ts_ms": order.created_ts_ms,
        "updated_ts_ms": order.updated_ts_ms,
    }


def fill_stats(fills: Stage[SeenValue], now_ms: int) -> dict[str, Any]:
    """Reports by verdict since the start of this worker, and what is remembered."""
    counts = fills.fold.counts  # type: ignore[attr-defined]
    clocks = [seen_fills.clock_of(task.table) for task in _restored(fills)]
    newest_ms = max((clock.newest_ms for clock in clocks), default=0)
    return {
        "reports": counts["records"],
        **{verdict: counts[verdict] for verdict in VERDICTS},
        "dead_letters": counts["dead_letters"],
        "fills": counts["fills"],
        "remembered": sum(clock.entries for clock in clocks),
        "newest_ts_ms": newest_ms or None,
        "newest_age_s": max(0, now_ms - newest_ms) // 1_000 if newest_ms else None,
    }


def link_stats(links: Stage[LinkValue]) -> dict[str, Any]:
    """How many of the fills have a known decision; the rate is null while there are none."""
    totals = [decision_links.totals_of(task.table) for task in _restored(links)]
    fills, linked = sum(t.fills for t in totals), sum(t.linked for t in totals)
    return {"fills_linked": linked, "link_rate": f"{linked / fills:.4f}" if fills else None}
