"""Every REST call that a desk makes, by the venue's official SDK:
`python -m conformance.sdk.official URL KEY_ID KEY_FILE`

Strict: its models refuse an answer that leaves a required field out, and numbers where texts are meant.
"""

import inspect
import json
import sys
import time
from pathlib import Path
from typing import Any

import kalshi_python_sync as k
from kalshi_python_sync.auth import KalshiAuth

from conformance.sdk.calls import Calls, say
from conformance.sdk.said import Said, methods

FAR_CENTS = "0.0100"  # a price that rests far from any touch
TAKES = "0.9900"  # one that takes whatever is offered


class Official:
    """The SDK's parts over one client."""

    def __init__(self, url: str, key_id: str, key_file: str) -> None:
        self.client = k.ApiClient(k.Configuration(host=url))
        # `set_kalshi_auth` of 3.34.0 names a class that its module does not import: the attribute is set as it would.
        self.client.kalshi_auth = KalshiAuth(key_id, Path(key_file).read_text())
        self.calls, self.said = Calls(), Said()
        parts: list[Any] = [
            member for _, member in inspect.getmembers(k, inspect.isclass) if member.__name__.endswith("Api")
        ]
        self.parts: dict[str, Any] = {part.__name__: part(self.client) for part in parts}

    def __call__(self, part: str, method: str, *args: Any, items: str | None = None, **named: Any) -> Any:
        """One call: what it parsed to. `items` names the list of the answer that must not be empty."""
        made = getattr(self.parts[part], f"{method}_with_http_info")

        def call() -> Any:
            answer = made(*args, **named)
            raw = json.loads(answer.raw_data) if answer.raw_data else None
            if answer.data is None and raw is not None:
                raise AssertionError(f"status {answer.status_code} is not one that the SDK expects")
            self.said.hear(answer.data, raw)
            return answer.data

        return self.calls.make(f"{part}.{method}", call, (lambda data: getattr(data, items)) if items else None)


def read_market(api: Official) -> Any:
    """Exchange, markets, books, trades, events, series. Returns an open market."""
    api("ExchangeApi", "get_exchange_status", items="exchange_index_statuses")
    schedule = api("ExchangeApi", "get_exchange_schedule")
    assert schedule is None or schedule.schedule.standard_hours
    api("ExchangeApi", "get_user_data_timestamp")
    api("ExchangeApi", "get_series_fee_changes")
    listed = api("MarketApi", "get_markets", status="open", series_ticker="KXBTCD", limit=100, items="markets")
    market = max(listed.markets, key=lambda m: (m.close_time, min(float(m.yes_bid_size_fp), float(m.yes_ask_size_fp))))
    api("MarketApi", "get_market", market.ticker)
    api("MarketApi", "get_market_orderbook", market.ticker, depth=5)
    api("MarketApi", "get_market_orderbooks", tickers=[m.ticker for m in listed.markets[:3]], items="orderbooks")
    api("MarketApi", "get_trades", limit=50, items="trades")
    api("MarketApi", "get_series", "KXBTCD")
    api("MarketApi", "get_series_list", items="series")
    api("EventsApi", "get_events", series_ticker="KXBTCD", with_nested_markets=True, limit=10, items="events")
    api("EventsApi", "get_event", market.event_ticker, with_nested_markets=True)
    api("EventsApi", "get_event_fee_changes")
    return market


def read_account(api: Official) -> None:
    """Limits, cash, fills, orders, positions, settlements, and what is archived of them."""
    api("AccountApi", "get_account_api_limits")
    api("AccountApi", "get_account_endpoint_costs", items="endpoint_costs")
    api("PortfolioApi", "get_balance", items="balance_breakdown")
    api("PortfolioApi", "get_fills", limit=50, items="fills")
    api("PortfolioApi", "get_positions", count_filter="position", items="market_positions")
    api("PortfolioApi", "get_settlements", items="settlements")
    api("PortfolioApi", "get_portfolio_resting_order_total_value")
    orders = api("OrdersApi", "get_orders", status="resting", items="orders")
    order = orders.orders[0]
    api("OrdersApi", "get_order", order.order_id)
    api("OrdersApi", "get_order_queue_position", order.order_id)
    api("OrdersApi", "get_order_queue_positions", market_tickers=order.ticker, items="queue_positions")
    api("HistoricalApi", "get_historical_cutoff")
    api("HistoricalApi", "get_fills_historical", limit=50, items="fills")
    api("HistoricalApi", "get_historical_orders", limit=50, items="orders")
    api("HistoricalApi", "get_historical_positions", items="market_positions")
    api("HistoricalApi", "get_trades_historical")
    archived = api("HistoricalApi", "get_historical_markets", items="markets")
    if archived is not None and archived.markets:
        api("HistoricalApi", "get_historical_market", archived.markets[0].ticker)


def write_orders(api: Official, market: Any) -> None:
    """Order groups and V2 orders: create, batch, decrease, amend, cancel, all of them."""
    made = api("OrderGroupsApi", "create_order_group", k.CreateOrderGroupRequest(contracts_limit=1_000))
    group = made.order_group_id
    api("OrderGroupsApi", "get_order_groups", items="order_groups")
    api("OrderGroupsApi", "update_order_group_limit", group, k.UpdateOrderGroupLimitRequest(contracts_limit=2_000))

    def wanted(**more: Any) -> Any:
        return k.CreateOrderV2Request(
            **{
                "ticker": market.ticker, "side": "bid", "count": "5.00", "price": FAR_CENTS,
                "time_in_force": "good_till_canceled", "self_trade_prevention_type": "taker_at_cross", **more,
            }
        )  # fmt: skip

    resting = api("OrdersApi", "create_order_v2", wanted(client_order_id=f"k-{time.time_ns()}", order_group_id=group))
    api("OrderGroupsApi", "get_order_group", group, items="orders")
    taking = wanted(price=TAKES, count="0.50", time_in_force="immediate_or_cancel")
    api("OrdersApi", "create_order_v2", taking)
    decrease = k.DecreaseOrderV2Request(reduce_by="1.00", market_ticker=market.ticker)
    api("OrdersApi", "decrease_order_v2", resting.order_id, decrease)
    in_an_hour = int(time.time()) + 3_600
    amend = k.AmendOrderV2Request(
        ticker=market.ticker, side="bid", price=FAR_CENTS, count="4.00", expiration_time=in_an_hour
    )
    api("OrdersApi", "amend_order_v2", resting.order_id, amend)
    api("OrdersApi", "get_order", resting.order_id)
    api("OrdersApi", "cancel_order_v2", resting.order_id, market_ticker=market.ticker)
    batch = k.BatchCreateOrdersV2Request(orders=[wanted(), wanted(price="0.0001")])
    told = api("OrdersApi", "batch_create_orders_v2", batch, items="orders")
    items = [k.BatchCancelOrdersV2RequestOrdersInner(order_id=told.orders[0].order_id, market_ticker=market.ticker)]
    items.append(k.BatchCancelOrdersV2RequestOrdersInner(order_id="never", market_ticker=market.ticker))
    api("OrdersApi", "batch_cancel_orders_v2", k.BatchCancelOrdersV2Request(orders=items), items="orders")
    api("OrderGroupsApi", "trigger_order_group", group, body={})
    api("OrderGroupsApi", "reset_order_group", group, body={})
    api("OrderGroupsApi", "delete_order_group", group)
    api("OrdersApi", "cancel_all_orders")


def main(url: str, key_id: str, key_file: str) -> int:
    """All calls; the report on stdout."""
    api = Official(url, key_id, key_file)
    market = api.calls.stage(read_market, api)
    api.calls.stage(read_account, api)
    api.calls.stage(write_orders, api, market)
    calls = api.calls
    say(
        {
            "sdk": "kalshi-python-sync", "version": k.__version__, "made": calls.made, "failed": calls.failed,
            "empty": calls.empty, "methods": sorted(methods(*api.parts.values())), **api.said.report(),
        }
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
