"""The same calls by a community's SDK: `python -m conformance.sdk.community URL KEY_ID KEY_FILE`."""

import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from kalshi import KalshiClient
from kalshi.models import orders as o
from kalshi.resources._base import Page

from conformance.sdk.calls import Calls, say
from conformance.sdk.said import Said, methods

FAR = "0.01"  # a price that rests far from any touch
TAKES = "0.99"  # one that takes whatever is offered


class Community:
    """The SDK's resources over one client."""

    def __init__(self, url: str, key_id: str, key_file: str) -> None:
        self.client = KalshiClient(key_id=key_id, private_key_path=key_file, base_url=url, max_retries=0)
        self.calls, self.said = Calls(), Said()

    def __call__(self, name: str, *args: Any, items: bool = False, **named: Any) -> Any:
        """One call by its dotted name; what it parsed to, a page as its list. `items`: it must not be empty."""
        resource, _, method = name.partition(".")
        made: Callable[..., Any] = getattr(getattr(self.client, resource), method)

        def call() -> Any:
            answer = made(*args, **named)
            answer = list(answer.items) if isinstance(answer, Page) else answer
            self.said.hear(answer)
            return answer

        return self.calls.make(name, call, (lambda answer: answer) if items else None)


def read_market(api: Community) -> Any:
    """Exchange, markets, books, trades, events, series. Returns an open market."""
    for name in ("exchange.status", "exchange.schedule", "exchange.user_data_timestamp", "series.fee_changes"):
        api(name)
    markets = api("markets.list", status="open", series_ticker="KXBTCD", items=True)
    market = max(markets, key=lambda m: (m.close_time, min(m.yes_bid_size, m.yes_ask_size)))
    api("markets.get", market.ticker)
    api("markets.orderbook", market.ticker, depth=5)
    api("markets.bulk_orderbooks", tickers=[m.ticker for m in markets[:3]], items=True)
    api("markets.list_trades", limit=50, items=True)
    api("series.get", "KXBTCD")
    api("series.list", items=True)
    api("events.list", series_ticker="KXBTCD", with_nested_markets=True, items=True)
    api("events.get", market.event_ticker, with_nested_markets=True)
    api("events.fee_changes")
    return market


def read_account(api: Community) -> None:
    """Limits, cash, fills, orders, positions, settlements, and what is archived of them."""
    for name in (
        "account.limits",
        "account.endpoint_costs",
        "portfolio.balance",
        "portfolio.total_resting_order_value",
    ):
        api(name)
    api("portfolio.fills", limit=50, items=True)
    api("portfolio.positions", count_filter="position")
    api("portfolio.settlements", items=True)
    orders = api("orders.list", status="resting", items=True)
    api("orders.get", orders[0].order_id)
    api("orders.queue_position", orders[0].order_id)
    api("orders.queue_positions", market_tickers=[orders[0].ticker], items=True)
    api("historical.cutoff")
    api("historical.fills", limit=50, items=True)
    api("historical.orders", limit=50, items=True)
    api("historical.positions")
    api("historical.trades")
    archived = api("historical.markets", items=True)
    if archived:
        api("historical.market", archived[0].ticker)


def write_orders(api: Community, market: Any) -> None:
    """Order groups and V2 orders: create, batch, decrease, amend, cancel, all of them."""
    group = api("order_groups.create", contracts_limit=1_000).order_group_id
    api("order_groups.list", items=True)
    api("order_groups.update_limit", group, contracts_limit=2_000)
    ids = iter(range(1 << 30))

    def wanted(**more: Any) -> Any:
        named = {
            "ticker": market.ticker, "client_order_id": f"t-{time.time_ns()}-{next(ids)}", "side": "bid", "count": "5",
            "price": FAR, "time_in_force": "good_till_canceled", "self_trade_prevention_type": "taker_at_cross",
        }  # fmt: skip
        return o.CreateOrderV2Request(**{**named, **more})

    resting = api("orders.create_v2", request=wanted(order_group_id=group))
    api("order_groups.get", group)
    api("orders.create_v2", request=wanted(price=TAKES, count="0.50", time_in_force="immediate_or_cancel"))
    api("orders.decrease_v2", resting.order_id, request=o.DecreaseOrderV2Request(reduce_by="1"))
    amend = o.AmendOrderV2Request(
        ticker=market.ticker, side="bid", price=FAR, count="4", expiration_time=int(time.time()) + 3_600
    )
    api("orders.amend_v2", resting.order_id, request=amend)
    api("orders.cancel_v2", resting.order_id, market_ticker=market.ticker)
    batch = o.BatchCreateOrdersV2Request(orders=[wanted(), wanted(price="0.0001")])
    told = api("orders.batch_create_v2", request=batch)
    items = [o.BatchCancelOrdersV2RequestOrder(order_id=order) for order in (told.orders[0].order_id, "never")]
    api("orders.batch_cancel_v2", request=o.BatchCancelOrdersV2Request(orders=items))
    for name in ("trigger", "reset", "delete"):
        api(f"order_groups.{name}", group)
    api("orders.cancel_all_v2")


def main(url: str, key_id: str, key_file: str) -> int:
    """All calls; the report on stdout."""
    api = Community(url, key_id, key_file)
    with api.client:
        market = api.calls.stage(read_market, api)
        api.calls.stage(read_account, api)
        api.calls.stage(write_orders, api, market)
    parts = [value for name, value in vars(api.client).items() if not name.startswith("_")]
    calls = api.calls
    say(
        {
            "sdk": "kalshi-sdk", "version": version("kalshi-sdk"), "made": calls.made, "failed": calls.failed,
            "empty": calls.empty, "methods": sorted(methods(*parts)), **api.said.report(),
        }
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
