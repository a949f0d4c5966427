"""REST polling of fills, orders, positions and settlements: what no pushed frame can be trusted to have said.

A lost `fill` or `user_order` frame leaves no trace (no seq), so every poll walks from now down to the mark, minus an
overlap. The mark moves only when the whole walk is acknowledged by Kafka.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from producers.account_archive import Archive
from producers.account_mark import Mark, believed, load_mark, save_mark
from producers.account_nameless import NamelessFills
from producers.account_opening import OpeningReader
from producers.account_reporter import AccountReporter, Item
from producers.account_settlements import SettlementPoller
from producers.account_walk import WalkResult, walk
from producers.poll_pace import PollPace
from producers.publisher import Publisher
from schemas.account_records import OpeningPositionPayload
from venues.kalshi.account_reports import created_ms_of, order_id_of, order_in
from venues.kalshi.account_rest import AccountRest
from venues.kalshi.rest import RestRefused, RestUnavailable

log = logging.getLogger("account")

ACK_TIMEOUT_S = 60.0  # for a walk's records; longer means Kafka is gone: the mark stays and the next poll repeats
VANISHED_PER_POLL_MAX = 200  # single-order reads in one poll; the rest waits for the next


class AccountPoller:
    """Polls until cancelled. `problem` says what is wrong now, for readiness."""

    def __init__(
        self,
        rest: AccountRest,
        reporter: AccountReporter,
        publisher: Publisher,
        mark_path: Path,
        *,
        interval_s: float,
        overlap_s: int,
        is_hurried: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_hurried`: whether pushes are missing now, so that polls must come sooner than each `interval_s`."""
        self.problem: str | None = "account not polled yet"
        self.polls = 0
        self.opened = asyncio.Event()  # set once the account has its mark
        self._rest, self._reporter, self._publisher = rest, reporter, publisher
        self._archive = Archive(rest)
        self._mark_path = mark_path
        self._pace = PollPace(interval_s, is_hurried)
        self._overlap_ms = overlap_s * 1_000
        self._settlements = SettlementPoller(rest, reporter, self._overlap_ms)
        self._held: set[str] = set()  # markets whose last polled position was not flat

    async def run(self) -> None:
        """Open the account at its first start ever, then poll at the interval, staggered.

        Raises:
            UserMistake: the mark cannot be read. RestRefused: the venue refuses our key (401, 403) at the first poll.
        """
        while True:
            started_s = time.monotonic()
            try:
                self.problem = await self.poll_once()
                self.polls += 1
            except RestUnavailable as wrong:
                self.problem = f"venue REST degraded: {wrong}"
            except OSError as wrong:
                # A full disk: nothing is lost, the mark stays where it was and the next poll reaches back to it.
                self.problem = f"{self._mark_path}: the account's mark is not to be read or saved: {wrong.strerror}"
            except RestRefused as refused:
                if self.polls == 0 and refused.status in (401, 403):
                    raise
                self.problem = f"venue REST refuses: {refused}"
            if self.problem is not None:
                log.warning(json.dumps({"event": "account_poll_degraded", "problem": self.problem}))
            await self._pace.wait(started_s)

    async def poll_once(self) -> str | None:
        """One poll of everything; what was incomplete about it, or None. Raises RestUnavailable, RestRefused."""
        stored = load_mark(self._mark_path)
        mark = None if stored is None else believed(stored, time.time_ns() // 1_000_000)
        if mark != stored:
            log.error("%s: expected times of the past, was %s; read again from the opening on", self._mark_path, stored)
        if mark is None or max(mark.opening_ms, mark.fills_ms) < 0:  # never opened, or before anything was known
            mark = await self._open_account()
        self._reporter.opening_ms = mark.opening_ms
        self.opened.set()
        archived = await self._archive.cutoffs()
        fills_ms, fills_problem = await self._poll_fills(mark, archived.fills_ms)
        orders_ms, resting, orders_problem = await self._poll_orders(mark, archived.orders_ms)
        positions_problem = await self._poll_positions()
        settlements_ms, settlements_problem = await self._settlements.poll(mark)
        if not await self._publisher.flush(ACK_TIMEOUT_S):
            return "Kafka did not acknowledge the poll; it will be repeated"
        moved = Mark(
            opening_ms=mark.opening_ms,
            fills_ms=max(mark.fills_ms, fills_ms),
            orders_ms=max(mark.orders_ms, orders_ms),
            settlements_ms=max(mark.settlements_ms, settlements_ms),
            resting=resting,
        )
        if moved != stored:
            await asyncio.to_thread(save_mark, self._mark_path, moved)
        problems = (fills_problem, orders_problem, positions_problem, settlements_problem)
        if not any(problems):
            self._archive.was_read()
        return "; ".join(problem for problem in problems if problem) or None

    async def _poll_fills(self, mark: Mark, archived_ms: int = 0) -> tuple[int, str | None]:
        """Down to the mark, the archived ones first. The new high-water mark, and what was wrong (then 0, the mark
        stays)."""
        # Whole seconds: a nameless fill's ordinal counts all of its second.
        cutoff_ms = max(0, mark.fills_ms - self._overlap_ms, mark.opening_ms) // 1_000 * 1_000
        newest_ms = 0
        for path in ("/historical/fills", "/portfolio/fills")[cutoff_ms >= archived_ms :]:
            walked_ms, problem = await self._walk_fills(path, cutoff_ms)
            if problem is not None:
                return 0, problem
            newest_ms = max(newest_ms, walked_ms)
        return newest_ms, None

    async def _walk_fills(self, path: str, cutoff_ms: int) -> tuple[int, str | None]:
        """Newest first. The newest time, and what was wrong."""
        nameless = NamelessFills()
        newest_ms, said = 0, 0

        def on_page(items: list[Item]) -> bool:
            nonlocal newest_ms, said
            read = self._reporter.read_fills(items, "rest")
            fills = [fill for fill in read if fill.ts_ms >= cutoff_ms]
            nameless.add_page(fills)
            for fill in fills:
                newest_ms = max(newest_ms, fill.ts_ms)
                if fill.fill_id:
                    said += 1
                    self._reporter.say_fill(fill, "rest")
            return len(fills) < len(read)

        params = {"min_ts": cutoff_ms // 1_000} if cutoff_ms else {}
        result = await walk(self._rest, path, "fills", params, on_page)
        problem = self._say_nameless(result, nameless)
        self._log_stats(said + nameless.count, newest_ms)
        return newest_ms, problem

    def _say_nameless(self, result: WalkResult, nameless: NamelessFills) -> str | None:
        if not result.complete:
            return result.problem or "fills: the walk did not end"
        if not nameless.count:
            return None
        named = nameless.named() if result.clean else None
        if named is None:
            return f"{nameless.count} fills without an id in a walk that repeated itself: they wait for the next one"
        for fill in named:
            self._reporter.say_fill(fill, "rest")
        return None

    async def _poll_orders(self, mark: Mark, archived_ms: int = 0) -> tuple[int, list[str], str | None]:
        """All resting ones, all created since the mark, and by id those that rested and are gone."""
        resting: dict[str, str] = {}
        told: set[str] = set()
        newest_ms, unread = 0, 0

        def on_page(items: list[Item]) -> bool:
            nonlocal newest_ms, unread
            for order in (self._reporter.say_order(item, "rest") for item in items):
                if order is None:
                    unread += 1
                    continue
                told.add(order.order_id)
                newest_ms = max(newest_ms, order.created_ts_ms or 0)
                if order.status == "resting":
                    resting[order.order_id] = order.market_ticker
            return False

        started_ms = time.time_ns() // 1_000_000
        live = await walk(self._rest, "/portfolio/orders", "orders", {"status": "resting"}, on_page)
        since_s = max(mark.opening_ms, mark.orders_ms - self._overlap_ms, 0) // 1_000
        recent = await walk(self._rest, "/portfolio/orders", "orders", {"min_ts": since_s}, on_page)
        problem = live.problem or recent.problem
        if problem is not None:
            return 0, list(dict.fromkeys((*mark.resting, *resting))), problem
        vanished = [order_id for order_id in mark.resting if order_id not in told]
        incomplete = [name for name in self._reporter.incomplete if name not in told]
        wanted = list(dict.fromkeys((*vanished[:VANISHED_PER_POLL_MAX], *incomplete[:VANISHED_PER_POLL_MAX])))
        unknown = {name for name in wanted if not await self._ask_order(name)}
        for name in (*told, *wanted):
            self._reporter.incomplete.pop(name, None)
        if unknown or since_s * 1_000 < archived_ms:
            await self._read_archived_orders(since_s * 1_000, unknown)
        if not unread + live.dropped:
            self._reporter.say_resting(resting, started_ms)
        return newest_ms, [*vanished[VANISHED_PER_POLL_MAX:], *resting], None

    async def _ask_order(self, order_id: str) -> bool:
        """Whether the venue's live tier still knows the order."""
        try:
            body = await self._rest.get(f"/portfolio/orders/{order_id}")
        except RestRefused as refused:
            if refused.status != 404:
                raise
            return False
        order = order_in(body)
        if order is None:
            return False
        self._reporter.say_order(dict(order), "rest")
        return True

    async def _read_archived_orders(self, since_ms: int, unknown: set[str]) -> None:
        """Orders created since the mark and over since weeks, and those that the live tier does not know any more."""

        def on_page(items: list[Item]) -> bool:
            newest_ms = 0
            for item in items:
                created_ms = created_ms_of(item)
                newest_ms = max(newest_ms, created_ms)
                if created_ms >= since_ms or order_id_of(item) in unknown:
                    unknown.discard(order_id_of(item))
                    self._reporter.say_order(item, "rest")
            return newest_ms < since_ms and not unknown

        params = {} if unknown else {"min_ts": since_ms // 1_000}
        try:
            await walk(self._rest, "/historical/orders", "orders", params, on_page)
        except RestRefused as refused:
            if refused.status in (401, 403):
                raise
        self._reporter.counts["orders_unknown_to_the_venue"] += len(unknown)

    async def _poll_positions(self) -> str | None:
        held: set[str] = set()

        def on_page(items: list[Item]) -> bool:
            for position in (self._reporter.say_position(item, "rest") for item in items):
                if position is not None and position.position_e2:
                    held.add(position.market_ticker)
            return False

        result = await walk(self._rest, "/portfolio/positions", "market_positions", {}, on_page)
        if result.complete:
            for market_ticker in self._held - held:  # no longer listed: flat, or settled
                self._reporter.say_position({"ticker": market_ticker, "position": 0}, "rest")
            self._held = held
        return result.problem

    async def _open_account(self) -> Mark:
        """The first start ever."""
        opening = await OpeningReader(self._rest, {}).read()
        for position in opening.positions:
            self._reporter.say_opening(
                OpeningPositionPayload(
                    market_ticker=position.market_ticker,
                    position_e2=position.position_e2,
                    cost_e6=abs(position.exposure_e6 or 0),
                    realized_pnl_e6=position.realized_pnl_e6 or 0,
                    fees_e6=position.fees_paid_e6 or 0,
                    as_of_ms=opening.as_of_ms,
                )
            )
        if not await self._publisher.flush(ACK_TIMEOUT_S):
            raise RestUnavailable("Kafka did not acknowledge the opening positions")
        mark = Mark(opening_ms=opening.as_of_ms, fills_ms=opening.as_of_ms, orders_ms=0, settlements_ms=0)
        await asyncio.to_thread(save_mark, self._mark_path, mark)
        event = {"event": "account_opened", "positions": len(opening.positions), "as_of_ms": opening.as_of_ms}
        log.info(json.dumps(event))
        return mark

    def _log_stats(self, fills: int, newest_ms: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        stats = {"event": "fill_pipeline_stats", "fills": fills, "now_iso": _iso(now_ms)}
        if newest_ms:
            stats |= {"first_fill_ts_iso": _iso(newest_ms), "ts_age_sec": (now_ms - newest_ms) // 1_000}
        log.info(json.dumps(stats))


def _iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms // 1_000))
