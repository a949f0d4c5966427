"""One record of the year 58808, or of next year: what takes a maximum of times must not keep it."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from account_actions import order_action
from kernel_judge import GRACE_MS, memory_task

from agents.link_decisions import PROCESSOR, LinkFold
from agents.maintain_books import BookFold
from app.feed_status import FeedStatus
from app.settings import load_settings
from schemas.codec import encode_record
from schemas.registry import BOOK_UPDATES, ORDERS, QUOTE_UPDATES
from tables.checkpointed import PartitionTable
from tables.decision_links import DECISION_LINKS, client_of
from tables.kernel import TransientOutbox
from tables.outlets import Outlets
from tables.store import MemoryStore
from tables.task import Task
from venues.kalshi import translate
from venues.kalshi.messages import DeltaFrame, SnapshotFrame

NOW = 1_764_500_000_000
YEAR = 31_536_000_000


def book_rows(times_ms: list[int]) -> list[Any]:
    """A snapshot, and deltas at these times of the venue, all seen within a second."""
    snapshot = SnapshotFrame(1, 1, None, "KX-A", None, [(4_000, 10_000)], [(5_000, 10_000)])
    records = [translate.book_snapshot(snapshot, "s", NOW)]
    for n, ts_ms in enumerate(times_ms):
        frame = DeltaFrame(1, n + 2, "KX-A", None, "yes", 4_000, 100, ts_ms)
        records.append(translate.book_delta(frame, "s", NOW + n))  # type: ignore[arg-type]
    return [SimpleNamespace(offset=n, key=b"KX-A", value=encode_record(r)) for n, r in enumerate(records)]


@pytest.mark.parametrize("wrong_ms", [NOW * 1_000, NOW + YEAR])
def test_quotes_after_an_impossible_time_carry_their_own(wrong_ms: int) -> None:
    """In microseconds, or a year ahead."""
    task = memory_task()
    outputs = BookFold(GRACE_MS)(task, BOOK_UPDATES.name, book_rows([NOW - 10, wrong_ms, NOW + 1]))
    quotes = [json.loads(value) for _, value in outputs[QUOTE_UPDATES.name] if value is not None]
    assert [quote["ts_event"] for quote in quotes] == [NOW, NOW, NOW + 1, NOW + 1]


def test_book_that_an_impossible_time_spoilt_before_is_set_right() -> None:
    """Its stored state holds that time."""
    task = memory_task()
    fold = BookFold(GRACE_MS)
    rows = book_rows([NOW, NOW + 1])
    fold(task, BOOK_UPDATES.name, rows[:2])
    state = task.table.get(b"KX-A")
    assert state is not None
    state.ts_event_ms = NOW * 1_000
    outputs = fold(task, BOOK_UPDATES.name, rows[2:])
    assert json.loads(outputs[QUOTE_UPDATES.name][0][1] or b"")["ts_event"] == NOW + 1


def test_one_order_action_of_next_year_forgets_no_link() -> None:
    """The table remembers by a clock; one record, or our own clock, must not run it a year ahead."""
    sources, table = tuple(t.name for t in PROCESSOR.reads), PartitionTable(DECISION_LINKS, MemoryStore(), 1 << 20)
    log = TransientOutbox("log", 0)
    task: Task[Any] = Task(0, sources, table, Outlets({}, TransientOutbox), log, (9, 9), 99)
    fold = LinkFold(90 * 86_400_000)
    for n, ts_ms in enumerate((NOW, NOW + 2 * YEAR, NOW + 2 * 86_400_000, NOW + 4 * 86_400_000)):
        value = encode_record(order_action("KX-A", f"d-{n}", f"c-{n}", ts_ms))
        row = SimpleNamespace(offset=n, key=b"KX-A", value=value, timestamp=NOW + n * 86_400_000)
        fold(task, ORDERS.name, task.admit(ORDERS.name, [row]))
        task.table.store.write(task.table.encode_changes(task.vector), n)
    assert client_of(task.table, "c-0").decision is not None, "a link was forgotten ninety days too early"


def feed_status(monkeypatch: pytest.MonkeyPatch, clocks: dict[str, float]) -> FeedStatus:
    """A view of the feed under clocks of the test."""
    import app.feed_status as module

    clock = SimpleNamespace(time=lambda: clocks["wall"], monotonic=lambda: clocks["steady"])
    monkeypatch.setattr(module, "time", clock)
    return FeedStatus(SimpleNamespace(task=lambda work: None), load_settings(feed_stale_ms=15_000))


def test_dead_feed_is_stale_although_our_clock_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes back: by the wall clock its last heartbeat is of the future."""
    clocks = {"wall": 1_000_000.0, "steady": 50.0}
    status = feed_status(monkeypatch, clocks)
    status.hear(0, 1_000_000_000, came_now=True)
    assert status.of(0) == (0, True)
    clocks |= {"wall": 999_400.0, "steady": 70.0}
    assert status.of(0) == (20_000, False)


def test_living_feed_is_live_although_our_clock_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes now is new, whatever it says."""
    clocks = {"wall": 1_000_000.0, "steady": 50.0}
    status = feed_status(monkeypatch, clocks)
    status.hear(0, 1_000_000_000, came_now=True)
    clocks |= {"wall": 999_400.0, "steady": 70.0}
    status.hear(0, 999_400_000, came_now=True)
    assert status.of(0) == (0, True)


@pytest.mark.parametrize(
    ("said_s_ago", "known"), [(3.0, (3_000, True)), (60.0, (60_000, False)), (-600.0, (None, False))]
)
def test_heartbeat_from_before_we_listened_is_as_old_as_it_says(
    monkeypatch: pytest.MonkeyPatch, said_s_ago: float, known: Any
) -> None:
    """One of the future says nothing: the next one decides."""
    clocks = {"wall": 1_000_000.0, "steady": 50.0}
    status = feed_status(monkeypatch, clocks)
    status.hear(0, int((1_000_000.0 - said_s_ago) * 1_000), came_now=False)
    assert status.of(0) == known
