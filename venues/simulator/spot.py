"""The underlying: a geometric random walk of BTC in dollars, deterministic by seed.

Floats are right here: this is the weather outside, no price of a contract and no money.
"""

import math
import random
from collections import deque

START_DOLLARS = 95_000.0
SIGMA_YEAR = 0.6
YEAR_MS = 365 * 86_400_000
STEP_MS = 100
MEAN_S = 60  # both series settle on the mean of the last 60 one-second prints


class SpotWalk:
    """`dollars` now; `mean_dollars()` of the last minute."""

    def __init__(self, seed: int, now_ms: int) -> None:
        self._rng = random.Random(f"spot-{seed}")  # noqa: S311  (weather, not secrets)
        self._at_ms = now_ms
        self.dollars = START_DOLLARS * (1 + 0.01 * self._rng.uniform(-1, 1))
        self._seconds: deque[float] = deque([self.dollars], maxlen=MEAN_S)

    def advance(self, now_ms: int) -> int:
        """Walk up to `now_ms` in steps of 100 ms (one longer step across a pause). Returns the steps taken."""
        steps = (now_ms - self._at_ms) // STEP_MS
        if steps <= 0:
            return 0
        if steps > 600:  # after a pause of a minute or more the path does not matter, only where it ends
            self._step(steps * STEP_MS)
            self._at_ms += steps * STEP_MS
            return 1
        for _ in range(steps):
            self._step(STEP_MS)
            self._at_ms += STEP_MS
        return steps

    def _step(self, ms: int) -> None:
        self.dollars *= math.exp(SIGMA_YEAR * math.sqrt(ms / YEAR_MS) * self._rng.gauss(0, 1))
        if self._at_ms % 1_000 < STEP_MS or ms >= 1_000:
            self._seconds.append(self.dollars)

    def mean_dollars(self) -> float:
        """Mean of the last 60 one-second prints."""
        return sum(self._seconds) / len(self._seconds)


def chance_above(spot: float, strike: float, left_ms: int) -> float:
    """Probability that the walk ends above `strike`. Settling on a mean shortens the horizon by 40 s."""
    horizon_ms = max(500.0, left_ms - MEAN_S * 1_000 * 2 / 3 if left_ms > MEAN_S * 1_000 else left_ms / 3)
    sd = SIGMA_YEAR * math.sqrt(horizon_ms / YEAR_MS)
    return 0.5 * (1 + math.erf(math.log(spot / strike) / sd / math.sqrt(2)))
