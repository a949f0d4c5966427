"""An order's state from what is said of it, and what rests in a market. Pure: values in, values out.

Reports come from push and poll in any order, so the state is a maximum, not a last word: a final status beats a live
one, more filled beats less, a later venue time beats an earlier one. What would lead back is refused and counted:
`stale` (an older report arriving late, normal) or `impossible` (a move that the venue cannot make).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from domain.fill_facts import Action, Side, yes_direction

Status = Literal["requested", "resting", "cancel_requested", "canceled", "executed", "rejected"]
Move = Literal["new", "changed", "repeated", "stale", "impossible"]

FINAL: frozenset[Status] = frozenset({"canceled", "executed", "rejected"})
LIVE: frozenset[Status] = frozenset({"requested", "resting", "cancel_requested"})

# From -> to. What is not here is impossible. A status may always repeat.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    "requested": frozenset({"resting", "executed", "canceled", "rejected", "cancel_requested"}),
    "resting": frozenset({"cancel_requested", "canceled", "executed"}),
    "cancel_requested": frozenset({"resting", "canceled", "executed"}),
    "canceled": frozenset(),
    "executed": frozenset(),
    "rejected": frozenset(),
}


class ReportedOrder(Protocol):
    """What the state reads of a report (`schemas.account_records.OrderReportPayload` fits)."""

    @property
    def market_ticker(self) -> str: ...
    @property
    def order_id(self) -> str: ...
    @property
    def client_order_id(self) -> str | None: ...
    @property
    def status(self) -> Status: ...
    @property
    def side(self) -> Side: ...
    @property
    def action(self) -> Action: ...
    @property
    def price_e4(self) -> int | None: ...
    @property
    def initial_e2(self) -> int: ...
    @property
    def filled_e2(self) -> int: ...
    @property
    def remaining_e2(self) -> int: ...
    @property
    def created_ts_ms(self) -> int | None: ...
    @property
    def updated_ts_ms(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class KnownOrder:
    """One order as far as it is known. Sizes in 1/100 contract, `price_e4` the own leg's limit."""

    market_ticker: str
    order_id: str
    client_order_id: str | None
    status: Status
    side: Side
    action: Action
    price_e4: int | None
    initial_e2: int
    filled_e2: int
    remaining_e2: int
    created_ts_ms: int | None
    updated_ts_ms: int | None
    decision_id: str | None = None
    revision: int = 1


@dataclass(frozen=True, slots=True)
class OpenInventory:
    """What rests in one market, recomputed from its live orders; never rolled forward."""

    open_orders_count: int = 0
    open_yes_bid_e2: int = 0
    open_yes_ask_e2: int = 0
    open_no_bid_e2: int = 0
    open_no_ask_e2: int = 0
    pos_open_exposure_e2: int = 0


@dataclass(frozen=True, slots=True)
class OrderStep:
    """What one report did to an order; `order` is the state after it."""

    move: Move
    order: KnownOrder
    detail: str = ""


def apply_report(known: KnownOrder | None, report: ReportedOrder) -> OrderStep:
    """One report of an order. The end state does not depend on the order of reports, apart from `revision`."""
    told = _as_known(report)
    if known is None:
        return OrderStep("new", told)
    if (told.side, told.action) != (known.side, known.action):
        detail = f"{known.order_id}: expected {known.action} {known.side}, was {told.action} {told.side}"
        return OrderStep("impossible", known, detail)
    if known.status in FINAL and told.status != known.status:
        return _after_the_end(known, told)
    if told.status != known.status and told.status not in TRANSITIONS[known.status]:
        return OrderStep("impossible", known, f"{known.order_id}: {known.status} -> {told.status}")
    merged = _merge(known, told)
    if merged == known:
        return OrderStep("repeated" if _progress(told) == _progress(known) else "stale", known)
    return OrderStep("changed", replace(merged, revision=known.revision + 1))


def _after_the_end(known: KnownOrder, told: KnownOrder) -> OrderStep:
    """A live report after a final one is an old one arriving late, unless it knows more than the final one did."""
    if told.status in LIVE and told.filled_e2 <= known.filled_e2 and not _later(told, known):
        return OrderStep("stale", known)
    return OrderStep("impossible", known, f"{known.order_id}: {known.status} -> {told.status}")


def _later(one: KnownOrder, other: KnownOrder) -> bool:
    return one.updated_ts_ms is not None and other.updated_ts_ms is not None and one.updated_ts_ms > other.updated_ts_ms


def _progress(order: KnownOrder) -> tuple[int, int, int, int]:
    """Where an order stands; a report with less of it is older. The last part only breaks ties the same way always."""
    stage = 0 if order.status == "requested" else 2 if order.status in FINAL else 1
    return stage, order.filled_e2, order.updated_ts_ms or 0, -order.remaining_e2


def _merge(known: KnownOrder, told: KnownOrder) -> KnownOrder:
    ahead, behind = (told, known) if _progress(told) > _progress(known) else (known, told)
    # A report says nothing of our own wish to cancel: while it rests, the wish stands.
    wish = known.status == "cancel_requested" and told.status == "resting"
    return replace(
        ahead,
        status="cancel_requested" if wish else ahead.status,
        client_order_id=ahead.client_order_id or behind.client_order_id,
        created_ts_ms=ahead.created_ts_ms if ahead.created_ts_ms is not None else behind.created_ts_ms,
        price_e4=ahead.price_e4 if ahead.price_e4 is not None else behind.price_e4,
        decision_id=known.decision_id,
        revision=known.revision,
    )


def _as_known(report: ReportedOrder) -> KnownOrder:
    # A final order rests no more, whatever the report still counts as remaining.
    final = report.status in FINAL
    return KnownOrder(
        market_ticker=report.market_ticker,
        order_id=report.order_id,
        client_order_id=report.client_order_id,
        status=report.status,
        side=report.side,
        action=report.action,
        price_e4=report.price_e4,
        initial_e2=report.initial_e2,
        filled_e2=report.filled_e2,
        remaining_e2=0 if final else report.remaining_e2,
        created_ts_ms=report.created_ts_ms,
        updated_ts_ms=report.updated_ts_ms,
    )


#: A difference to the venue's list of resting orders counts when nothing was heard of the order for so long before it:
#: what is pushed while the list is read comes earlier or later than the list.
DRIFT_GRACE_MS = 10_000


def order_drift(
    live: "list[KnownOrder] | tuple[KnownOrder, ...]",
    listed: "list[str] | tuple[str, ...]",
    known: Callable[[str], KnownOrder | None],
    as_of_ms: int,
) -> tuple[str, ...]:
    """Orders of one market that rest by our state or by the venue's list as of `as_of_ms`, but not by both; sorted."""
    before_ms = as_of_ms - DRIFT_GRACE_MS

    def is_settled(order: KnownOrder) -> bool:
        heard_ms = order.updated_ts_ms if order.updated_ts_ms is not None else order.created_ts_ms
        return heard_ms is None or heard_ms <= before_ms

    extra = [o.order_id for o in live if o.order_id not in listed and o.status != "requested" and is_settled(o)]
    resting = {order.order_id for order in live}
    absent = [(order_id, known(order_id)) for order_id in listed if order_id not in resting]
    missing = [order_id for order_id, order in absent if order is None or is_settled(order)]
    return tuple(sorted({*extra, *missing}))


def open_inventory(orders: "list[KnownOrder] | tuple[KnownOrder, ...]") -> OpenInventory:
    """Counts and sizes over the live orders of one market. Exposure: YES added if all of them fill, signed."""
    live = [order for order in orders if order.status in LIVE]
    sizes = {("yes", "buy"): 0, ("yes", "sell"): 0, ("no", "buy"): 0, ("no", "sell"): 0}
    for order in live:
        sizes[order.side, order.action] += order.remaining_e2
    return OpenInventory(
        open_orders_count=len(live),
        open_yes_bid_e2=sizes["yes", "buy"],
        open_yes_ask_e2=sizes["yes", "sell"],
        open_no_bid_e2=sizes["no", "buy"],
        open_no_ask_e2=sizes["no", "sell"],
        pos_open_exposure_e2=sum(yes_direction(order.side, order.action) * order.remaining_e2 for order in live),
    )
