"""A market of the simulated venue: its terms, its status, and the book that is the truth of this simulator."""

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from domain.errors import Fatal
from domain.units import DOLLAR_E4, contracts_text, dollars_text
from venues.simulator.wire import iso_second

if TYPE_CHECKING:
    from venues.simulator.session import Subscription

Status = Literal["initialized", "active", "inactive", "closed", "determined", "finalized"]
# The query's words differ from the object's.
STATUS_FILTER: dict[str, tuple[Status, ...]] = {
    "unopened": ("initialized",),
    "open": ("active",),
    "paused": ("inactive",),
    "closed": ("closed", "determined"),
    "settled": ("finalized",),
}
FORGOTTEN_AFTER_MS = 7_200_000  # a settled market leaves the lists for the archive so long after its close
PRICE_RANGES = {
    "linear_cent": [("0.0000", "1.0000", "0.0100")],
    "tapered_deci_cent": [
        ("0.0000", "0.1000", "0.0010"),
        ("0.1000", "0.9000", "0.0100"),
        ("0.9000", "1.0000", "0.0010"),
    ],
}


class TruthBook:
    """Price (1/10,000 dollar) -> size (1/100 contract), both sides bids."""

    __slots__ = ("no", "yes")

    def __init__(self) -> None:
        self.yes: dict[int, int] = {}
        self.no: dict[int, int] = {}

    def change(self, side: str, price_e4: int, delta_e2: int) -> None:
        """Add a signed change.

        Raises:
            Fatal: the level would be negative; the source has a bug.
        """
        levels = self.yes if side == "yes" else self.no
        size_e2 = levels.get(price_e4, 0) + delta_e2
        if size_e2 > 0:
            levels[price_e4] = size_e2
        elif size_e2 == 0:
            levels.pop(price_e4, None)
        else:
            raise Fatal(f"simulator: {side} {price_e4} e4 would be {size_e2} e2")


@dataclass(slots=True, eq=False)
class Market:
    """Times in ms since 1970. `targets`: per channel the subscriptions that get this market's frames."""

    ticker: str
    event_ticker: str
    series_ticker: str
    open_ms: int
    close_ms: int
    status: Status = "active"
    title: str = ""
    yes_sub_title: str = ""
    strike_type: str = "greater"
    floor_strike: float | None = None
    structure: str = "linear_cent"
    settlement_timer_s: int = 60
    result: str = ""
    expiration_value: str = ""
    settled_ms: int | None = None
    created_ms: int = 0  # 0: as it opened
    updated_ms: int = 0  # of its terms, not of its trading
    last_yes_e4: int = 0
    last_trade_e2: int = 0
    volume_e2: int = 0
    book: TruthBook = field(default_factory=TruthBook)
    targets: dict[str, "tuple[Subscription, ...]"] = field(default_factory=dict)
    market_id: str = ""

    def __post_init__(self) -> None:
        self.market_id = self.market_id or str(uuid.uuid5(uuid.NAMESPACE_URL, self.ticker))

    def ticker_body(self, ts_ms: int) -> str:
        """The `msg` of a ticker frame (vintage c): an absent side shows as 0 or 1 dollar with size 0."""
        yes_e4, no_e4 = max(self.book.yes, default=0), max(self.book.no, default=0)
        volume = contracts_text(self.volume_e2)
        dollars = self.volume_e2 // 200
        return (
            f'{{"market_id":"{self.market_id}","market_ticker":"{self.ticker}",'
            f'"price_dollars":"{dollars_text(self.last_yes_e4)}","yes_bid_dollars":"{dollars_text(yes_e4)}",'
            f'"yes_ask_dollars":"{dollars_text(DOLLAR_E4 - no_e4)}","volume_fp":"{volume}",'
            f'"open_interest_fp":"{volume}","dollar_volume":{dollars},"dollar_open_interest":{dollars},'
            f'"yes_bid_size_fp":"{contracts_text(self.book.yes.get(yes_e4, 0))}",'
            f'"yes_ask_size_fp":"{contracts_text(self.book.no.get(no_e4, 0))}",'
            f'"last_trade_size_fp":"{contracts_text(self.last_trade_e2)}",'
            f'"ts":{ts_ms // 1_000},"ts_ms":{ts_ms},"time":"{iso_second(ts_ms // 1_000)}Z"}}'
        )


def time_text(ms: int) -> str:
    """RFC 3339 in whole seconds, as in market objects."""
    return f"{iso_second(ms // 1_000)}Z"
