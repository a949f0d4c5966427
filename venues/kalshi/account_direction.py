"""Which way a fill or an order goes, from the venue's words. Pure.

`outcome_side` (yes, no) and `book_side` (bid: yes, ask: no) are the venue's own answer on orders and fills alike:
wherever one of them stands it decides, and the older words beside it refuse nothing. Without them an order, and a
pushed fill, say the order's own pair: buying a side gains its outcome, selling it gains the other. A fill in a REST
answer says in `side` the outcome that was gained, and its `action` carries no sign: the sale of YES comes as side no
(the venue's changelog of 22 September 2025).
"""

from typing import Literal, cast

from schemas.account_records import Action
from schemas.records import Side
from venues.kalshi import account_fields as f

Channel = Literal["ws", "rest"]
_OUTCOME_OF_BOOK = {"bid": "yes", "ask": "no"}
_OTHER: dict[str, Side] = {"yes": "no", "no": "yes"}
_ACTIONS = ("buy", "sell")


class UnclearDirection(Exception):
    """`what`: "side" or "action", the word that is missing, unknown or contradicted."""

    def __init__(self, what: Literal["side", "action"], detail: str) -> None:
        super().__init__(detail)
        self.what, self.detail = what, detail


def canonical_outcome(item: f.Item) -> Side | None:
    """The outcome gained, by the canonical fields; None where there are none.

    Raises:
        UnclearDirection: other words than the venue's, or two that contradict each other.
    """
    outcome, book = f.lowered(item, "outcome_side"), f.lowered(item, "book_side")
    if f.first(item, "outcome_side", "book_side") is None:
        return None
    by_book = _OUTCOME_OF_BOOK.get(book, book and "?")
    said = outcome or by_book
    if said not in _OTHER or (by_book and by_book != said):
        raise UnclearDirection("side", f"expected yes with bid or no with ask, was {outcome!r} with {book!r}")
    return cast(Side, said)


def fill_direction(item: f.Item, channel: Channel) -> tuple[Side, Action]:
    """The side and the action of the order behind a fill: the same from either channel.

    Raises:
        UnclearDirection: nothing says the direction.
    """
    side, action = f.lowered(item, "side"), f.lowered(item, "action")
    gained = canonical_outcome(item) or _purchased(item)
    if gained is None and channel == "ws":
        return _pair(side, action)
    if gained is None:
        if side not in _OTHER:
            raise UnclearDirection("side", f"expected yes or no, was {side!r}")
        gained = cast(Side, side)
    return _worded(gained, side, action)


def order_direction(item: f.Item) -> tuple[Side, Action]:
    """The side and the action of an order.

    Raises:
        UnclearDirection: nothing says the direction.
    """
    side, action = f.lowered(item, "side"), f.lowered(item, "action")
    gained = canonical_outcome(item) or _purchased(item)
    return _pair(side, action) if gained is None else _worded(gained, side, action)


def _purchased(item: f.Item) -> Side | None:
    said = f.lowered(item, "purchased_side")
    return cast(Side, said) if said in _OTHER else None


def _pair(side: str, action: str) -> tuple[Side, Action]:
    if side not in _OTHER:
        raise UnclearDirection("side", f"expected yes or no, was {side!r}")
    if action not in _ACTIONS:
        raise UnclearDirection("action", f"expected buy or sell, was {action!r}")
    return cast(Side, side), cast(Action, action)


def _worded(gained: Side, side: str, action: str) -> tuple[Side, Action]:
    """The pair that gains this outcome: the order's action where it is told, else the side that is told."""
    if action in _ACTIONS:
        return gained if action == "buy" else _OTHER[gained], cast(Action, action)
    if side in _OTHER and side != gained:
        return cast(Side, side), "sell"
    return gained, "buy"
