"""`--until-drained`: when is a finite feed wholly through, and what came of it."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import KafkaError

from app.topics import GROUP_SINK_CLICKHOUSE, GROUP_SINK_PARQUET, GROUP_SINK_POSTGRES, GROUP_STATE
from domain.errors import KalshiStreamsError
from ops.http_json import Pages
from ops.offsets import LogEnds, Offsets, behind, committed_offsets, total
from ops.plan import PRODUCER, SIMULATOR, STATE, WORKERS, Plan
from ops.polling import until
from schemas.registry import DLQ, TOPICS

LOOK_S = 0.5  # counts must be the same at two looks
STILL_S = 3.0  # where fewer frames came than were served: a loaded machine may hold the last one for a second
FINAL_S_MAX = 30.0  # commits made at the clean stop of the workers are visible at once; a loaded broker needs longer
SINKS_TAKE_S_MAX = 10.0  # five times the longest wait of a sink's fetch; a store that is away is not waited for


class NotDrained(KalshiStreamsError):
    """Every process has stopped, and a group is still behind: something was lost or left."""


@dataclass(frozen=True)
class Baseline:
    """Log ends before the feed began: what is above them came from this run."""

    ends: Offsets


class Drain:
    """Watches a finite feed to its end."""

    def __init__(self, plan: Plan, bus: dict[str, Any], pages: Pages) -> None:
        self._plan = plan
        self._bus = bus
        self._pages = pages
        self._sources: dict[str, set[str]] = {}
        self.lag: dict[str, int] = {}
        self._last: tuple[Any, ...] | None = None
        self._still_since_s = 0.0
        self.status: dict[str, Any] = {}
        self.served = 0

    def groups(self) -> list[str]:
        """Groups of this run whose commits are awaited."""
        clickhouse = [GROUP_SINK_CLICKHOUSE] if self._plan.settings.use_clickhouse else []
        return [GROUP_STATE, GROUP_SINK_POSTGRES, *clickhouse, GROUP_SINK_PARQUET]

    async def wait(self) -> None:
        """Return when every frame was served and acked, and every group but Parquet's has committed the log ends.

        Parquet's files become final by size, age or at its clean stop: its group is looked at after the stop.
        """
        async with LogEnds(self._bus) as logs:

            async def through() -> bool:
                await self._learn_sources(GROUP_SINK_PARQUET)
                return await self._fed() and await self._committed(logs, self.groups()[:-1])

            await until(through, float("inf"), LOOK_S)

    async def check_final(self, logs: LogEnds) -> None:
        """After the clean stop: every group's commits are the log ends. Raises NotDrained otherwise."""

        async def final() -> bool:
            return await self._committed(logs, self.groups(), still=False)

        if not await until(final, FINAL_S_MAX, LOOK_S):
            raise NotDrained(f"--until-drained: expected no lag after the stop, was {self.lag}")

    async def _fed(self) -> bool:
        simulator = await self._pages.get(f"{self._plan.url(SIMULATOR)}/admin/status")
        producer = await self._pages.get(f"{self._plan.url(PRODUCER)}/status")
        if simulator is None or producer is None or not simulator[1].get("finished"):
            return False
        self.status, self.served = producer[1], int(simulator[1].get("frames_served", 0))
        frames_in = self.status.get("frames_in", 0)
        # A producer restarted on the way has counted only its own frames: standing still is what both cases share.
        seen = ("fed", frames_in, self.served)
        now_s = time.monotonic()
        if seen != self._last:
            self._last, self._still_since_s = seen, now_s
        all_in = frames_in >= self.served or now_s - self._still_since_s >= STILL_S
        return all_in and self.status.get("unacked") == 0

    async def _committed(self, logs: LogEnds, groups: list[str], still: bool = True) -> bool:
        everything = [topic.name for topic in TOPICS]
        ends = await logs.ends(everything)
        self.lag = {}
        for group in groups:
            if still:
                await self._learn_sources(group)
            committed = await committed_offsets(self._bus, group)
            sources = self._sources.get(group)
            self.lag[group] = behind(committed, ends, sources) if sources else -1
        # Derived topics grow while the state group catches up: only equal ends at both looks count.
        return not any(self.lag.values()) and (not still or ends == await logs.ends(everything))

    async def _learn_sources(self, group: str) -> None:
        # The worker itself says which topics its group reads; asked while it runs, used after it stopped too.
        worker = next(name for name, its_group in WORKERS.items() if its_group == group)
        answer = await self._pages.get(f"{self._plan.url(worker)}/lag")
        if answer is not None and answer[0] == 200 and answer[1]:
            self._sources[group] = {name.rpartition("-")[0] for name in answer[1]}


async def let_sinks_take(pages: Pages, plan: Plan, bus: dict[str, Any]) -> None:
    """Return when every sink that answers has taken what the logs hold, or SINKS_TAKE_S_MAX later. Nobody writes any
    more; a sink's fetch waits for the pace of its store, and what was written last may not have come to it yet."""
    if not bus:
        return

    async def has_taken(name: str, logs: LogEnds) -> bool:
        answer = await pages.get(f"{plan.url(name)}/readyz")
        positions = (answer[1].get("positions") or {}) if answer is not None else {}
        ends = await logs.ends({tp.rpartition("-")[0] for tp in positions})
        places = [(*tp.rpartition("-")[::2], at) for tp, at in positions.items()]
        return all(at >= ends.get(topic, {}).get(int(number), 0) for topic, number, at in places)

    async def taken() -> bool:
        return all([await has_taken(name, logs) for name in plan.sinks])

    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(SINKS_TAKE_S_MAX), LogEnds(bus) as logs:
            await until(taken, SINKS_TAKE_S_MAX, LOOK_S)


async def summary(drain: Drain, baseline: Baseline, logs: LogEnds, books: int, seconds: float) -> list[str]:
    """The lines printed at the end of `--until-drained`."""
    status = drain.status
    ends = await logs.ends([topic.name for topic in TOPICS])
    grown = {t.name: total(ends, t.name) - total(baseline.ends, t.name) for t in TOPICS}
    frames_in = int(status.get("frames_in", 0))
    caused = status.get("records_caused_by_frames", "?")
    return [
        f"drained in {seconds:.1f} s: {frames_in} frames in ({frames_in / max(seconds, 1e-9):.0f}/s), "
        f"{drain.served} served",
        f"  {caused} records caused by frames, {status.get('control_frames', '?')} control frames, "
        f"{status.get('duplicates_ignored', '?')} duplicates ignored, {status.get('dead_letters', '?')} dead letters, "
        f"{status.get('gaps', '?')} gaps",
        *(f"  {name}: {count} records ({count / max(seconds, 1e-9):.0f}/s)" for name, count in grown.items() if count),
        f"  dead letters: {grown[DLQ.name]}; books: {books}",
    ]


async def count_books(pages: Pages, plan: Plan) -> int:
    """Books that the state worker holds now."""
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session,
            session.get(f"{plan.url(STATE)}/bbo") as answer,
        ):
            rows = await answer.json(content_type=None)
    except (aiohttp.ClientError, OSError, ValueError, TimeoutError):
        return 0
    return len(rows) if isinstance(rows, list) else 0
