"""What the exchange says with a key: limits and costs, how old portfolio answers are, what is archived."""

import time
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from venues.simulator.account_door import BASIC_WRITES_PER_S, ENDPOINT_COSTS, REQUEST_TOKENS, Bucket, Door
from venues.simulator.account_wire import time_us_text
from venues.simulator.config import SimConfig
from venues.simulator.market import FORGOTTEN_AFTER_MS
from venues.simulator.vintages import Body

#: Writes a second of the venue's tiers that have been published.
_TIERS = {100: "basic", 300: "advanced", 1_000: "premier", 2_000: "paragon", 4_000: "prime"}


class PrivateExchange:
    """What is asked with a key."""

    def __init__(self, door: Door, config: SimConfig) -> None:
        self._door = door
        self._live_fills_us, self._live_orders_us = config.live_fills_s * 1_000_000, config.live_orders_s * 1_000_000

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes of this class."""
        return [
            self._door.route("GET", "/account/limits", self._limits),
            self._door.route("GET", "/account/endpoint_costs", self._costs),
            self._door.route("GET", "/exchange/user_data_timestamp", self._user_data_timestamp),
            self._door.route("GET", "/historical/cutoff", self._cutoff),
        ]

    def _limits(self, _request: web.Request, _body: Any) -> Body:
        writes = self._door.writes.refill_per_s
        tier = _TIERS.get(writes, "basic" if writes <= BASIC_WRITES_PER_S else "advanced")
        return {
            "usage_tier": tier,
            "read": _limit(self._door.reads),
            "write": _limit(self._door.writes),
            "grants": [{"exchange_instance": "event_contract", "level": tier, "source": "manual"}],
        }

    def _costs(self, _request: web.Request, _body: Any) -> Body:
        listed = [{"method": m, "path": path, "cost": cost} for (m, path), cost in ENDPOINT_COSTS.items()]
        return {"default_cost": REQUEST_TOKENS, "endpoint_costs": listed}

    def _user_data_timestamp(self, _request: web.Request, _body: Any) -> Body:
        lag_us = int(self._door.faults.positions_lag_s * 1_000_000)
        return {"as_of_time": time_us_text(time.time_ns() // 1_000 - lag_us)}

    def _cutoff(self, _request: web.Request, _body: Any) -> Body:
        now_us = time.time_ns() // 1_000
        fills, orders = time_us_text(now_us - self._live_fills_us), time_us_text(now_us - self._live_orders_us)
        return {
            "market_settled_ts": time_us_text(now_us - FORGOTTEN_AFTER_MS * 1_000),
            "trades_created_ts": fills,
            "orders_updated_ts": orders,
            "market_positions_last_updated_ts": fills,
        }


def _limit(bucket: Bucket) -> Body:
    return {"refill_rate": bucket.refill_per_s, "bucket_capacity": bucket.capacity}
