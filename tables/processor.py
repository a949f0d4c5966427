"""The declaration of a processor: what it reads, keeps and writes, how it folds, and whether it acts by the clock.

It stands at the foot of the processor's own file; the worker makes a stage of it. A processor reads market topics (a
task for each partition) or desk topics (one task), never both: what joins them gathers to a desk topic first, or
broadcasts a copy to each market partition.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from app.settings import Settings
from schemas.registry import DESK_TICKS, MARKET_TICKS, Scope, Topic, changelog_topic
from tables.checkpointed import CheckpointedTable
from tables.kernel import Kernel
from tables.outlets import ByKey, Outputs, Place, always, by_number
from tables.stage import Stage
from tables.task import Task
from tables.ticks import At, Pace

S = TypeVar("S")


class Fold(Protocol[S]):
    """What a processor does. One object per process; its state is in the task's table, its counters may be its own.

    A fold of several sources must not depend on how they interleave between two ticks.
    """

    def __call__(self, task: Task[S], topic: str, rows: list[Any]) -> Outputs:
        """Fold records that the state does not include yet, in offset order. With ticks it returns nothing."""

    def on_hole(self, task: Task[S], topic: str, start: int, end: int) -> Outputs:
        """Offsets [start, end) were deleted before they were read."""


class TickingFold(Fold[S], Protocol[S]):
    """A fold that also acts by the clock."""

    def on_time(self, task: Task[S], at: At) -> Outputs:
        """What there is to say at a tick. Depends on the state and `at` alone."""


@dataclass(frozen=True)
class Processor(Generic[S]):
    """`name` is that of its agent, its group of counters, and the `source` of its records."""

    name: str
    reads: tuple[Topic, ...]
    table: CheckpointedTable[S]
    writes: tuple[Topic, ...]
    fold: Callable[[Settings], Any]
    ticks: Callable[[Settings], Pace] | None = None

    @property
    def scope(self) -> Scope:
        """Raises ValueError for a processor that reads market and desk topics."""
        scopes = {topic.scope for topic in self.reads}
        if len(scopes) != 1:
            raise ValueError(f"{self.name}: expected market topics or desk topics, was both: {self.reads}")
        return scopes.pop()

    def stage(self, kernel: Kernel) -> Stage[S]:
        """The stage of this process."""
        conf, fold = kernel.settings, self.fold(kernel.settings)
        market = self.scope == "market"
        stage = Stage(
            self.name, tuple(t.name for t in self.reads), self.table, tuple(t.name for t in self.writes), fold,
            fold.on_hole, changelog_topic(self.table.name), kernel,
        )  # fmt: skip
        stage.partitions = conf.topic_partitions if market else 1
        stage.places = self._places(conf.topic_partitions)
        if self.ticks is not None:
            stage.pace, stage.tick_topic = self.ticks(conf), MARKET_TICKS if market else DESK_TICKS
        return stage

    def _places(self, partitions: int) -> dict[str, Place]:
        """Where outputs go, of those that do not go to the task's own partition."""
        places: dict[str, Place] = {t.name: always(0) for t in self.writes if t.scope == "desk"}
        if self.scope == "desk":
            by_key = ByKey(partitions)
            places |= {
                t.name: by_number if t.key == "partition" else by_key for t in self.writes if t.scope == "market"
            }
        return places
