"""All three sinks and the book agent at once: four workers as `up` starts them drain one backlog on one machine.

Each group's rate is over the records of its topics (the quotes that the state worker makes meanwhile are among them),
from the first commit of any group to its own last one: one clock for all, the start of the processes apart.
"""

import asyncio
import json
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka.errors import GroupCoordinatorNotAvailableError

from app.bus import aiokafka_options
from app.topics import GROUP_SINK_CLICKHOUSE, GROUP_SINK_PARQUET, GROUP_SINK_POSTGRES, GROUP_STATE
from bench.engine import Bus, bus, kafka
from bench.environment import WORK, JobFailed, run_in_peers, say
from bench.live import role_worker
from bench.peers.ours import settings
from ops.engines.postgres import PostgresEngine
from ops.migrate import migrate_postgres
from ops.topics import apply_topics
from schemas.registry import BOOK_UPDATES, QUOTE_UPDATES

MARKETS = 500
DRAIN_S_MAX = 300.0
POLL_S = 0.2
TOPICS = {
    GROUP_STATE: (BOOK_UPDATES.name,),
    GROUP_SINK_PARQUET: (BOOK_UPDATES.name, QUOTE_UPDATES.name),
    GROUP_SINK_CLICKHOUSE: (BOOK_UPDATES.name, QUOTE_UPDATES.name),
    GROUP_SINK_POSTGRES: (QUOTE_UPDATES.name,),
}


@dataclass
class Progress:
    """(seconds, records committed) of one group, whenever it moved."""

    seen: list[tuple[float, int]] = field(default_factory=list)

    def note(self, now_s: float, records: int) -> None:
        if records and (not self.seen or records > self.seen[-1][1]):
            self.seen.append((now_s, records))

    @property
    def records(self) -> int:
        return self.seen[-1][1] if self.seen else 0

    @property
    def ended_s(self) -> float:
        """When the last commit was seen."""
        return self.seen[-1][0] if self.seen else 0.0


async def run(records: int) -> list[dict[str, Any]]:
    """One row per group. Raises JobFailed when a worker ends or the backlog is not drained in time."""
    folder = WORK / "sinks_together"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    postgres = PostgresEngine(folder / "postgres")
    with kafka(folder / "engine") as engine:
        await asyncio.to_thread(postgres.start)
        try:
            migrate_postgres(postgres.dsn)
            conf = settings(engine.bus_url)
            await apply_topics(aiokafka_options(conf), conf)
            async with bus(engine.bus_url) as view:
                made = await asyncio.to_thread(
                    run_in_peers, "bench.input", view.broker, BOOK_UPDATES.name, str(records), str(MARKETS)
                )
                with ExitStack() as parts:
                    workers = {
                        group: parts.enter_context(_worker(folder, view.broker, postgres.dsn, group))
                        for group in TOPICS
                    }
                    groups = await _drain(view, workers, json.loads(made)["quotes"])
        finally:
            await asyncio.to_thread(postgres.stop)
    began_s = min(progress.seen[0][0] for progress in groups.values()) - POLL_S
    rows = [
        {
            "group": name,
            "records": progress.records,
            "seconds": round(progress.ended_s - began_s, 1),
            "records_per_s": round(progress.records / (progress.ended_s - began_s)),
        }
        for name, progress in groups.items()
    ]
    for row in rows:
        say(f"{row['group']:32} {row['records_per_s']:>9,} records/s of {row['records']:,}, all at once")
    return rows


def _worker(folder: Path, broker: str, dsn: str, group: str) -> Any:
    # Parquet acknowledges closed files: at the default minute its last commit would be the clock's, not the disk's.
    return role_worker(folder, folder / group, broker, dsn, group, PARQUET_ROTATE_AGE_S="2")


async def _drain(view: Bus, workers: dict[str, Any], quotes: int) -> dict[str, Progress]:
    """Watch the commits until every group stands at the end of its topics, and all quotes are made."""
    groups = {group: Progress() for group in TOPICS}
    began_s = time.monotonic()
    while True:
        await asyncio.sleep(POLL_S)
        ends = {topic: sum((await view.ends(topic)).values()) for topic in (BOOK_UPDATES.name, QUOTE_UPDATES.name)}
        for group, topics in TOPICS.items():
            committed = sum([await _committed(view, group, topic) for topic in topics])
            groups[group].note(time.monotonic() - began_s, committed)
        done = (groups[group].records >= sum(ends[topic] for topic in topics) for group, topics in TOPICS.items())
        if ends[QUOTE_UPDATES.name] >= quotes and all(done):
            return groups
        for group, process in workers.items():
            if process.poll() is not None:
                raise JobFailed(f"{group}: ended with {process.returncode}; see {group}.log in bench/.work")
        if time.monotonic() - began_s > DRAIN_S_MAX:
            stood = {group: progress.records for group, progress in groups.items()}
            raise JobFailed(f"the sinks did not drain {ends} in {DRAIN_S_MAX:.0f} s: {stood}")


async def _committed(view: Bus, group: str, topic: str) -> int:
    """Records committed; 0 while the broker still makes its offsets topic."""
    try:
        return sum((await view.committed(group, topic)).values())
    except GroupCoordinatorNotAvailableError:
        return 0
