"""Order flow of one market: cancels and adds near the touch, trades at it, quotes that follow the fair price.

Works on positions in the grid of allowed prices, which is symmetric: the NO price at position j is the complement of
the YES price at n - 1 - j. So a YES bid at i and a NO bid at j cross or lock when i + j >= n - 1.
"""

import random
from functools import cache
from typing import TYPE_CHECKING

from domain.units import DOLLAR_E4
from venues.simulator.market import Market

if TYPE_CHECKING:
    from venues.simulator.generator import Generator

LEVELS_FEW = 20
LEVELS_MANY = 30
DEPTH = 26  # positions below the touch that orders go to
TRADE_SHARE = 0.05
FRACTIONAL_SHARE = 0.2


@cache
def grid(structure: str) -> tuple[int, ...]:
    """Allowed prices in 1/10,000 dollar, ascending."""
    if structure == "linear_cent":
        return tuple(range(100, DOLLAR_E4, 100))
    return (*range(10, 1_000, 10), *range(1_000, 9_000, 100), *range(9_000, DOLLAR_E4, 10))


@cache
def positions(structure: str) -> dict[int, int]:
    """Price -> position in the grid."""
    return {price_e4: at for at, price_e4 in enumerate(grid(structure))}


class OrderFlow:
    """The flow of one market. `fair_e4` moves the quotes; set it now and then."""

    __slots__ = ("_grid", "_last", "_positions", "_random", "_top", "_whole", "fair_e4", "market", "venue")

    def __init__(self, venue: "Generator", market: Market, rng: random.Random, *, whole: bool) -> None:
        self.venue = venue
        self.market = market
        self.fair_e4 = DOLLAR_E4 // 2
        self._grid = grid(market.structure)
        self._positions = positions(market.structure)
        self._last = len(self._grid) - 1
        self._random = rng.random
        self._whole = whole
        # Best position of the YES and the NO side, -1 where empty.
        self._top = [-1, -1]

    def seed(self) -> None:
        """Both ladders from nothing to their usual depth."""
        for side in (0, 1):
            target = self._target(side)
            for at in range(target, max(-1, target - (LEVELS_FEW + LEVELS_MANY) // 2), -1):
                self._change(side, at, self._size())

    def step(self) -> None:
        """One thing happens: one frame, two for a trade."""
        chance = self._random()
        side = 1 if self._random() < 0.5 else 0
        top = self._top[side]
        target = self._target(side)
        better = max(top + 1, target - DEPTH)
        if top > target + 1:
            # The fair price has left this side's best bid behind: it is taken, or pulled.
            if chance < 0.4:
                self._trade(side)
            else:
                self._remove(side, top)
        elif top < target - 1 and self._free(side, better):
            self._change(side, better, self._size())
        elif chance < TRADE_SHARE and top >= 0:
            self._trade(side)
        else:
            self._shuffle(side, top, chance)

    def cancel_all(self) -> None:
        """Every level goes, one frame each, as at the close."""
        for side in (0, 1):
            for price_e4 in sorted(self._levels(side), reverse=True):
                self._remove(side, self._positions[price_e4])

    def _levels(self, side: int) -> dict[int, int]:
        return self.market.book.no if side else self.market.book.yes

    def _target(self, side: int) -> int:
        """Where the best bid of this side wants to be: a step or two below its fair price."""
        fair_e4 = DOLLAR_E4 - self.fair_e4 if side else self.fair_e4
        if fair_e4 < 1_000:
            at = fair_e4 // 10 - 1 if self._last > 99 else fair_e4 // 100 - 1
        elif fair_e4 <= 9_000:
            at = (fair_e4 - 1_000) // 100 + (99 if self._last > 99 else 9)
        else:
            at = (fair_e4 - 9_000) // 10 + 179 if self._last > 99 else fair_e4 // 100 - 1
        return min(self._last, at - 1)

    def _free(self, side: int, at: int) -> bool:
        other = self._top[1 - side]
        return 0 <= at <= self._last and (other < 0 or at + other < self._last)

    def _size(self) -> int:
        size_e2 = (int(self._random() ** 3 * 600) + 1) * 100
        if not self._whole and self._random() < FRACTIONAL_SHARE:
            size_e2 += int(self._random() * 99) + 1
        return size_e2

    def _shuffle(self, side: int, top: int, chance: float) -> None:
        levels = self._levels(side)
        count = len(levels)
        if count > LEVELS_MANY:
            self._remove(side, self._positions[min(levels)])
            return
        start = top if top >= 0 else self._target(side)
        at = start - int(self._random() ** 2 * DEPTH)
        at = at if at >= 0 else 0
        size_e2 = levels.get(self._grid[at], 0)
        if chance > 0.52 and size_e2 and count > min(LEVELS_FEW, start):
            if chance > 0.8:
                self._remove(side, at)
            else:
                part_e2 = int(size_e2 * self._random()) // 100 * 100
                self._change(side, at, -(part_e2 or size_e2))
        elif self._free(side, at):
            self._change(side, at, self._size())
        elif top >= 0:
            self._remove(side, top)
        else:
            # Nothing to do on this side (its fair price is below the lowest step): the other one gets an order.
            self._change(1 - side, max(0, self._top[1 - side]), self._size())

    def _trade(self, side: int) -> None:
        """A taker hits this side's best bid: the trade, and the level's reduction on the maker's own side."""
        price_e4 = self._grid[self._top[side]]
        size_e2 = self._levels(side)[price_e4]
        count_e2 = size_e2 if self._random() < 0.3 else max(100, int(size_e2 * self._random()) // 100 * 100)
        count_e2 = min(count_e2, size_e2)
        yes_e4 = DOLLAR_E4 - price_e4 if side else price_e4
        self.venue.trade(self.market, yes_e4, count_e2, "yes" if side else "no")
        self._change(side, self._top[side], -count_e2)

    def _remove(self, side: int, at: int) -> None:
        self._change(side, at, -self._levels(side)[self._grid[at]])

    def _change(self, side: int, at: int, delta_e2: int) -> None:
        price_e4 = self._grid[at]
        self.venue.delta(self.market, "no" if side else "yes", price_e4, delta_e2)
        levels = self._levels(side)
        top = self._top[side]
        if at > top:
            self._top[side] = at
        elif at == top and price_e4 not in levels:
            self._top[side] = self._positions[max(levels)] if levels else -1
