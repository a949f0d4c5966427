"""Headers name their sources: a processor gains, loses and reorders them, and what was written before still counts."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Fatal
from tables import headers
from tables.changelog import Restore
from tables.checkpointed import CheckpointedTable, PartitionTable
from tables.headers import Headers, header, require_distinct, source_id
from tables.kernel import TransientOutbox
from tables.outlets import Outlets
from tables.store import MARK_KEY, MemoryStore, PartitionStore
from tables.task import Task

OLD = ("fills", "reports")
TABLE: CheckpointedTable[str] = CheckpointedTable("text", str.encode, bytes.decode, first_sources=OLD)


def offsets_alone(*offsets: int) -> bytes:
    """A header as it was before it named its sources."""
    return b"".join(offset.to_bytes(8, "big") for offset in offsets)


def task_of(sources: tuple[str, ...], store: PartitionStore) -> Task[str]:
    """A task that reads these, restored from that store."""
    table, log = PartitionTable(TABLE, store, 1_000), TransientOutbox("log", 0)
    task = Task(0, sources, table, Outlets({}, TransientOutbox), log, (100, 100), 1_000)
    task.load(Restore(0, store, Headers(OLD)))
    return task


def take(task: Task[str], topic: str, key: bytes, offset: int) -> bool:
    """Fold one record: its offset becomes the value. Whether the state did not include it yet."""
    rows = task.admit(topic, [SimpleNamespace(key=key, offset=offset, value=b"")])
    for _ in rows:
        task.table.put(key, f"{topic}@{offset}")
    return bool(rows)


def checkpoint(task: Task[str]) -> None:
    """Values and mark into the store, as a checkpoint writes them."""
    rows = task.table.encode_changes(task.vector, task.ahead)
    task.table.store.write([*rows, (MARK_KEY, task.mark())], 0)


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.integers(0, 1 << 55), max_size=6))
def test_header_tells_every_source_and_where_the_body_begins(vector: dict[str, int]) -> None:
    """Whatever the sources are, and whatever the body is."""
    reader, value = Headers(OLD), header(vector) + b"\x01\x00body"
    assert reader.offsets(value) == {source_id(topic): offset for topic, offset in vector.items()}
    assert reader.version(value) == sum(vector.values())
    assert value[reader.width(value) :] == b"\x01\x00body"


@given(st.integers(0, (1 << 56) - 1), st.integers(0, (1 << 56) - 1))
def test_header_without_names_is_read_by_the_sources_of_its_time(fills: int, reports: int) -> None:
    """Stores and changelogs of the time before headers named their sources."""
    reader, value = Headers(OLD), offsets_alone(fills, reports) + b"body"
    assert reader.offsets(value) == {source_id("fills"): fills, source_id("reports"): reports}
    assert (reader.version(value), value[reader.width(value) :]) == (fills + reports, b"body")


def test_store_without_names_goes_on_where_it_stood() -> None:
    """The mark and the values of the time before; what they include is skipped, what comes after is folded."""
    import msgspec

    store = MemoryStore()
    mark = msgspec.msgpack.encode([{"fills": 5, "reports": 3}, {}])
    store.write([(b"a", offsets_alone(5, 2) + b"old"), (MARK_KEY, offsets_alone(5, 3) + mark)], 7)
    task = task_of(OLD, store)
    assert (task.vector, task.table.get(b"a")) == ({"fills": 5, "reports": 3}, "old")
    assert not take(task, "fills", b"a", 4)
    assert take(task, "fills", b"a", 5)
    checkpoint(task)
    assert task_of(OLD, store).vector == {"fills": 6, "reports": 3}


@pytest.mark.parametrize(
    "sources", [("fills", "reports", "new"), ("reports", "fills"), ("fills",), ("new", "reports")]
)  # fmt: skip
def test_sources_added_removed_and_reordered_keep_the_state(sources: tuple[str, ...]) -> None:
    """Each source goes on where it stood, a new one at its start; the values stay."""
    store = MemoryStore()
    before = task_of(OLD, store)
    take(before, "fills", b"a", 8)
    take(before, "reports", b"b", 2)
    checkpoint(before)
    task = task_of(sources, store)
    assert (task.table.get(b"a"), task.table.get(b"b")) == ("fills@8", "reports@2")
    assert [task.next_offset(topic) for topic in sources] == [{"fills": 9, "reports": 3}.get(t, 0) for t in sources]
    assert all(take(task, topic, b"c", task.next_offset(topic)) for topic in sources)
    checkpoint(task)
    assert task_of(OLD, store).next_offset("reports") == (4 if "reports" in sources else 3)


def test_version_does_not_fall_when_a_source_is_no_longer_read() -> None:
    """Else every value written since would lose against those of before, as a zombie's do."""
    store = MemoryStore()
    before = task_of(OLD, store)
    take(before, "reports", b"a", 1_000)
    checkpoint(before)
    after = task_of(("fills",), store)
    take(after, "fills", b"a", 0)
    log: list[Any] = [SimpleNamespace(offset=0, key=b"a", value=store.get(b"a"))]
    log += [SimpleNamespace(offset=1, key=k, value=v) for k, v in after.table.encode_changes(after.vector)]
    job = Restore(0, MemoryStore(), Headers(OLD))
    job.apply(log)
    assert (job.rewrite, job.store.get(b"a")) == (set(), log[1].value)


def test_unfinished_checkpoint_is_known_under_a_new_source_too() -> None:
    """A kill in the midst of a checkpoint, then a start with another source: what its keys include is skipped."""
    store = MemoryStore()
    before = task_of(OLD, store)
    take(before, "fills", b"a", 0)
    checkpoint(before)
    take(before, "reports", b"b", 4)
    log = [SimpleNamespace(offset=1, key=k, value=v) for k, v in before.table.encode_changes(before.vector)]
    job = Restore(0, store, Headers(OLD))
    job.apply(log)
    task = task_of(("new", *OLD), store)
    task.load(job)
    run = [SimpleNamespace(key=key, offset=offset, value=b"") for offset, key in ((3, b"b"), (4, b"b"), (5, b"b"))]
    assert [row.offset for row in task.admit("reports", run)] == [5]
    assert take(task, "new", b"b", 0)


def test_names_that_a_header_cannot_tell_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair in four thousand million; it would mix two logs."""
    monkeypatch.setattr(headers, "source_id", lambda topic: 7)
    with pytest.raises(Fatal, match="'a' and 'b': rename one"):
        require_distinct(("a", "a", "b"))
