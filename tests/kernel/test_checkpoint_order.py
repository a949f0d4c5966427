"""The order of a checkpoint, step by step, with a broker that answers when the test says so."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from kernel_judge import memory_task

from domain.errors import Fatal, ForeignLog, UserMistake
from schemas.records import Cause
from schemas.registry import BOOK_UPDATES, QUOTE_UPDATES
from tables import task as task_module
from tables.headers import header
from tables.outbox import Outbox
from tables.outlets import Outlets, always
from tables.store import MARK_KEY
from tables.task import Task, refuse_lost_log

SOURCE = BOOK_UPDATES.name


class Broker:
    """Takes batches, and acknowledges them when told."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.open: dict[str, list[asyncio.Future[Any]]] = {}
        self.ends: dict[str, int] = {}

    def create_batch(self) -> Any:
        rows: list[Any] = []

        def append(*, timestamp: None, key: bytes | None, value: bytes | None) -> object:
            rows.append((key, value))
            return object()

        return SimpleNamespace(append=append, rows=rows)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        base = self.ends.get(topic, 0)
        self.ends[topic] = base + len(batch.rows)
        self.sent.append((topic, len(batch.rows)))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.open.setdefault(topic, []).append(future)
        future.base = base  # type: ignore[attr-defined]
        return future

    async def answer(self, topic: str) -> None:
        """Acknowledge everything sent to a topic, and let everybody act on it."""
        for future in self.open.pop(topic, []):
            future.set_result(SimpleNamespace(offset=future.base))  # type: ignore[attr-defined]
        await settle()


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def on(broker: Broker) -> Task[Any]:
    """A task of books that sends to this broker."""
    task = memory_task()

    def outbox(topic: str, partition: int = 0) -> Outbox:
        return Outbox(broker, topic.replace(QUOTE_UPDATES.name, "quotes"), partition, lambda: None, pytest.fail)

    task._outlets = Outlets({QUOTE_UPDATES.name: always(0)}, outbox)
    task._changelog = outbox("changelog")
    return task


def fold_one(task: Task[Any], acked: list[int], offset: int) -> None:
    """One record that changes a key and gives an output."""
    from tables.order_books import BookState

    rows = task.admit(SOURCE, [SimpleNamespace(offset=offset, key=b"KX", value=b"")])
    if rows:
        task.table.put(b"KX", BookState("KX", offset))
    task.publish({QUOTE_UPDATES.name: [(b"KX", b"quote")]} if rows else {}, lambda: acked.append(offset))


async def test_source_is_acknowledged_only_after_outputs_changelog_and_store() -> None:
    """Each step waits for the one before; nothing is written ahead of what precedes it."""
    broker, acked = Broker(), []
    task = on(broker)
    fold_one(task, acked, 0)
    running = asyncio.create_task(task.checkpoint())
    await settle()
    assert broker.sent == [("quotes", 1)], "the changelog must wait for the outputs"
    await broker.answer("quotes")
    assert broker.sent == [("quotes", 1), ("changelog", 2)]
    assert task.table.store.get(b"KX") is None, "the store must wait for the changelog"
    assert acked == []
    await broker.answer("changelog")
    await running
    assert task.table.store.get(b"KX") is not None
    assert task.table.store.get(MARK_KEY) is not None
    assert acked == [0]


async def test_records_folded_during_a_checkpoint_belong_to_the_next_one() -> None:
    """Their acknowledgement, their value and their offset all wait."""
    broker, acked = Broker(), []
    task = on(broker)
    fold_one(task, acked, 0)
    running = asyncio.create_task(task.checkpoint())
    await settle()
    fold_one(task, acked, 1)
    await broker.answer("quotes")
    await broker.answer("changelog")
    await running
    assert acked == [0]
    assert (task.table.store.get(b"KX") or b"").startswith(header({SOURCE: 1}))
    again = asyncio.create_task(task.checkpoint())
    await settle()
    await broker.answer("quotes")
    await settle()
    await broker.answer("changelog")
    await again
    assert acked == [0, 1]


async def test_partition_lost_during_a_checkpoint_leaves_store_and_source_alone() -> None:
    """The changelog's answer comes after the revoke: the next owner replays."""
    broker, acked = Broker(), []
    task = on(broker)
    fold_one(task, acked, 0)
    running = asyncio.create_task(task.checkpoint())
    await settle()
    await broker.answer("quotes")
    task.closed = True
    await broker.answer("changelog")
    await running
    assert acked == []
    assert task.table.store.get(b"KX") is None


async def test_foreign_writer_of_the_changelog_makes_every_key_be_written_again() -> None:
    """The broker's offset jumps by a zombie's record: all keys follow; until then a restart reads from before it."""
    broker, acked = Broker(), []
    task = on(broker)

    async def whole_checkpoint() -> None:
        running = asyncio.create_task(task.checkpoint())
        await settle()
        await broker.answer("quotes")
        await broker.answer("changelog")
        await running

    fold_one(task, acked, 0)
    await whole_checkpoint()
    position = task.table.store.position()
    broker.ends["changelog"] += 1
    task.publish({}, lambda: acked.append(1))
    await whole_checkpoint()
    assert task.foreign_rewrites == 1
    assert task.table.store.position() == position
    await whole_checkpoint()
    assert broker.sent[-1] == ("changelog", 2)
    assert task.table.store.position() == broker.ends["changelog"]


async def test_keys_are_written_again_some_at_a_time_and_the_position_follows_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All at once held up the loop for a second; a kill meanwhile reads from before the foreign record."""
    from tables.order_books import BookState

    monkeypatch.setattr(task_module, "REWRITE_KEYS_MAX", 2)
    broker = Broker()
    task = on(broker)

    async def whole_checkpoint() -> int:
        running = asyncio.create_task(task.checkpoint())
        await settle()
        await broker.answer("changelog")
        await running
        return broker.sent[-1][1] - 1  # the mark

    for n in range(5):
        task.table.put(b"KX%d" % n, BookState(f"KX{n}", n))
    await whole_checkpoint()
    position = task.table.store.position()
    broker.ends["changelog"] += 1
    written = [await whole_checkpoint() for _ in range(2)]
    assert (written, task.table.store.position()) == ([0, 2], position)
    written = [await whole_checkpoint() for _ in range(2)]
    assert (written, task.foreign_rewrites) == ([2, 1], 5)
    assert task.table.store.position() == broker.ends["changelog"]


async def test_outputs_keep_their_order_with_one_batch_in_flight() -> None:
    """What comes while the broker works is the next batch, in order."""
    broker = Broker()
    box = Outbox(broker, "t", 0, lambda: None, pytest.fail)
    box.put([(None, b"1")])
    await settle()
    box.put([(None, b"2")])
    box.put([(None, b"3")])
    await settle()
    assert broker.sent == [("t", 1)]
    await broker.answer("t")
    assert broker.sent == [("t", 1), ("t", 2)]
    assert (box.acked, box.waiting) == (1, 2)
    await broker.answer("t")
    assert (box.acked, box.waiting) == (3, 0)


async def test_failed_send_ends_the_process_and_acknowledges_nothing() -> None:
    """An error of the producer is never followed by a commit."""
    broker, failures = Broker(), []
    box = Outbox(broker, "t", 0, lambda: None, failures.append)
    box.put([(None, b"1")])
    await settle()
    broker.open["t"][0].set_exception(RuntimeError("no leader"))
    await settle()
    assert box.acked == 0
    assert "no leader" in failures[0]
    with pytest.raises(RuntimeError):
        await box._sender  # type: ignore[misc]


def test_records_at_or_below_the_state_are_skipped() -> None:
    """What the state includes is not admitted again, whole runs or their beginning."""
    task = memory_task()
    rows = [SimpleNamespace(offset=o, key=b"k", value=b"") for o in range(10)]
    assert len(task.admit(SOURCE, rows[:6])) == 6
    assert task.admit(SOURCE, rows[2:5]) == []
    assert [row.offset for row in task.admit(SOURCE, rows[4:])] == [6, 7, 8, 9]
    assert task.next_offset(SOURCE) == 10


def test_derived_record_that_its_writer_published_again_is_known_by_its_cause() -> None:
    """At or below the highest (offset, n) of a cause partition it came before; other partitions do not matter."""
    task = memory_task()
    taken = [task.repeats(Cause("t", 0, o, n)) for o, n in ((5, 0), (5, 1), (5, 0), (5, 1), (6, 0), (4, 9))]
    assert taken == [False, False, True, True, False, True]
    assert not task.repeats(Cause("t", 1, 5, 0))
    assert not task.repeats(None)


def test_source_shorter_than_the_state_is_refused_with_what_to_do() -> None:
    """The topic is another one: replay cannot mend that."""
    refuse_lost_log("t", 0, 10, 10)
    with pytest.raises(ForeignLog, match=r"not the one this state was built from; start with a new --data-dir"):
        refuse_lost_log("t", 0, 10, 9)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserMistake("expected BUS_URL"), 2),
        (ForeignLog("another log"), 2),
        (Fatal("it was built from sand: this state was built from nothing"), 70),
        (KeyError("a bug"), 70),
    ],
)
def test_exit_status_is_decided_by_the_kind_of_error_not_by_its_words(error: Exception, status: int) -> None:
    """A supervisor that reads 2 does not try again."""
    from app.settings import load_settings
    from tables.kernel import Kernel

    ended: list[int] = []
    kernel = Kernel(None, load_settings(), transient=True)
    kernel.on_fail = ended.append
    kernel.fail("test", error)
    assert ended == [status]


async def test_two_partitions_that_ask_for_the_log_start_at_once_share_one_reader() -> None:
    """The second one would never be stopped."""
    from app.settings import load_settings
    from tables.kernel import Kernel

    kernel, made = Kernel(None, load_settings(), transient=True), []

    async def new_reader(wait_ms: int = 0) -> Any:
        await asyncio.sleep(0)
        made.append(1)
        return SimpleNamespace(beginning_offsets=lambda tps: asyncio.sleep(0, dict.fromkeys(tps, 7)))

    kernel.new_reader = new_reader  # type: ignore[method-assign]
    assert await asyncio.gather(kernel.log_start("a", 0), kernel.log_start("a", 1)) == [7, 7]
    assert made == [1]
