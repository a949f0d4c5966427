"""Two processors that act by the clock, as a Faust application of their own (`faust -A toy_app worker`).

`slice_toy` (market): adds up the numbers of two market topics per partition, and says both sums at each tick, gathered
to the desk topic toy.slices. `total_toy` (desk): keeps the newest slice of each partition and says their total, a copy
for each market partition, at ticks of its own and when all slices of one time are there.
"""

import json
from typing import Any

from app.assembly import add_agent
from app.settings import Settings
from app.worker import build_app
from schemas.records import Cause
from schemas.registry import QUOTE_UPDATES, TRADES, Topic
from tables.checkpointed import CheckpointedTable
from tables.kernel import Kernel
from tables.outlets import Outputs
from tables.processor import Processor
from tables.task import Task
from tables.ticks import At, Pace

#: A role that the settings know. The toys have a broker of their own.
GROUP = "kalshi-streams-state"
SLICES = Topic("toy.slices", (), "slice_toy", "partition", "stream", "desk")
TOTALS = Topic("toy.totals", (), "total_toy", "partition", "stream")
TABLES = ("toy_slices", "toy_totals")
SLICE_MS, TOTAL_MS, MIN_GAP_MS = 50, 200, 10


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def slice_of(sums: dict[str, int], at: At) -> bytes:
    """What `slice_toy` says at a tick."""
    cause = {"topic": at.topic, "partition": at.partition, "offset": at.offset, "n": 0}
    return _dump(
        {"idempotency_key": f"{at.partition}:{at.asof_ms}", "asof_ms": at.asof_ms, "sums": sums, "cause": cause}
    )


def total_of(slices: dict[str, list[int]], at: At) -> list[tuple[bytes, bytes]]:
    """What `total_toy` says at a tick, for each market partition."""
    total = sum(value for _, value in slices.values())
    return [
        (b"%d" % n, _dump({"idempotency_key": f"{n}:{at.asof_ms}", "of": sorted(slices), "total": total, "n": n}))
        for n in range(4)
    ]


class SliceFold:
    """See the module."""

    def __call__(self, task: Task[int], topic: str, rows: list[Any]) -> Outputs:
        key = topic.encode()
        task.table.put(key, (task.table.get(key) or 0) + sum(int(row.value) for row in rows))
        return {}

    def on_hole(self, task: Task[int], topic: str, start: int, end: int) -> Outputs:
        return {}

    def on_time(self, task: Task[int], at: At) -> Outputs:
        sums = {topic: task.table.get(topic.encode()) or 0 for topic in (TRADES.name, QUOTE_UPDATES.name)}
        return {SLICES.name: [(b"%d" % task.partition, slice_of(sums, at))]}


class TotalFold:
    """See the module."""

    def __call__(self, task: Task[list[int]], topic: str, rows: list[Any]) -> Outputs:
        for row in rows:
            told = json.loads(row.value)
            if task.repeats(Cause(**told["cause"])):
                continue
            task.table.put(row.key, [told["asof_ms"], sum(told["sums"].values())])
            if len({asof_ms for _, (asof_ms, _) in task.table.items()}) == 1:
                task.want_tick()
        return {}

    def on_hole(self, task: Task[list[int]], topic: str, start: int, end: int) -> Outputs:
        return {}

    def on_time(self, task: Task[list[int]], at: At) -> Outputs:
        return {TOTALS.name: list(total_of({key.decode(): value for key, value in task.table.items()}, at))}


SLICE_TOY = Processor(
    "slice_toy",
    (TRADES, QUOTE_UPDATES),
    CheckpointedTable("toy_slices", lambda n: b"%d" % n, int),
    (SLICES,),
    lambda _: SliceFold(),
    lambda _: Pace(SLICE_MS),
)
TOTAL_TOY = Processor(
    "total_toy",
    (SLICES,),
    CheckpointedTable("toy_totals", _dump, json.loads),
    (TOTALS,),
    lambda _: TotalFold(),
    lambda _: Pace(TOTAL_MS, MIN_GAP_MS),
)


def assemble(faust_app: Any, conf: Settings, kernel: Kernel) -> list[Any]:
    """Both in one worker."""
    from app.web import views

    stages = [SLICE_TOY.stage(kernel), TOTAL_TOY.stage(kernel)]
    for stage in stages:
        add_agent(faust_app, stage)
    views.add_common(faust_app)
    return stages


def __getattr__(name: str) -> Any:
    if name == "app":
        globals()["app"] = build_app(assemble=assemble)
        return globals()["app"]
    raise AttributeError(name)
