"""Every kind of fault of the venue on the feed and real sockets, for both ways in which the venue gives out sids."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from bench.feed_judge import Logged, judge
from bench.feed_run import PHASES, play
from venues.simulator.config import SimConfig

pytestmark = pytest.mark.timeout(300)

PHASE_S = 1.0
#: 41 markets in subscribes of 12; two minutes into a quarter, so that nothing settles meanwhile.
CONFIG = SimConfig(rate=2_000, strikes=40, seed=5, start_ms=1_760_000_100_000 // 900_000 * 900_000 + 120_000)
FRAMES_AFTERWARDS = 4_000


@pytest.mark.parametrize("join_sid", [False, True], ids=["own sids", "one sid"])
async def test_every_gap_is_flagged_and_every_book_is_live_again_and_right(join_sid: bool) -> None:
    """Drops, doubles, swaps, cuts, ended sids, lost first snapshots, answers without seq; books equal at the end."""
    frames = int(CONFIG.rate * PHASE_S * len(PHASES)) + FRAMES_AFTERWARDS
    verdict, done = await play(replace(CONFIG, frames=frames), join_sid, PHASE_S, group_size=12)

    assert verdict.wrong == []
    assert verdict.flagged == verdict.gaps > len(PHASES)
    kinds = {"drop", "duplicate", "reorder", "disconnect", "error_10", "error_25", "lost_snapshot"}
    assert {kind for kind in kinds if done.get(kind)} == kinds
    without_gap = {"duplicate"}
    assert set(verdict.live_again_ms) | without_gap >= {phase.name for phase in PHASES}


def _logged(offset: int, tag: str, seq: int | None) -> Logged:
    payload = SimpleNamespace(market_ticker="A", session_id="s", sid=1, seq=seq)
    return Logged(0, offset, 100 + offset, tag, payload)


def test_the_judge_sees_a_gap_that_is_not_flagged_and_a_book_that_is_not_live_again() -> None:
    """Else the test above could say nothing."""
    gap = {"kind": "drop", "channel": "orderbook_delta", "connection": 1, "sid": 1, "seq": 3, "wall_ms": 100}
    begin = [_logged(0, "book_snapshot", 1), _logged(1, "book_delta", 2)]
    live_ms = {(0, 0): 100, (0, 1): 101}

    missed = judge([gap], {1: "s"}, [*begin, _logged(2, "book_delta", 4)], live_ms)
    assert (missed.missed, len(missed.wrong)) == (1, 1)

    stuck = judge([gap], {1: "s"}, [*begin, _logged(2, "book_reset", 2), _logged(3, "book_delta", 4)], live_ms)
    assert (stuck.missed, len(stuck.wrong)) == (0, 1)

    believed = judge([], {1: "s"}, [_logged(0, "book_delta", 1)], {(0, 0): 100})
    assert len(believed.wrong) == 1

    mended = [*begin, _logged(2, "book_reset", 2), _logged(3, "book_delta", 4), _logged(4, "book_snapshot", 5)]
    right = judge([gap], {1: "s"}, mended, {**live_ms, (0, 4): 104})
    assert (right.missed, right.wrong, dict(right.live_again_ms)) == (0, [], {"drop": [4]})
