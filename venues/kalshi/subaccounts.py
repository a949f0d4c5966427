"""Which subaccount the desk trades and shows (KALSHI_SUBACCOUNT); what the others do is counted and listed, no more.

A key sees all of its subaccounts: lists of fills and orders and the private channels tell of every one, lists of
positions and settlements of one (the primary, unless asked for another). A position belongs to a subaccount and a
market; summed over subaccounts it is nobody's. So what is another's is left out where it comes in, whatever its way.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

Item = dict[str, Any]

PRIMARY = 0
#: Subaccounts listed; the venue has 64. What says an odd number is counted under the last one.
LISTED_MAX = 64
#: Markets named of each.
MARKETS_MAX = 20


class Subaccounts:
    """`own` is the desk's. `others`: number -> what was told of it, by kind."""

    def __init__(self, own: int = PRIMARY) -> None:
        self.own = own
        self.others: dict[int, Counter[str]] = {}
        self._markets: dict[int, dict[str, None]] = {}

    @property
    def parameters(self) -> Mapping[str, int]:
        """What a request for the desk's own list carries besides; nothing for the primary, as old venues know none."""
        return {} if self.own == PRIMARY else {"subaccount": self.own}

    def is_own(self, item: Item, kind: str) -> bool:
        """Whether a fill, order, position or settlement is the desk's. One that names no subaccount is of the list that
        was asked for."""
        number = subaccount_of(item)
        if number is None or number == self.own:
            return True
        number = number if number in self.others or len(self.others) < LISTED_MAX else LISTED_MAX
        self.others.setdefault(number, Counter())[kind] += 1
        markets = self._markets.setdefault(number, {})
        ticker = item.get("market_ticker") or item.get("ticker")
        if isinstance(ticker, str) and len(markets) < MARKETS_MAX:
            markets[ticker[:128]] = None
        return False

    def listed(self) -> dict[str, Any]:
        """For /status: the desk's own number, and what was told of the others."""
        others = {str(n): {**counts, "markets": sorted(self._markets[n])} for n, counts in sorted(self.others.items())}
        return {"own": self.own, "others": others}


def subaccount_of(item: Item) -> int | None:
    """Its number, None where it names none or something that is no number."""
    for name in ("subaccount_number", "subaccount"):
        value = item.get(name)
        if isinstance(value, str) and value.isdigit():
            value = int(value)
        if type(value) is int:
            return value
    return None
