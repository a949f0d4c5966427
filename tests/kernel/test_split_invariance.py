"""Proof 6: outputs and table depend on the input alone, never on how it was cut, checkpointed or restarted."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_input import BookInput
from kernel_judge import GRACE_MS, judge, memory_task

from agents.maintain_books import BookFold
from schemas.registry import BOOK_UPDATES
from tables import order_books
from tables.changelog import Restore
from tables.headers import Headers
from tables.store import MemoryStore
from tables.task import Task

SOURCE = BOOK_UPDATES.name


def input_rows(seed: int, count: int) -> list[Any]:
    """Records of one partition; now and then an offset is missing, as a compacted or transactional log has it."""
    pairs = BookInput(4, seed, faults=True).take(count)
    return [
        SimpleNamespace(offset=i + i // 37, key=key, value=value, timestamp=1_000 + i)
        for i, (key, value) in enumerate(pairs)
    ]


class Run:
    """A task of one partition that is fed, checkpointed and restarted as the test says."""

    def __init__(self) -> None:
        self.task = memory_task()
        self.fold = BookFold(GRACE_MS)
        self.outputs: dict[str, list[bytes | None]] = {}

    def take(self, rows: list[Any]) -> None:
        rows = self.task.admit(SOURCE, rows)
        if rows:
            outputs = self.fold(self.task, SOURCE, rows)
            for topic, sent in outputs.items():
                self.outputs.setdefault(topic, []).extend(value for _, value in sent)
            self.task.publish(outputs, lambda: None)

    async def checkpoint(self) -> None:
        await self.task.checkpoint()

    def restart(self) -> None:
        """A start from what the changelog holds, without the local store."""
        sent = self.changelog
        job = Restore(0, MemoryStore(), Headers())
        if sent:
            job.apply([SimpleNamespace(offset=i, key=k, value=v) for i, (k, v) in enumerate(sent)])
        job.finish()
        self.task = memory_task()
        self.task.table.store = job.store
        self.changelog.extend(sent)
        self.task.load(job)
        self.task.table.warm()
        self.fold = BookFold(GRACE_MS)

    @property
    def changelog(self) -> list[Any]:
        """Every record sent to it so far."""
        return self.task._changelog.sent  # type: ignore[attr-defined,no-any-return]

    def bodies(self) -> dict[bytes, bytes]:
        return {key: order_books.encode(state) for key, state in self.task.table.items()}


CUTS = st.lists(st.tuples(st.integers(1, 60), st.sampled_from(["", "", "checkpoint", "restart", "again"])), max_size=40)


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), cuts=CUTS)
async def test_any_cut_into_batches_checkpoints_and_restarts_gives_the_same_bytes(
    seed: int, cuts: list[tuple[int, str]]
) -> None:
    """Tables byte for byte, outputs in the same order; batches that come twice change nothing."""
    rows = input_rows(seed, 400)
    expected = judge({0: rows})
    run, at = Run(), 0
    for length, then in [*cuts, (len(rows), "")]:
        batch = rows[at : at + length]
        if not batch:
            break
        run.take(batch)
        at += length
        if then == "again":
            run.take(batch)
        if then in ("checkpoint", "restart"):
            await run.checkpoint()
        if then == "restart":
            run.restart()
    assert run.bodies() == expected.table
    for topic, values in run.outputs.items():
        assert values == expected.outputs.get((topic, 0), []), f"{topic} depends on the cut"


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), kill_at=st.integers(1, 380), lost=st.integers(0, 10))
async def test_kill_in_the_middle_of_a_changelog_write_gives_the_same_bytes(seed: int, kill_at: int, lost: int) -> None:
    """The last checkpoint reached the changelog without its last records: the replay completes it, key by key."""
    rows = input_rows(seed, 400)
    expected = judge({0: rows})
    run = Run()
    for start in range(0, kill_at, 50):
        run.take(rows[start : min(start + 50, kill_at)])
        await run.checkpoint()
    del run.changelog[max(0, len(run.changelog) - lost) :]
    published = {topic: list(values) for topic, values in run.outputs.items()}
    run.outputs.clear()
    run.restart()
    run.take([row for row in rows if row.offset >= run.task.position])
    assert run.bodies() == expected.table
    for topic, values in run.outputs.items():
        before, all_of_it = published.get(topic, []), expected.outputs.get((topic, 0), [])
        again = [value for value in values if value not in before]
        assert [*before, *again] == all_of_it, f"{topic}: an output is missing or differs after the kill"


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    kills=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60), st.integers(0, 6)), min_size=2, max_size=12),
)
async def test_kills_during_the_replay_after_a_kill_give_the_same_bytes(
    seed: int, kills: list[tuple[int, int, int]]
) -> None:
    """What is ahead stays known as ahead: each time a checkpoint that reaches the changelog in part, then a
    replay, cut short by a whole checkpoint and a kill."""
    rows = input_rows(seed, 400)
    expected = judge({0: rows})
    run = Run()

    def take(count: int) -> None:
        left = [row for row in rows if row.offset >= run.task.position][:count]
        for part in [[row] for row in left] if run.task.ahead else [left]:
            if part:
                run.take(part)

    for far, short, lost in kills:
        take(far)
        await run.checkpoint()
        del run.changelog[max(0, len(run.changelog) - lost) :]
        run.restart()
        take(short)
        await run.checkpoint()
        run.restart()
    take(len(rows))
    assert run.bodies() == expected.table


def test_task_refuses_nothing_of_an_input_with_missing_offsets() -> None:
    """Missing offsets are no records: what is there is folded."""
    task: Task[order_books.BookState] = memory_task()
    rows = input_rows(1, 100)
    assert len(task.admit(SOURCE, rows)) == 100
    assert task.position == rows[-1].offset + 1
