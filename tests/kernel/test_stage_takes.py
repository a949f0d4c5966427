"""What a stage does with a run of records: what it skips, and gaps that it must not believe."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from kernel_judge import memory_task

from schemas.records import Cause
from schemas.registry import BOOK_UPDATES
from tables import order_books
from tables.headers import source_id
from tables.inbox import INBOX_RECORDS_MAX
from tables.stage import Stage
from tables.store import StoreOptions
from tables.task import Task

SOURCE = BOOK_UPDATES.name


def derived(offset: int, key: bytes, cause_offset: int) -> Any:
    """A record that another agent derived from record `cause_offset` of its source."""
    value = b'{"cause":{"topic":"up","partition":0,"offset":%d,"n":0},"payload":{}}' % cause_offset
    return SimpleNamespace(offset=offset, key=key, value=value, cause=Cause("up", 0, cause_offset, 0))


class Log:
    """A kernel whose source log starts at `start` and holds these offsets."""

    transient = False
    store_options = StoreOptions()

    def __init__(self, offsets: list[int], start: int = 0, committed: int = 0) -> None:
        self.offsets, self.start, self.commit = offsets, start, committed
        self.released: list[Any] = []
        self.failures: list[str] = []
        self.held_back: set[Any] = set()

    def begin(self, message: Any) -> bool:
        return True

    def release(self, message: Any) -> None:
        self.released.append(message)

    def fail(self, where: str, error: BaseException) -> None:
        self.failures.append(str(error))

    def hold_back(self, tp: Any) -> None:
        self.held_back.add(tp)

    def let_go(self, tp: Any) -> None:
        self.held_back.discard(tp)

    async def log_start(self, topic: str, partition: int) -> int:
        return self.start

    async def first_record(self, topic: str, partition: int, offset: int) -> int:
        return min(o for o in self.offsets if o >= offset)

    def committed(self, topic: str, partition: int) -> int:
        return self.commit

    async def rewind(self, topic: str, partition: int, offset: int) -> None:
        self.commit = offset


def stage_of(kernel: Log) -> tuple[Stage[Any], Task[Any], list[Any]]:
    """A stage that owns partition 0 and remembers the records whose effect it would take."""
    taken: list[Any] = []

    def fold(task: Task[Any], topic: str, rows: list[Any]) -> dict[str, Any]:
        taken.extend(row.offset for row in rows if not task.repeats(getattr(row, "cause", None)))
        return {}

    stage = Stage("s", (SOURCE,), order_books.ORDER_BOOKS, (), fold, lambda *_: {}, "changelog", kernel)  # type: ignore[arg-type]
    task = memory_task()
    stage.tasks[0] = task
    task.start()
    return stage, task, taken


def run_of(rows: list[Any], partition: int = 0) -> Any:
    """An event of one partition."""
    message = SimpleNamespace(topic=SOURCE, partition=partition, tp=TopicPartition(SOURCE, partition))
    return SimpleNamespace(message=message, value=rows, ack=lambda: True)


async def offer(stage: Stage[Any], event: Any) -> None:
    """Offer an event, and let the look at a gap, if there is one, come to its end."""
    stage.offer(event)
    for _ in range(20):
        await asyncio.sleep(0)


async def test_record_skipped_because_its_key_is_ahead_is_known_when_it_comes_again() -> None:
    """Its writer was killed too and published it again: it must not take effect twice, whatever stands between."""
    stage, task, taken = stage_of(Log([]))
    task.ahead = {b"K": {source_id(SOURCE): 2}}
    rows = [derived(0, b"J", 5), derived(1, b"K", 6), derived(2, b"K", 6), derived(3, b"J", 7)]
    await offer(stage, run_of(rows))
    assert taken == [0, 3], "record 1 is in the value already, record 2 is record 1 again"


async def test_gap_that_the_log_confirms_is_no_loss() -> None:
    """Transaction markers and compaction leave offsets without records."""
    stage, _, taken = stage_of(Log([0, 1, 7, 8]))
    await offer(stage, run_of([derived(0, b"J", 0), derived(1, b"J", 1)]))
    await offer(stage, run_of([derived(7, b"J", 2), derived(8, b"J", 3)]))
    assert taken == [0, 1, 7, 8]


async def test_gap_that_the_log_does_not_confirm_ends_the_process() -> None:
    """Records that are in the log and did not come were lost on their way: nothing behind them may be taken."""
    kernel = Log([0, 1, 2, 3])
    stage, _, taken = stage_of(kernel)
    await offer(stage, run_of([derived(0, b"J", 0)]))
    await offer(stage, run_of([derived(3, b"J", 3)]))
    assert "expected the record at 1 after 1, came 3" in kernel.failures[0]
    assert taken == [0]


async def test_gap_below_the_log_start_is_a_hole() -> None:
    """Retention was faster: the hole is noted and the rest is taken."""
    stage, task, taken = stage_of(Log([5, 6], start=5))
    await offer(stage, run_of([derived(5, b"J", 5)]))
    assert stage.holes == [(SOURCE, 0, 0, 5)]
    assert (taken, task.next_offset(SOURCE)) == ([5], 6)


async def test_commit_ahead_of_the_state_is_set_back() -> None:
    """The state was lost with its changelog: the next start replays what it misses."""
    kernel = Log([0, 1, 2, 3], committed=3)
    stage, _, taken = stage_of(kernel)
    await offer(stage, run_of([derived(3, b"J", 3)]))
    assert "the commit was set back" in kernel.failures[0]
    assert (kernel.commit, taken) == (0, [])


async def test_a_new_table_beside_old_topics_costs_one_restart() -> None:
    """Every commit of the stage that is ahead of its state is set back at once, not one at each start."""
    kernel = Log([0, 1, 2, 3], committed=3)
    stage, _, _ = stage_of(kernel)
    behind: list[tuple[str, int, int]] = []
    stage.sources = (SOURCE, "other")
    stage.tasks = {n: task for n in (0, 1) for task in [memory_task()]}
    for number, task in stage.tasks.items():
        task.partition, task.sources = number, stage.sources
        task.vector = {SOURCE: 0, "other": 3 * number}
        task.start()

    async def rewind(topic: str, partition: int, offset: int) -> None:
        behind.append((topic, partition, offset))

    kernel.rewind = rewind  # type: ignore[method-assign]
    await offer(stage, run_of([derived(3, b"J", 3)]))
    assert "the commit was set back" in kernel.failures[0]
    assert behind == [(SOURCE, 0, 0), ("other", 0, 0), (SOURCE, 1, 0)]


async def test_run_of_a_partition_that_is_not_ours_is_let_go() -> None:
    """Neither worked on nor waited for: it comes again to whoever owns it."""
    kernel = Log([])
    stage, task, taken = stage_of(kernel)
    task.closed = True
    await offer(stage, run_of([derived(0, b"J", 0)]))
    stage.tasks.clear()
    await offer(stage, run_of([derived(0, b"J", 0)]))
    assert (taken, len(kernel.released)) == ([], 2)


async def test_run_that_waits_for_a_restore_is_let_go_when_the_partition_goes() -> None:
    """A rebalance in the middle of a restore waits for nobody."""
    kernel = Log([])
    stage, task, taken = stage_of(kernel)
    task.restored = False
    await offer(stage, run_of([derived(0, b"J", 0)]))
    stage.hasten()
    await offer(stage, run_of([derived(1, b"J", 1)]))
    assert (taken, len(kernel.released)) == ([], 2)


async def test_partition_that_restores_holds_up_no_other() -> None:
    """Its input waits in its inbox, and is folded in order when it has restored."""
    stage, restoring, taken = stage_of(Log([]))
    restoring.restored = False
    stage.tasks[1] = memory_task(1)
    stage.tasks[1].start()
    await offer(stage, run_of([derived(0, b"J", 0)]))
    await offer(stage, run_of([derived(1, b"J", 1)]))
    await offer(stage, run_of([derived(0, b"K", 9)], partition=1))
    assert taken == [0]
    restoring.start()
    stage._work(restoring)
    assert (taken, restoring.next_offset(SOURCE)) == ([0, 0, 1], 2)


async def test_partition_that_is_overfull_holds_up_no_other_and_is_fetched_no_more() -> None:
    """The bound on what a kill may lose holds, whatever comes meanwhile."""
    kernel = Log([])
    stage, full, taken = stage_of(kernel)
    full.records_since_checkpoint = 2_000_000
    stage.tasks[1] = memory_task(1)
    stage.tasks[1].start()
    rows = [derived(offset, b"J", offset) for offset in range(INBOX_RECORDS_MAX + 1)]
    await offer(stage, run_of(rows))
    await offer(stage, run_of([derived(0, b"K", 0)], partition=1))
    assert (taken, kernel.held_back) == ([0], {(SOURCE, 0)})
    full.records_since_checkpoint = 0
    full.on_checkpoint()
    stage._work(full)
    assert (len(taken), kernel.held_back) == (INBOX_RECORDS_MAX + 2, set())
