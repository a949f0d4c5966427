"""One market's order book: YES bids and NO bids, and the rules of which message may change it.

The venue sends bids only: a YES ask at 1 - p is a NO bid at p. Both ladders are price -> size
in integer units; the best price of each side is kept incrementally. A book takes one producer session at a time and
deltas only from the (session, sid) of its last snapshot.
"""

from collections.abc import Iterable
from enum import IntEnum

from domain.errors import InvariantViolated
from domain.units import DOLLAR_E4

LIVE = "live"
STALE = "stale"
EMPTY = "empty"


class Verdict(IntEnum):
    """What became of one message."""

    APPLIED = 1  # the book changed, its best prices or sizes may have
    APPLIED_BELOW_TOP = 2  # the book changed, best prices and sizes did not
    DUPLICATE = 3  # at or below the seq already applied: ignored
    NOT_LIVE = 4  # a delta for a book that waits for its snapshot: ignored, never folded
    SUPERSEDED = 5  # of another session, or another sid than the last snapshot's: refused


# Module names, because attribute look-ups on an enum cost as much as the fold of a level.
APPLIED = Verdict.APPLIED
APPLIED_BELOW_TOP = Verdict.APPLIED_BELOW_TOP
DUPLICATE = Verdict.DUPLICATE
NOT_LIVE = Verdict.NOT_LIVE
SUPERSEDED = Verdict.SUPERSEDED

Top = tuple[str, int, int, int, int]
Level = tuple[int, int]


class Book:
    """Both ladders of one market. `best_yes_e4` and `best_no_e4` are 0 where that side is empty.

    Not live (`stale`) means: no levels, nothing to act on, until a snapshot of the current session arrives.
    """

    __slots__ = ("best_no_e4", "best_yes_e4", "no", "seq", "session_id", "sid", "status", "yes")

    def __init__(self) -> None:
        self.status = STALE
        self.session_id: str | None = None
        self.sid: int | None = None
        self.seq = -1
        self.yes: dict[int, int] = {}
        self.no: dict[int, int] = {}
        self.best_yes_e4 = 0
        self.best_no_e4 = 0

    def top(self) -> Top:
        """(status, best YES price, its size, best NO price, its size); zeros where there is none."""
        yes_e4, no_e4 = self.best_yes_e4, self.best_no_e4
        return self.status, yes_e4, self.yes.get(yes_e4, 0), no_e4, self.no.get(no_e4, 0)

    def start_session(self, session_id: str) -> Verdict:
        """From here on only this session is believed; ids are random, so none ever comes back."""
        self.session_id = session_id
        self.mark_stale()
        return APPLIED

    def reset(self, session_id: str) -> Verdict:
        """The feed says that this book is no longer to be trusted. Another session's word is refused."""
        if self.session_id is not None and session_id != self.session_id:
            return SUPERSEDED
        self.session_id = session_id
        self.mark_stale()
        return APPLIED

    def mark_stale(self) -> None:
        """Forget the levels: what cannot be trusted is not shown as if it could."""
        self.status = STALE
        self.sid = None
        self.seq = -1
        self.yes = {}
        self.no = {}
        self.best_yes_e4 = 0
        self.best_no_e4 = 0

    def forget_session(self) -> None:
        """Records were lost before we read them, the start of a session maybe among them: believe the next one seen."""
        self.session_id = None
        self.mark_stale()

    def apply_snapshot(self, session_id: str, sid: int, seq: int, yes: Iterable[Level], no: Iterable[Level]) -> Verdict:
        """Replace the book wholesale (a snapshot may come at any time). Levels of size 0 are left out.

        Raises:
            InvariantViolated: `crossed_book`, `repeated_level`; the book is left as it was.
        """
        if self.session_id is not None and session_id != self.session_id:
            return SUPERSEDED
        if sid == self.sid and seq < self.seq:
            return DUPLICATE
        new_yes, new_no = _ladder(yes, "yes"), _ladder(no, "no")
        best_yes_e4, best_no_e4 = max(new_yes, default=0), max(new_no, default=0)
        _refuse_crossed(best_yes_e4, best_no_e4)
        self.session_id, self.sid, self.seq = session_id, sid, seq
        self.yes, self.no, self.best_yes_e4, self.best_no_e4 = new_yes, new_no, best_yes_e4, best_no_e4
        self.status = LIVE if new_yes or new_no else EMPTY
        return APPLIED

    def apply_delta(self, session_id: str, sid: int, seq: int, side: str, price_e4: int, delta_e2: int) -> Verdict:
        """Add a signed change to one level; a level that reaches 0 goes.

        Raises:
            InvariantViolated: `negative_level` (also a reduction of an unknown level) or `crossed_book`. The book must
                then be marked stale: the change may already stand in it.
        """
        if session_id != self.session_id:
            return SUPERSEDED if self.session_id is not None else NOT_LIVE
        if sid != self.sid:
            return SUPERSEDED if self.sid is not None else NOT_LIVE
        if seq <= self.seq:
            return DUPLICATE
        self.seq = seq
        if side == "yes":
            levels = self.yes
            size_e2 = levels.get(price_e4, 0) + delta_e2
            best_e4 = self.best_yes_e4
            if size_e2 > 0:
                levels[price_e4] = size_e2
                if price_e4 < best_e4:
                    return APPLIED_BELOW_TOP
                if price_e4 > best_e4:
                    self.best_yes_e4 = price_e4
            else:
                _remove(levels, side, price_e4, size_e2, seq)
                if price_e4 < best_e4:
                    return APPLIED_BELOW_TOP
                self.best_yes_e4 = max(levels, default=0)
        else:
            levels = self.no
            size_e2 = levels.get(price_e4, 0) + delta_e2
            best_e4 = self.best_no_e4
            if size_e2 > 0:
                levels[price_e4] = size_e2
                if price_e4 < best_e4:
                    return APPLIED_BELOW_TOP
                if price_e4 > best_e4:
                    self.best_no_e4 = price_e4
            else:
                _remove(levels, side, price_e4, size_e2, seq)
                if price_e4 < best_e4:
                    return APPLIED_BELOW_TOP
                self.best_no_e4 = max(levels, default=0)
        if self.best_yes_e4 + self.best_no_e4 > DOLLAR_E4:
            _refuse_crossed(self.best_yes_e4, self.best_no_e4)
        self.status = LIVE if self.yes or self.no else EMPTY
        return APPLIED


def _remove(levels: dict[int, int], side: str, price_e4: int, size_e2: int, seq: int) -> None:
    if size_e2 < 0:
        raise InvariantViolated(
            "negative_level", f"expected {side} {price_e4} e4 to stay >= 0, was {size_e2} e2 at seq {seq}"
        )
    # A change by zero of a level that is not there leaves nothing behind.
    levels.pop(price_e4, None)


def _ladder(levels: Iterable[Level], side: str) -> dict[int, int]:
    ladder: dict[int, int] = {}
    for price_e4, size_e2 in levels:
        if price_e4 in ladder:
            raise InvariantViolated("repeated_level", f"expected each {side} price once, was {price_e4} e4 twice")
        if size_e2 < 0:
            raise InvariantViolated("negative_level", f"expected {side} {price_e4} e4 >= 0, was {size_e2} e2")
        if size_e2:
            ladder[price_e4] = size_e2
    return ladder


def _refuse_crossed(best_yes_e4: int, best_no_e4: int) -> None:
    if best_yes_e4 + best_no_e4 > DOLLAR_E4:
        raise InvariantViolated(
            "crossed_book", f"expected best YES + best NO <= {DOLLAR_E4} e4, was {best_yes_e4} + {best_no_e4}"
        )
