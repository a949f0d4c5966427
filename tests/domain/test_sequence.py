"""The gap detector: what it calls expected, duplicate and gap."""

from hypothesis import given
from hypothesis import strategies as st

from domain.sequence import DUPLICATE, EXPECTED, Gap, SequenceDetector


def test_the_first_frame_of_a_sid_sets_the_counter() -> None:
    """A recording may be joined in the middle."""
    detector = SequenceDetector()

    assert [detector.observe(1, seq) for seq in (2_146_528, 2_146_529)] == [EXPECTED, EXPECTED]


def test_sids_are_counted_apart() -> None:
    """seq counts per sid, whatever the markets are."""
    detector = SequenceDetector()

    assert [detector.observe(sid, seq) for sid, seq in ((1, 1), (2, 7), (1, 2), (2, 8))] == [EXPECTED] * 4


def test_a_forgotten_sid_starts_anew() -> None:
    """After an unsubscribe the number may be given out again."""
    detector = SequenceDetector()
    detector.observe(1, 50)
    detector.forget(1)

    assert detector.observe(1, 3) == EXPECTED


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_missing_counts_are_exactly_what_was_dropped(kept: list[bool]) -> None:
    """Every drop before a delivered frame is counted, once."""
    detector = SequenceDetector()
    detector.observe(1, 0)

    verdicts = [detector.observe(1, seq) for seq, keep in enumerate(kept, 1) if keep]

    last_kept = max((n for n, keep in enumerate(kept) if keep), default=-1)
    missing = sum(verdict.missing for verdict in verdicts if isinstance(verdict, Gap))
    assert missing == kept[: last_kept + 1].count(False)
    assert DUPLICATE not in verdicts


@given(st.permutations(range(30)))
def test_no_frame_is_accepted_twice_or_backwards(order: list[int]) -> None:
    """In any order, accepted frames rise strictly, and accepted plus missing covers the range."""
    detector = SequenceDetector()
    verdicts = [(seq, detector.observe(1, seq)) for seq in order]

    accepted = [seq for seq, verdict in verdicts if verdict != DUPLICATE]
    missing = sum(verdict.missing for _, verdict in verdicts if isinstance(verdict, Gap))
    assert accepted == sorted(set(accepted))
    assert len(accepted) + missing == max(order) - order[0] + 1
