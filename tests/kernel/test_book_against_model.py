"""The book against a model that knows no best price, no incremental anything: two dicts and a maximum."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from domain.book import EMPTY, LIVE, STALE, Book, Verdict
from domain.errors import InvariantViolated
from tables import order_books
from tables.order_books import BookState

PRICES = st.integers(1, 6) | st.integers(9_994, 9_999) | st.sampled_from([5_000, 4_999, 5_001])
SIDES = st.sampled_from(["yes", "no"])
SESSIONS = st.sampled_from(["a", "b"])
SIDS = st.sampled_from([1, 1, 1, 2])
LEVELS = st.lists(st.tuples(PRICES, st.integers(0, 5)), max_size=5)


class Model:
    """What the design says about a book (section 5), as plainly as possible."""

    def __init__(self) -> None:
        self.session: str | None = None
        self.forget()

    def forget(self) -> None:
        self.sid: int | None = None
        self.seq = -1
        self.sides: dict[str, dict[int, int]] = {"yes": {}, "no": {}}
        self.status = STALE

    def settle(self) -> None:
        self.sides = {side: {p: s for p, s in levels.items() if s} for side, levels in self.sides.items()}
        self.status = LIVE if any(self.sides.values()) else EMPTY

    @property
    def best(self) -> tuple[int, int]:
        return max(self.sides["yes"], default=0), max(self.sides["no"], default=0)

    def top(self) -> Any:
        yes, no = self.best
        return self.status, yes, self.sides["yes"].get(yes, 0), no, self.sides["no"].get(no, 0)


class BookBesideModel(RuleBasedStateMachine):
    """Any sequence of what the feed may send, and of what it must not."""

    def __init__(self) -> None:
        super().__init__()
        self.book, self.model, self.seq = Book(), Model(), 0

    @rule(session=SESSIONS)
    def session_starts(self, session: str) -> None:
        self.book.start_session(session)
        self.model.session = session
        self.model.forget()

    @rule(session=SESSIONS)
    def feed_resets(self, session: str) -> None:
        verdict = self.book.reset(session)
        refused = self.model.session not in (None, session)
        assert (verdict is Verdict.SUPERSEDED) == refused
        if not refused:
            self.model.session = session
            self.model.forget()

    @rule(session=SESSIONS, sid=SIDS, step=st.integers(-2, 3), yes=LEVELS, no=LEVELS)
    def snapshot(self, session: str, sid: int, step: int, yes: Any, no: Any) -> None:
        seq = max(0, self.seq + step)
        before = self.book.top()
        try:
            verdict = self.book.apply_snapshot(session, sid, seq, yes, no)
        except InvariantViolated:
            assert _impossible(yes, no)
            assert self.book.top() == before, "a refused snapshot must leave the book as it was"
            return
        model = self.model
        if model.session not in (None, session):
            assert verdict is Verdict.SUPERSEDED
        elif sid == model.sid and seq < model.seq:
            assert verdict is Verdict.DUPLICATE
        else:
            assert verdict is Verdict.APPLIED
            model.session, model.sid, model.seq = session, sid, seq
            model.sides = {"yes": dict(yes), "no": dict(no)}
            model.settle()
            self.seq = max(self.seq, seq)

    @rule(session=SESSIONS, sid=SIDS, step=st.integers(-1, 3), side=SIDES, price=PRICES, delta=st.integers(-5, 5))
    def delta(self, session: str, sid: int, step: int, side: str, price: int, delta: int) -> None:
        model, seq = self.model, max(0, self.seq + step)
        live = model.session == session and model.sid == sid
        before = self.book.top()
        try:
            verdict = self.book.apply_delta(session, sid, seq, side, price, delta)
        except InvariantViolated:
            assert live and seq > model.seq
            size = model.sides[side].get(price, 0) + delta
            other = max(model.sides["no" if side == "yes" else "yes"], default=0)
            assert size < 0 or (size > 0 and price + other > 10_000)
            self.book.mark_stale()
            model.forget()
            return
        if not live:
            assert verdict in (Verdict.SUPERSEDED, Verdict.NOT_LIVE)
        elif seq <= model.seq:
            assert verdict is Verdict.DUPLICATE
        else:
            model.seq = self.seq = seq
            model.sides[side][price] = model.sides[side].get(price, 0) + delta
            model.settle()
            assert verdict in (Verdict.APPLIED, Verdict.APPLIED_BELOW_TOP)
            if verdict is Verdict.APPLIED_BELOW_TOP:
                assert self.book.top() == before, "a change below the top must not show at the top"

    @rule()
    def records_are_lost(self) -> None:
        self.book.forget_session()
        self.model.session = None
        self.model.forget()

    @invariant()
    def book_is_the_model(self) -> None:
        assert self.book.top() == self.model.top()
        assert (self.book.yes, self.book.no) == (self.model.sides["yes"], self.model.sides["no"])
        assert (self.book.session_id, self.book.sid, self.book.seq) == (
            self.model.session, self.model.sid, self.model.seq,
        )  # fmt: skip

    @invariant()
    def book_is_possible(self) -> None:
        assert self.book.best_yes_e4 + self.book.best_no_e4 <= 10_000
        assert all(size > 0 for side in (self.book.yes, self.book.no) for size in side.values())
        assert (self.book.status == STALE) == (self.book.sid is None)


def _impossible(yes: list[tuple[int, int]], no: list[tuple[int, int]]) -> bool:
    repeated = any(len({p for p, _ in side}) < len(side) for side in (yes, no))
    best = [max((p for p, s in side if s), default=0) for side in (yes, no)]
    return repeated or sum(best) > 10_000


TestBookBesideModel = BookBesideModel.TestCase


@given(
    yes=st.dictionaries(st.integers(1, 4_999), st.integers(1, 10**9)),
    no=st.dictionaries(st.integers(1, 4_999), st.integers(1, 10**9)),
)
def test_state_survives_its_bytes_and_its_levels_keep_their_order(yes: dict[int, int], no: dict[int, int]) -> None:
    """Decoding is the inverse of encoding to the byte: a restart between two changes leaves no trace in later bytes."""
    state = BookState("KX", 7)
    state.apply_snapshot("s", 1, 5, yes.items(), no.items())
    raw = order_books.encode(state)
    again = order_books.decode(raw)
    assert again.top() == state.top()
    assert (list(again.yes.items()), list(again.no.items())) == (list(state.yes.items()), list(state.no.items()))
    assert order_books.encode(again) == raw


def test_delta_below_zero_names_side_price_and_seq() -> None:
    """Whoever reads the dead letter sees which level, and what would have become of it."""
    book = Book()
    book.apply_snapshot("s", 1, 1, [(4_000, 100)], [])
    with pytest.raises(InvariantViolated, match="expected yes 4000 e4 to stay >= 0, was -50 e2 at seq 2"):
        book.apply_delta("s", 1, 2, "yes", 4_000, -150)
