"""Which decision an order came from, joined from what three topics say in any order. Pure: values in, values out.

    order action: client order id -> decision        order report, fill: order id -> client order id

What is known only grows, so the links do not depend on the order in which it is learned.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision behind an order, with the times of the order action that placed it. The smallest is an order's
    own where several claim it."""

    ts_event: int
    decision_id: str
    ts_ingest: int

    @property
    def place(self) -> tuple[int, str]:
        """What decides between two."""
        return self.ts_event, self.decision_id


@dataclass(frozen=True, slots=True)
class ClientOrder:
    """One client order id: the venue's order, and our decision, each None while unknown. `heard_ms` is when it was
    last heard of, for retention."""

    order_id: str | None = None
    decision: Decision | None = None
    heard_ms: int = 0

    @property
    def is_linked(self) -> bool:
        """Whether both sides are known."""
        return self.order_id is not None and self.decision is not None


@dataclass(frozen=True, slots=True)
class LinkedOrder:
    """One order of the venue: its decision, how many fills it has had, and the cause of the last one counted."""

    decision: Decision | None = None
    fills: int = 0
    counted: tuple[int, int] = (-1, 0)
    heard_ms: int = 0


def decided(known: ClientOrder, decision: Decision) -> ClientOrder | None:
    """An order action says which decision placed the order; None when another decision has been told before: a client
    order id belongs to one order for ever."""
    if known.decision is None:
        return replace(known, decision=decision)
    return known if known.decision.decision_id == decision.decision_id else None


def named(known: ClientOrder, order_id: str) -> ClientOrder | None:
    """A report says which order of the venue it is; None when it has been another."""
    if known.order_id is None:
        return replace(known, order_id=order_id)
    return known if known.order_id == order_id else None


def with_decision(order: LinkedOrder, decision: Decision) -> LinkedOrder:
    """The order with its decision, the smallest of those told."""
    if order.decision is not None and order.decision.place <= decision.place:
        return order
    return replace(order, decision=decision)
