"""Order groups of the simulated account: a bound on the contracts matched within a rolling 15 seconds.

When it is reached every order of the group is cancelled, and the group takes no order until it is reset.
"""

import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from domain.units import contracts_text
from venues.simulator.account_ledger import Ledger, SimOrder
from venues.simulator.config import EXCHANGE_INDEX
from venues.simulator.vintages import ABSENT, Body, Field, told

WINDOW_US = 15_000_000
GROUPS_MAX = 1_000  # bound of the list; the venue's own is not known

EventType = Literal["created", "triggered", "reset", "deleted", "limit_updated"]


@dataclass(slots=True, eq=False)
class OrderGroup:
    """One group. `matched` has (time, contracts) of the window; `triggered` until it is reset."""

    group_id: str
    limit_e2: int
    triggered: bool = False
    matched: deque[tuple[int, int]] = field(default_factory=deque)

    def match(self, count_e2: int, now_us: int) -> bool:
        """Count a fill; whether the limit is reached now."""
        self.matched.append((now_us, count_e2))
        while self.matched and self.matched[0][0] <= now_us - WINDOW_US:
            self.matched.popleft()
        return sum(count for _, count in self.matched) >= self.limit_e2


_LISTED: list[Field[OrderGroup]] = [
    Field("id", lambda g: g.group_id),
    Field("contracts_limit_fp", lambda g: contracts_text(g.limit_e2)),
    Field("is_auto_cancel_enabled", lambda _: True),
    Field("exchange_index", lambda _: EXCHANGE_INDEX),
]


@dataclass(frozen=True, slots=True)
class GroupEvent:
    """What a frame of `order_group_updates` is about."""

    kind: EventType
    group: OrderGroup
    now_us: int


_FRAME: list[Field[GroupEvent]] = [
    Field("event_type", lambda e: e.kind),
    Field("order_group_id", lambda e: e.group.group_id),
    Field(
        "contracts_limit_fp",
        lambda e: contracts_text(e.group.limit_e2) if e.kind in ("created", "limit_updated") else ABSENT,
    ),
    Field("ts_ms", lambda e: e.now_us // 1_000),
]


class OrderGroups:
    """All groups of the account. `tell` sends a frame's body; `cancel` ends an order and says so."""

    def __init__(self, ledger: Ledger, tell: Callable[[Body], None], cancel: Callable[[SimOrder, int], object]) -> None:
        self._ledger, self._tell, self._cancel = ledger, tell, cancel
        self._groups: dict[str, OrderGroup] = {}
        self._made = 0

    def create(self, limit_e2: int, now_us: int) -> OrderGroup | None:
        """A new group; None where there are too many."""
        if len(self._groups) >= GROUPS_MAX:
            return None
        name = f"group {self._ledger.seed} {self._made}"
        self._made += 1
        group = OrderGroup(str(uuid.uuid5(uuid.NAMESPACE_OID, name)), limit_e2)
        self._groups[group.group_id] = group
        self._say("created", group, now_us)
        return group

    def get(self, group_id: str) -> OrderGroup | None:
        """The group of this id."""
        return self._groups.get(group_id)

    def orders(self, group: OrderGroup) -> list[SimOrder]:
        """Its resting orders, oldest first."""
        return [order for order in self._ledger.resting() if order.order_group_id == group.group_id]

    def listed(self) -> list[Body]:
        """GET /portfolio/order_groups."""
        return [told(_LISTED, group, "d") for group in self._groups.values()]

    def shown(self, group: OrderGroup) -> Body:
        """GET /portfolio/order_groups/{id}."""
        body = told(_LISTED, group, "d")
        del body["id"]
        return {**body, "orders": [order.order_id for order in self.orders(group)]}

    def filled(self, order: SimOrder, count_e2: int, now_us: int) -> None:
        """A fill of an order of a group; the group ends its orders where its limit is reached."""
        group = self._groups.get(order.order_group_id)
        if group is not None and not group.triggered and group.match(count_e2, now_us):
            self.trigger(group, now_us)

    def trigger(self, group: OrderGroup, now_us: int) -> None:
        """Cancel all its orders and take no new one."""
        group.triggered = True
        for order in self.orders(group):
            self._cancel(order, now_us)
        self._say("triggered", group, now_us)

    def reset(self, group: OrderGroup, now_us: int) -> None:
        """Its window is empty and it takes orders again."""
        group.triggered = False
        group.matched.clear()
        self._say("reset", group, now_us)

    def limit(self, group: OrderGroup, limit_e2: int, now_us: int) -> None:
        """Another limit; what has been matched in the window may already reach it."""
        group.limit_e2 = limit_e2
        self._say("limit_updated", group, now_us)
        if not group.triggered and sum(n for at, n in group.matched if at > now_us - WINDOW_US) >= limit_e2:
            self.trigger(group, now_us)

    def delete(self, group: OrderGroup, now_us: int) -> None:
        """The group is no more, and its orders with it."""
        for order in self.orders(group):
            self._cancel(order, now_us)
        del self._groups[group.group_id]
        self._say("deleted", group, now_us)

    def _say(self, kind: EventType, group: OrderGroup, now_us: int) -> None:
        self._tell(told(_FRAME, GroupEvent(kind, group, now_us), "d"))
