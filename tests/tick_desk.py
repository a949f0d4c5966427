"""A ticking processor over logs in memory, killed and taken over as a test wants; and the model that judges it.

The processor: two sources, the state a sum for each; a tick says both sums. Everything it publishes goes to a log in
memory, from which the judge reads.
"""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import msgspec

from schemas.clock_records import Tick, TickEpoch
from schemas.registry import MARKET_TICKS, decoder
from tables.changelog import Restore
from tables.checkpointed import CheckpointedTable, PartitionTable
from tables.headers import Headers
from tables.inbox import Waiting
from tables.kernel import TransientOutbox
from tables.outlets import Outlets, Outputs, always
from tables.store import MemoryStore
from tables.task import Task
from tables.tick_log import SharedTickLog
from tables.ticks import At, Pace, Ticks

SOURCES = ("left", "right")
OUT = "sums"
TABLE: CheckpointedTable[int] = CheckpointedTable("sums", lambda n: b"%d" % n, int)
Rows = list[Any]


class SumFold:
    """Adds up what comes from each source; says the sums at a tick."""

    def __call__(self, task: Task[int], topic: str, rows: Rows) -> Outputs:
        key = topic.encode()
        task.table.put(key, (task.table.get(key) or 0) + sum(int(row.value) for row in rows))
        return {}

    def on_hole(self, task: Task[int], topic: str, start: int, end: int) -> Outputs:
        return {}

    def on_time(self, task: Task[int], at: At) -> Outputs:
        sums = {topic: task.table.get(topic.encode()) or 0 for topic in SOURCES}
        told = {"key": f"{at.asof_ms:013d}", "sums": sums, "cause": msgspec.to_builtins(at.cause(0))}
        return {OUT: [(b"k", json.dumps(told).encode())]}


def model(ticks: Rows, logs: dict[str, Rows]) -> dict[str, dict[str, int]]:
    """What the log says: each valid tick over its sources up to its cut."""
    told: dict[str, dict[str, int]] = {}
    holder = None
    for record in (decoder(MARKET_TICKS).decode(row.value) for row in ticks):
        if isinstance(record, TickEpoch):
            holder = record.payload.incarnation
        elif isinstance(record, Tick) and record.payload.incarnation == holder:
            cut = {source.topic: source.next_offset for source in record.payload.cut}
            sums = {t: sum(int(row.value) for row in logs[t][: cut[t]]) for t in SOURCES}
            told[f"{record.payload.asof_ms:013d}"] = sums
    return told


class TickLogInMemory:
    """The broker's side of the ticks topic, shared by all owners."""

    def __init__(self) -> None:
        self.rows: Rows = []

    async def append(self, key: bytes, value: bytes) -> int:
        self.rows.append(SimpleNamespace(offset=len(self.rows), key=key, value=value))
        return len(self.rows) - 1

    async def read(self, start: int, end: int) -> Rows:
        return self.rows[start : len(self.rows) if end < 0 else end]


class Owner:
    """One process that owns the partition: a task with its ticks, restored from a changelog."""

    def __init__(self, desk: "TickDesk") -> None:
        self.desk = desk
        self.at = dict.fromkeys(SOURCES, 0)
        self.out = TransientOutbox(OUT, 0)
        self.changelog = TransientOutbox("changelog", 0)
        table = PartitionTable(TABLE, MemoryStore(), 1 << 20)
        self.task = Task(0, SOURCES, table, Outlets({OUT: always(0)}, lambda *_: self.out), self.changelog, (9, 9), 99)
        tick_log = SharedTickLog(MARKET_TICKS, 0, desk.ticks.append, desk.ticks.read)
        self.fold = SumFold()
        self.ticks = Ticks("toy", MARKET_TICKS.name, tick_log, Pace(None), self.fold.on_time, lambda: desk.now_ms)
        self.task.ticks = self.ticks

    async def start(self) -> None:
        """Restore from what the desk's changelog has, and write the epoch."""
        job = Restore(0, MemoryStore(), Headers())
        if self.desk.changelog:
            rows = [SimpleNamespace(offset=n, key=k, value=v) for n, (k, v) in enumerate(self.desk.changelog)]
            job.apply(rows)
        job.finish()
        self.task.table.store = job.store
        self.task.load(job)
        self.task.table.warm()
        self.at = {topic: self.task.next_offset(topic) for topic in SOURCES}
        await self.ticks.open(self.task)
        self.task.start()
        self.work()

    def take(self, topic: str, count: int) -> None:
        """Up to `count` records of a source arrive."""
        rows = self.desk.logs[topic][self.at[topic] : self.at[topic] + count]
        self.at[topic] += len(rows)
        if rows:
            self.task.inbox.put(topic, SimpleNamespace(), rows)
            self.work()

    def work(self) -> None:
        """As `Stage._work`, without a consumer."""
        while True:
            if (outputs := self.ticks.compute_due(self.task)) is not None:
                self._publish(outputs)
                continue
            limits = self.ticks.limits(self.task)
            found: tuple[str, Waiting] | None = self.task.inbox.next(limits)
            if found is None:
                return
            rows, _ = self.task.inbox.cut(*found, limits)
            if new := self.task.admit(found[0], rows):
                self.fold(self.task, found[0], new)
            self.task.publish({}, lambda: None)

    def _publish(self, outputs: Outputs) -> None:
        self.task.publish(outputs, lambda: None)
        self.desk.published += [value for _, value in outputs.get(OUT, ()) if value is not None]

    async def tick(self) -> None:
        """Make a tick now, unless one of the log waits."""
        if not self.ticks.pending and self.desk.now_ms > self.task.asof_ms:
            self._publish(await self.ticks._tick(self.task, self.desk.now_ms))
            self.work()

    async def checkpoint(self) -> None:
        """All of one checkpoint, or, if the process ended before, nothing: it is one batch."""
        before = len(self.changelog.sent)
        await self.task.checkpoint()
        self.desk.changelog += self.changelog.sent[before:]


class TickDesk:
    """Logs, ticks and changelog that outlive their owners, and what was published."""

    def __init__(self) -> None:
        self.logs: dict[str, Rows] = {topic: [] for topic in SOURCES}
        self.ticks = TickLogInMemory()
        self.changelog: list[Any] = []
        self.published: list[bytes] = []
        self.now_ms = 1
        self.owner: Owner | None = None
        self.zombies: list[Owner] = []

    def produce(self, topic: str, value: int) -> None:
        log = self.logs[topic]
        log.append(SimpleNamespace(offset=len(log), key=b"k", value=b"%d" % value))

    async def take_over(self) -> Owner:
        """A new owner; the old one may go on without knowing."""
        if self.owner is not None:
            self.zombies.append(self.owner)
        self.owner = Owner(self)
        await self.owner.start()
        return self.owner

    def told(self) -> dict[str, set[str]]:
        """Key -> the different results under it."""
        results: dict[str, set[str]] = {}
        for value in self.published:
            results.setdefault(json.loads(value)["key"], set()).add(value.decode())
        return results

    async def catch_up(self) -> None:
        """The last owner reads everything and computes what waits."""
        owner = await self.take_over()
        for _ in range(2):
            for topic in SOURCES:
                owner.take(topic, len(self.logs[topic]))
        await asyncio.sleep(0)
