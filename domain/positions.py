"""A market's position from its fills alone, in exact integers. Pure: values in, values out.

Counts, cash and fees are commutative sums. Cost and realized P&L depend on the order of fills, so the fills are kept,
ordered by (ts_ms, sort_id), until settlement; a late one re-folds what follows it. Settlement closes everything, after
which realized P&L is a sum too and the fills may go. Convention `net_yes_avg_cost_v1`: one signed count (YES positive,
NO negative; the venue nets them), average cost, the released cost rounded down to 1/1,000,000 dollar and the rest left
with the open contracts, so that no micro-dollar appears or vanishes.
"""

from dataclasses import dataclass
from typing import Literal

from domain.fill_facts import KnownFill, yes_direction, yes_price_e4

INV_CONVENTION: Literal["net_yes_avg_cost_v1"] = "net_yes_avg_cost_v1"
DOLLAR_E4 = 10_000


@dataclass(frozen=True, slots=True)
class Fold:
    """The order-dependent part: signed count, cost of the open contracts, P&L realized so far (fees apart)."""

    count_e2: int = 0
    cost_e6: int = 0
    realized_e6: int = 0


Kind = Literal["buy_yes", "sell_yes", "buy_no", "sell_no", "correction"]
_KINDS: dict[tuple[str, str], Kind] = {
    ("yes", "buy"): "buy_yes",
    ("yes", "sell"): "sell_yes",
    ("no", "buy"): "buy_no",
    ("no", "sell"): "sell_no",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A fill or a correction as the fold sees it; (ts_ms, sort_id) is its place in the fold."""

    ts_ms: int
    sort_id: str
    signed_e2: int  # YES added; negative: taken away
    yes_price_e4: int
    kind: Kind
    fee_e6: int | None


@dataclass(frozen=True, slots=True)
class Opening:
    """The position before the first folded fill; fills at or before `as_of_ms` are in it."""

    count_e2: int
    cost_e6: int
    realized_e6: int
    fees_e6: int
    as_of_ms: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one YES contract paid (0..10000), or, for void, the revenue the venue stated."""

    value_e4: int | None
    revenue_e6: int
    settled_ts_ms: int


@dataclass(frozen=True, slots=True)
class Sums:
    """Commutative: any order, same result. `yes_cash_e6` values every entry at its YES price."""

    bought_yes_e2: int = 0
    sold_yes_e2: int = 0
    bought_no_e2: int = 0
    sold_no_e2: int = 0
    net_e2: int = 0
    yes_cash_e6: int = 0
    fees_e6: int = 0
    fills: int = 0
    fills_without_fee: int = 0


def apply_entry(fold: Fold, signed_e2: int, yes_price: int) -> Fold:
    """A change of the net count closes what is open the other way, the rest opens at its own leg's price."""
    count, cost, realized = fold.count_e2, fold.cost_e6, fold.realized_e6
    if count and (count > 0) != (signed_e2 > 0):
        closed = min(abs(count), abs(signed_e2))
        released = cost * closed // abs(count)
        proceeds = closed * (yes_price if count > 0 else DOLLAR_E4 - yes_price)
        realized += proceeds - released
        cost -= released
        opened = abs(signed_e2) - closed
    else:
        opened = abs(signed_e2)
    return Fold(count + signed_e2, cost + opened * (yes_price if signed_e2 > 0 else DOLLAR_E4 - yes_price), realized)


def fold_entries(start: Fold, entries: "list[Entry] | tuple[Entry, ...]", after_ms: int = -1) -> Fold:
    """Fold sorted entries, leaving out those at or before `after_ms` (they are in the opening)."""
    fold = start
    for entry in entries:
        if entry.ts_ms > after_ms:
            fold = apply_entry(fold, entry.signed_e2, entry.yes_price_e4)
    return fold


def entry_of(fill: KnownFill) -> Entry:
    """The fill as the fold sees it."""
    signed = yes_direction(fill.side, fill.action) * fill.count_e2
    price = yes_price_e4(fill.side, fill.price_e4)
    return Entry(fill.ts_ms, fill.sort_id, signed, price, _KINDS[fill.side, fill.action], fill.fee_e6)


def add_entry(sums: Sums, entry: Entry, times: int = 1) -> Sums:
    """The sums with the entry added, or with `times=-1` taken out again (an amendment takes out and adds)."""
    count, kind = times * abs(entry.signed_e2), entry.kind
    is_fill = kind != "correction"
    return Sums(
        bought_yes_e2=sums.bought_yes_e2 + count * (kind == "buy_yes"),
        sold_yes_e2=sums.sold_yes_e2 + count * (kind == "sell_yes"),
        bought_no_e2=sums.bought_no_e2 + count * (kind == "buy_no"),
        sold_no_e2=sums.sold_no_e2 + count * (kind == "sell_no"),
        net_e2=sums.net_e2 + times * entry.signed_e2,
        yes_cash_e6=sums.yes_cash_e6 - times * entry.signed_e2 * entry.yes_price_e4,
        fees_e6=sums.fees_e6 + times * (entry.fee_e6 or 0),
        fills=sums.fills + times * is_fill,
        fills_without_fee=sums.fills_without_fee + times * (is_fill and entry.fee_e6 is None),
    )


def opening_fold(opening: Opening | None) -> Fold:
    """Where the fold of the fills starts."""
    return Fold() if opening is None else Fold(opening.count_e2, opening.cost_e6, opening.realized_e6)


def cash_e6(sums: Sums, opening: Opening | None) -> int:
    """Money received minus money paid for the folded fills, fees apart: a NO contract costs one dollar less its YES
    price, so cash at YES prices is off by one dollar for each NO contract gained or given up."""
    before = opening.count_e2 if opening is not None else 0
    return sums.yes_cash_e6 + DOLLAR_E4 * (min(before + sums.net_e2, 0) - min(before, 0))


def settled_fold(sums: Sums, opening: Opening | None, settlement: Settlement) -> Fold:
    """Everything is closed, so only sums matter: realized = opening's + cash + payout - opening cost."""
    start = opening_fold(opening)
    count = start.count_e2 + sums.net_e2
    if settlement.value_e4 is None:
        payout = settlement.revenue_e6
    else:
        payout = abs(count) * (settlement.value_e4 if count > 0 else DOLLAR_E4 - settlement.value_e4)
    return Fold(0, 0, start.realized_e6 - start.cost_e6 + cash_e6(sums, opening) + payout)
