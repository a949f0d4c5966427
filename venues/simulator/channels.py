"""The seam for what the simulator offers beyond market data: channels and routes that an extension brings.

An account (fills, orders, positions) is such an extension: it replaces the silent channels of the same name, adds its
REST routes and runs its own task.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

if TYPE_CHECKING:
    from venues.simulator.hub import Hub
    from venues.simulator.session import Subscription

BOOK = "orderbook_delta"
TRADE = "trade"
TICKER = "ticker"
LIFECYCLE = "market_lifecycle_v2"


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of the WebSocket. `sequenced`: its frames carry `seq`. `needs_tickers`: there is no all-markets mode
    (error 14). `ignores_tickers`: always all markets. `on_subscribe(subscription, tickers added)` runs after the ack.
    """

    name: str
    sequenced: bool
    needs_tickers: bool = False
    ignores_tickers: bool = False
    on_subscribe: "Callable[[Subscription, Iterable[str]], None] | None" = None


# Accepted and never heard from, unless an extension replaces them.
SILENT = (
    Channel("fill", sequenced=False),
    Channel("market_positions", sequenced=False),
    Channel("user_orders", sequenced=False),
    Channel("order_group_updates", sequenced=True, ignores_tickers=True),
    Channel("communications", sequenced=True, ignores_tickers=True),
    Channel("multivariate_market_lifecycle", sequenced=True, ignores_tickers=True),
)


class Extension(Protocol):
    """What `server.build` takes besides the source."""

    def channels(self) -> Iterable[Channel]:
        """Channels to add or replace."""
        ...

    def routes(self) -> Iterable[web.RouteDef]:
        """REST and admin routes to add."""
        ...

    def run(self, hub: "Hub") -> Awaitable[None]:
        """The extension's own task; cancelled at the stop."""
        ...

    def status(self) -> dict[str, object]:
        """More fields for GET /admin/status."""
        ...
