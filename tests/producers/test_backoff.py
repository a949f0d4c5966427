"""How long the feed waits before it connects again."""

import random

import pytest

from producers import backoff
from producers.backoff import Backoff


@pytest.fixture(autouse=True)
def _no_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jitter at its upper end."""
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)


def test_a_venue_that_never_worked_is_left_alone_for_longer_and_longer() -> None:
    """Doubled to the cap."""
    pauses = Backoff()
    assert [pauses.next_pause_s() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_after_a_good_session_the_venue_is_awaited_closely_however_long_it_is_away() -> None:
    """Books are to be live 5 s after its return."""
    pauses = Backoff()
    pauses.session_ended(is_good=True)
    assert [pauses.next_pause_s() for _ in range(4)] == [0.5, 1, 2, 2]
    assert {pauses.next_pause_s() for _ in range(1_000)} == {backoff.AFTER_GOOD_S_MAX}


def test_one_bad_session_of_a_venue_that_is_coming_back_does_not_undo_it() -> None:
    """Each one doubles the cap; a good one ends that."""
    pauses = Backoff()
    pauses.session_ended(is_good=True)
    for _ in range(20):
        pauses.next_pause_s()
    pauses.session_ended(is_good=False)
    assert pauses.next_pause_s() == 4
    for _ in range(5):
        pauses.session_ended(is_good=False)
    assert pauses.next_pause_s() == backoff.S_MAX
    pauses.session_ended(is_good=True)
    assert pauses.next_pause_s() == backoff.FIRST_S


def test_a_venue_that_refuses_us_is_not_pressed() -> None:
    """401 and 429 have the long cap, also after a good session."""
    pauses = Backoff()
    pauses.session_ended(is_good=True)
    for _ in range(10):
        pauses.next_pause_s()
    assert pauses.next_pause_s(is_refused=True) == backoff.S_MAX
