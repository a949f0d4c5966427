"""Pauses between two tries to connect to the venue: full jitter, doubled with each failure."""

import random

FIRST_S = 0.5  # uniform between 0 and this, doubled with each failure
S_MAX = 30.0  # for a venue that has never worked, or refuses us: it wants to be left alone
#: After a session that worked the venue is expected back any moment, and books are to be live 5 s after its return; one
#: handshake a second is nothing to it.
AFTER_GOOD_S_MAX = 2.0


class Backoff:
    """Of one connection that is made again and again."""

    def __init__(self) -> None:
        self._failures = 0
        self._cap_s = S_MAX

    def session_ended(self, is_good: bool) -> None:
        """A connection was there. `is_good`: it did what it was made for. One that did not, as a venue that is coming
        back may give, doubles the cap."""
        if is_good:
            self._failures, self._cap_s = 0, AFTER_GOOD_S_MAX
        else:
            self._cap_s = min(S_MAX, 2 * self._cap_s)

    def next_pause_s(self, is_refused: bool = False) -> float:
        """How long to wait now. `is_refused`: the venue answers, and does not want us (401, 403, 429)."""
        cap_s = S_MAX if is_refused else self._cap_s
        pause_s = random.uniform(0, min(cap_s, FIRST_S * 2 ** min(self._failures, 16)))  # noqa: S311  # no secret
        self._failures += 1
        return pause_s
