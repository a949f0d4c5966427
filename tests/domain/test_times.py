"""Which times are believed, and clocks that one wrong time must not spoil."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.times import FUTURE_MAX_MS, believed_ms, is_plausible, raised_ms, watermark_ms

NOW = 1_764_500_000_000
YEAR = 31_536_000_000
TIMES = st.integers(NOW - YEAR, NOW)


@pytest.mark.parametrize(
    ("time_ms", "plausible"),
    [
        (0, True),
        (NOW - 20 * YEAR, True),
        (NOW + FUTURE_MAX_MS, True),
        (NOW + FUTURE_MAX_MS + 1, False),
        (NOW * 1_000, False),
    ],
)
def test_recordings_are_old_and_nothing_is_of_next_year(time_ms: int, plausible: bool) -> None:
    """The bound is on the future alone."""
    assert is_plausible(time_ms, NOW) == plausible


def test_impossible_time_of_a_record_is_its_arrival() -> None:
    """So is one that the venue did not give."""
    assert believed_ms(NOW + YEAR, NOW) == believed_ms(None, NOW) == NOW
    assert believed_ms(NOW - 5, NOW) == NOW - 5


@given(st.lists(st.tuples(TIMES, st.booleans()), min_size=1, max_size=20))
def test_clock_that_rises_is_never_beyond_belief_and_the_same_without_impossible_times(
    told: list[tuple[int, bool]],
) -> None:
    """Wrong times anywhere in between change nothing for later."""
    clock = watermark = 0
    for n, (time_ms, wrong) in enumerate(told):
        event_ms = time_ms + 1_000 * YEAR if wrong else time_ms
        clock = raised_ms(clock, event_ms, NOW + n)
        watermark = watermark_ms(watermark, event_ms, NOW + n, NOW + n)
        assert is_plausible(clock, NOW + n)
        assert watermark <= NOW + n
    right = [NOW + n if wrong else time_ms for n, (time_ms, wrong) in enumerate(told)]
    assert (clock, watermark) == (max(right), max(right))


def test_clock_that_was_spoilt_before_is_set_right_by_the_next_record() -> None:
    """Stores written before times were judged hold such clocks."""
    assert raised_ms(NOW + YEAR, NOW, NOW) == NOW
    assert watermark_ms(NOW + YEAR, NOW - 7, NOW, NOW) == NOW - 7


def test_memory_does_not_move_with_our_own_clock_a_year_ahead() -> None:
    """The log's own time holds it back."""
    assert watermark_ms(0, NOW + YEAR, NOW + YEAR, NOW) == NOW
    assert watermark_ms(0, None, NOW, 0) == NOW
