"""What a fill is: as reported, as known, its direction, and the keys by which twins recognise each other. Pure."""

import hashlib
from dataclasses import dataclass
from typing import Literal, Protocol

DOLLAR_E4 = 10_000
SYNTHETIC = "synthetic-"
#: The gates that a reported fill passes, in their order; one that fails is a dead letter with exactly this reason, and
#: a row of `mm_fills` with is_valid = 0. A fill without an id fails none: it is named from the whole walk, or waits.
FILL_GATES = (
    "empty_order_id",
    "fake_fill",
    "zero_size",
    "invalid_price",
    "empty_market",
    "invalid_side",
    "invalid_action",
    "missing_ts",
)

Side = Literal["yes", "no"]
Action = Literal["buy", "sell"]
TimeSource = Literal["created_time", "ts_ms", "ts"]


class ReportedFill(Protocol):
    """What the verdict reads of a report (`schemas.account_records.FillReportPayload` fits)."""

    market_ticker: str
    fill_id: str
    synthetic_ordinal: int | None
    order_id: str
    client_order_id: str | None
    side: Side
    action: Action
    price_e4: int
    count_e2: int
    is_taker: bool | None
    fee_e6: int | None
    ts_ms: int
    ts_source: TimeSource


@dataclass(frozen=True, slots=True)
class KnownFill:
    """A fill as far as it is known. `fill_id` never changes; `venue_fill_id` is None while only a synthetic id is."""

    market_ticker: str
    fill_id: str
    venue_fill_id: str | None
    order_id: str
    client_order_id: str | None
    side: Side
    action: Action
    price_e4: int
    count_e2: int
    is_taker: bool | None
    fee_e6: int | None
    ts_ms: int
    ts_source: TimeSource
    decision_id: str | None = None
    revision: int = 1

    @property
    def sort_id(self) -> str:
        """Orders fills of one millisecond: the venue's id once it is known, so the order depends on truth alone."""
        return self.venue_fill_id or self.fill_id


def yes_direction(side: Side, action: Action) -> int:
    """+1 where the fill adds YES (buy yes, sell no), -1 where it takes YES away (the venue's order direction map)."""
    return 1 if (side == "yes") == (action == "buy") else -1


def yes_price_e4(side: Side, price_e4: int) -> int:
    """The YES leg of an own-leg price; direction never changes it."""
    return price_e4 if side == "yes" else DOLLAR_E4 - price_e4


def twin_key(fill: ReportedFill | KnownFill) -> str:
    """What fills without an id have in common with their twins: never equal to a fill id (it starts with '~')."""
    parts = (
        fill.market_ticker,
        fill.order_id,
        yes_direction(fill.side, fill.action),
        yes_price_e4(fill.side, fill.price_e4),
        fill.count_e2,
        fill.ts_ms // 1000,
    )
    return "~" + hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:32]


def synthetic_id(key: str, ordinal: int) -> str:
    """The id of the `ordinal`-th (from 0) fill of a twin key. Stable over restarts, and visibly not the venue's."""
    return f"{SYNTHETIC}{key[1:]}-{ordinal}"
