"""A feed on a venue that misbehaves, both in this process: real sockets, no Kafka. What was published and done.

The venue is the simulator; `join_sid` chooses what it makes of a second subscribe to a channel.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from bench.feed_judge import Logged, Place, Verdict, judge
from domain.book import STALE, Book
from domain.errors import BadInput
from producers.feed import Feed
from producers.metrics import FeedCounts
from schemas.records import BookDelta, BookReset, BookSnapshot
from venues.simulator.channels import BOOK
from venues.simulator.config import FaultSettings, SimConfig
from venues.simulator.server import WS_PATH, Simulator, serving

LOOK_S = 0.005
DEADLINE_S = 120.0  # of a wait that ends in milliseconds where all is well
_decode = msgspec.json.Decoder(BookSnapshot | BookDelta | BookReset).decode


@dataclass(frozen=True)
class Phase:
    """One kind of trouble. `faults` are in force all the time, `error_code` ends a sid of books at each strike."""

    name: str
    faults: dict[str, Any] = field(default_factory=dict)
    error_code: int | None = None


EVERY = 500  # frames
STRIKE_S = 0.5  # between two errors
STRIKES_MIN = 2  # faults of a phase
PHASES = (
    Phase("drop", {"drop_every": EVERY}),
    Phase("duplicate", {"duplicate_every": EVERY}),
    Phase("reorder", {"reorder_every": EVERY}),
    Phase("error 25", {}, 25),
    Phase("error 10, first snapshots lost", {"lose_first_snapshot": True}, 10),
    Phase("disconnect, first snapshots lost", {"disconnect_every": 2 * EVERY, "lose_first_snapshot": True}),
    Phase("drop, answers without seq", {"drop_every": EVERY, "unnumbered_answers": True}),
    Phase("disconnect", {"disconnect_every": 2 * EVERY}),
)


class FoldingPublisher:
    """In place of Kafka: keeps the records of books, and folds them as the state worker does."""

    def __init__(self) -> None:
        self.is_full = False
        self.on_room: Callable[[], None] = lambda: None
        self.books: dict[str, Book] = {}
        self.records: list[Logged] = []
        self.live_ms: dict[Place, int] = {}
        self.violations: list[str] = []

    def add(self, topic: str, key: str, value: bytes, _ts_ms: int) -> None:
        """One record."""
        if topic != "market.book_updates":
            return
        record = _decode(value)
        body: Any = record.payload
        now_ms, place = time.time_ns() // 1_000_000, len(self.records)
        self.records.append(Logged(0, place, now_ms, str(record.__struct_config__.tag), body))
        book = self.books.setdefault(key, Book())
        try:
            self._fold(book, record, body)
        except BadInput as wrong:
            book.mark_stale()
            self.violations.append(f"{key}@{place}: {wrong}")
        if book.status != STALE and (book.session_id, book.sid, book.seq) == (body.session_id, body.sid, body.seq):
            self.live_ms[0, place] = now_ms

    def _fold(self, book: Book, record: BookSnapshot | BookDelta | BookReset, body: Any) -> None:
        if isinstance(record, BookDelta):
            book.apply_delta(body.session_id, body.sid, body.seq, body.side, body.price_e4, body.delta_e2)
        elif isinstance(record, BookSnapshot):
            book.apply_snapshot(body.session_id, body.sid, body.seq, body.yes, body.no)
        elif body.reason == "session_start":
            book.start_session(body.session_id)
        else:
            book.reset(body.session_id)


@asynccontextmanager
async def feeding(url: str, group_size: int, silence_timeout_s: float = 30.0) -> AsyncIterator[tuple[Feed, Any]]:
    """A feed that runs, and its publisher."""
    publisher: Any = FoldingPublisher()
    feed = Feed(
        url, None, "feed", publisher, FeedCounts(), None, group_size=group_size, silence_timeout_s=silence_timeout_s
    )
    running = asyncio.create_task(feed.run())
    try:
        yield feed, publisher
    finally:
        feed.stop()
        await running


async def until(holds: Callable[[], object], what: str) -> None:
    """Wait for it; TimeoutError names it."""
    end_s = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > end_s:
            raise TimeoutError(f"never came: {what}")
        await asyncio.sleep(LOOK_S)


def all_live(feed: Feed) -> bool:
    """Every market that is followed has its book."""
    return set(feed.market_states().values()) == {"live"}


async def play(
    config: SimConfig, join_sid: bool, phase_s: float, group_size: int, phases: tuple[Phase, ...] = PHASES
) -> tuple[Verdict, dict[str, Any]]:
    """All phases on one feed, then the rest of the frames undisturbed: what was noticed, and what was done.

    Raises TimeoutError when books are not live again, or not equal to the simulator's at the end.
    """
    calm = FaultSettings(join_sid=join_sid)
    async with serving(replace(config, faults=calm)) as simulator:
        async with feeding(f"ws://127.0.0.1:{simulator.port}{WS_PATH}", group_size) as (feed, publisher):
            feed.set_markets(sorted(simulator.hub.markets))
            await until(lambda: all_live(feed), "live books")
            ends: list[tuple[int, str]] = []
            for phase in phases:
                simulator.hub.faults.set(replace(calm, **phase.faults))
                await _strike(simulator, phase, phase_s)
                ends.append((time.time_ns() // 1_000_000, phase.name))
            simulator.hub.faults.set(calm)
            await until(lambda: simulator.source.finished, "the last frame")
            await until(lambda: not differing(simulator, publisher), "books equal to the venue's")
        gaps = [{**gap, "phase": _phase_of(gap, ends)} for gap in simulator.hub.faults.gaps]
        session_of = {n: f"feed-{n}" for n in range(1, simulator.hub.next_connection())}
        done = {**simulator.hub.faults.counts, "frames": simulator.hub.frames_served()[0], "markets": len(feed.markets)}
    verdict = judge(gaps, session_of, publisher.records, publisher.live_ms)
    verdict.wrong += publisher.violations
    return verdict, done


async def _strike(simulator: Simulator, phase: Phase, phase_s: float) -> None:
    """For so long, and until the phase's faults have come about; a slow machine makes few frames."""
    faults, end_s = simulator.hub.faults, time.monotonic() + phase_s
    struck = lambda: faults.counts.total() - faults.counts["lost_snapshot"]  # noqa: E731
    before, turn = struck(), 0
    while time.monotonic() < end_s or (struck() < before + STRIKES_MIN and not simulator.source.finished):
        await asyncio.sleep(min(STRIKE_S, phase_s / 2))
        session = simulator.hub.sessions[-1] if simulator.hub.sessions else None
        sids = [sid for sid, sub in session.subscriptions.items() if sub.channel.name == BOOK] if session else []
        if phase.error_code is not None and sids:
            faults.end_subscriptions(phase.error_code, sids[turn % len(sids)])
            turn += 1


def _phase_of(gap: dict[str, Any], ends: list[tuple[int, str]]) -> str:
    return next((name for end_ms, name in ends if gap["wall_ms"] <= end_ms), "afterwards")


def differing(simulator: Simulator, publisher: FoldingPublisher) -> list[str]:
    """Markets whose folded book is not the simulator's."""
    return [
        ticker
        for ticker, market in simulator.hub.markets.items()
        if (book := publisher.books.get(ticker)) is not None
        and (book.status == STALE or (book.yes, book.no) != (market.book.yes, market.book.no))
    ]
