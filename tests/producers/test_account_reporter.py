"""What the reporter makes of single answers and frames: no network, a clock that is set."""

from typing import Any

from account_desk import Desk, KeepingPublisher

from agents.track_positions import DRIFT_ALARM_MS
from producers.account_reporter import CONFIRM_S, AccountReporter
from schemas.registry import POSITION_REPORTS

NOW_MS = 1_768_061_500_000
FRAME: dict[str, Any] = {
    "trade_id": "f-1", "order_id": "o-1", "market_ticker": "KX-A", "side": "yes", "action": "buy",
    "outcome_side": "yes", "book_side": "bid", "yes_price_dollars": "0.4000", "count_fp": "10.00",
    "post_position_fp": "10.00", "ts": 1_768_061_471, "ts_ms": 1_768_061_471_109, "is_taker": True, "subaccount": 0,
}  # fmt: skip


class World:
    """A reporter of a quiet account."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.publisher = KeepingPublisher()
        self.reporter = AccountReporter(self.publisher, "session", lambda: self.now_ms)  # type: ignore[arg-type]

    def desk(self) -> Desk:
        desk = Desk()
        for _, _, record in self.publisher.records:
            desk.read(record)
        return desk


def test_a_pushed_fill_tells_the_venues_position_after_it() -> None:
    """It is compared with ours as of the fill, and agrees; told again later it is older than the last word."""
    w = World()
    w.reporter.push_fill(FRAME)
    w.reporter.push_fill({**FRAME, "trade_id": "f-2", "post_position_fp": "20.00", "ts_ms": FRAME["ts_ms"] + 500})
    w.reporter.push_fill(FRAME)

    state = w.desk().states["KX-A"]
    assert state.fold.count_e2 == 2_000
    assert state.venue is not None
    assert (state.venue.position_e2, state.venue.as_of_ms) == (2_000, FRAME["ts_ms"] + 500)
    assert state.venue.drift_since_ms is None


def test_a_fill_that_we_count_the_other_way_is_found_by_the_position_after_it() -> None:
    """Ours says +10, the venue -10: the difference lasts over a poll, and is confirmed in time for the alarm."""
    w = World()
    w.reporter.push_fill({**FRAME, "post_position_fp": "-10.00"})
    item = {"ticker": "KX-A", "position_fp": "-10.00"}
    for second in range(0, 60, 10):
        w.now_ms = NOW_MS + second * 1_000
        w.reporter.say_position(item, "rest")

    state = w.desk().states["KX-A"]
    assert state.venue is not None
    assert state.venue.drift_since_ms == FRAME["ts_ms"]
    assert state.venue.as_of_ms - state.venue.drift_since_ms >= DRIFT_ALARM_MS
    assert CONFIRM_S * 1_000 > DRIFT_ALARM_MS
    assert len(w.publisher.of(POSITION_REPORTS.name)) == 3  # after the fill, by the poll, confirmed


def test_a_position_that_returns_to_what_it_was_is_news_after_a_fill() -> None:
    """10 by the poll, 20 after a fill, 10 again by the poll (the sale's frame was lost): the last word is 10."""
    w = World()
    w.reporter.say_position({"ticker": "KX-A", "position_fp": "10.00"}, "rest")
    w.reporter.push_fill({**FRAME, "post_position_fp": "20.00", "ts_ms": NOW_MS + 10})
    w.now_ms += 5_000
    w.reporter.say_position({"ticker": "KX-A", "position_fp": "10.00"}, "rest")

    state = w.desk().states["KX-A"]
    assert state.venue is not None
    assert state.venue.position_e2 == 1_000


def test_a_position_after_a_fill_that_cannot_be_read_refuses_itself_and_not_the_fill() -> None:
    """The fill is folded; what it says of the position is a dead letter."""
    w = World()
    w.reporter.push_fill({**FRAME, "post_position_fp": "many"})

    assert w.desk().states["KX-A"].fold.count_e2 == 1_000
    assert w.reporter.refused == {"position_bad_number": 1}
