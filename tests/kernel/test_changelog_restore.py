"""Restoring a partition from its changelog: last values win, foreign writers lose, unfinished checkpoints show."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kernel_judge import memory_task

from tables.changelog import Restore
from tables.headers import Headers, header, source_id
from tables.progress import Mark, _encode_mark
from tables.store import MARK_KEY, MemoryStore

SOURCE = "market.book_updates"


def log_of(*records: tuple[bytes, int | None, bytes]) -> list[Any]:
    """A changelog of (key, version or None for a tombstone, body)."""
    return [
        SimpleNamespace(offset=i, key=key, value=None if version is None else header({SOURCE: version}) + body)
        for i, (key, version, body) in enumerate(records)
    ]


def mark(version: int) -> tuple[bytes, int, bytes]:
    """The mark record of a checkpoint that ends before source offset `version`."""
    return MARK_KEY, version, _encode_mark(Mark({SOURCE: version}, {}))


def restored(store: MemoryStore, rows: list[Any], cut: int = 10**9) -> Restore:
    """A restore that got the records after the store's position, in runs of `cut`."""
    job = Restore(0, store, Headers())
    job.position = store.position() or 0
    job.end = rows[-1].offset + 1 if rows else 0
    left = [row for row in rows if row.offset >= job.position]
    for start in range(0, len(left), cut):
        job.apply(left[start : start + cut])
    job.finish()
    return job


def bodies(store: MemoryStore) -> dict[bytes, bytes]:
    """Key -> body, without headers."""
    return {key: raw[14:] for key, raw in store.items()}


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.booleans()), max_size=40), st.integers(1, 9))
def test_restore_gives_the_last_value_of_each_key_however_the_log_is_cut(
    changes: list[tuple[bytes, bool]], cut: int
) -> None:
    """Any changelog of one writer, read in runs of any length."""
    rows = log_of(*[(key, None if gone else i + 1, b"body %d" % i) for i, (key, gone) in enumerate(changes)])
    store = MemoryStore()
    job = restored(store, rows, cut)
    wanted = {row.key: row.value[14:] for row in rows if row.value is not None}
    for row in rows:
        wanted[row.key] = b"" if row.value is None else row.value[14:]
    assert bodies(store) == {key: body for key, body in wanted.items() if body}
    assert job.rewrite == set()


def test_lower_version_of_a_foreign_writer_loses_and_the_key_is_written_again() -> None:
    """A zombie wrote an older value after ours: ours stays, and is to be the last one of the changelog again."""
    rows = log_of((b"a", 10, b"ours"), (b"b", 10, b"ours"), mark(10), (b"a", 7, b"zombie"), (b"b", 12, b"newer"))
    store = MemoryStore()
    job = restored(store, rows)
    assert bodies(store) == {b"a": b"ours", b"b": b"newer"}
    assert job.rewrite == {b"a"}


def test_key_that_only_the_foreign_writer_wrote_is_taken() -> None:
    """A lower version is no reason to refuse a key that has no other value."""
    store = MemoryStore()
    job = restored(store, log_of((b"a", 10, b"ours"), (b"z", 3, b"theirs")))
    assert bodies(store)[b"z"] == b"theirs"
    assert job.rewrite == set()


def test_values_after_the_last_mark_are_known_to_be_ahead_of_it() -> None:
    """A kill in the middle of a checkpoint: records that such a value includes are skipped for its key alone."""
    task = memory_task()
    job = restored(task.table.store, log_of((b"a", 5, b"1"), mark(5), (b"b", 9, b"2")))
    task.load(job)
    assert task.vector == {SOURCE: 5}
    assert task.ahead == {b"b": {source_id(SOURCE): 9}}
    rows = [SimpleNamespace(offset=o, key=k, value=b"") for o, k in ((5, b"a"), (6, b"b"), (7, b"a"), (9, b"b"))]
    assert [(row.offset, row.key) for row in task.admit(SOURCE, rows)] == [(5, b"a"), (7, b"a"), (9, b"b")]


def test_values_ahead_of_the_mark_are_still_known_after_a_second_kill() -> None:
    """The local store holds what the restore read. A kill before the next checkpoint must not make a warm start take an
    unfinished checkpoint for a finished one: its records would be applied twice."""
    store = MemoryStore()
    rows = log_of((b"a", 5, b"1"), mark(5), (b"b", 9, b"2"))
    restored(store, rows)
    task = memory_task()
    task.table.store = store
    task.load(restored(store, rows))
    assert task.ahead == {b"b": {source_id(SOURCE): 9}}


def test_keys_of_a_foreign_writer_are_still_known_after_a_second_kill() -> None:
    """The rewrite did not happen before the kill: the warm start finds it again."""
    store = MemoryStore()
    rows = log_of((b"a", 10, b"ours"), mark(10), (b"a", 7, b"zombie"), (MARK_KEY, 11, mark(11)[2]))
    restored(store, rows)
    assert restored(store, rows).rewrite == {b"a"}


def test_warm_start_after_a_whole_checkpoint_reads_only_the_tail() -> None:
    """The position stands after the last mark."""
    store = MemoryStore()
    rows = log_of((b"a", 5, b"1"), mark(5), (b"b", 9, b"2"), mark(9))
    restored(store, rows[:2])
    assert store.position() == 2
    job = restored(store, rows)
    assert (job.records, store.position()) == (2, 4)
    assert job.since_mark == {}


def test_tombstone_removes_the_key_and_its_trace() -> None:
    """A deleted key is neither in the store nor ahead of anything."""
    store = MemoryStore()
    job = restored(store, log_of((b"a", 5, b"1"), mark(5), (b"a", 6, b""), (b"a", None, b"")))
    assert bodies(store) == {}
    assert job.since_mark == {}


def test_older_mark_of_a_foreign_writer_is_not_taken_for_a_state() -> None:
    """A zombie's mark comes after ours: it is left out, and nobody tries to read it as a value of the table."""
    ours, theirs = header({SOURCE: 9}) + b"ours", header({SOURCE: 4}) + b"theirs"
    rows = [SimpleNamespace(offset=o, key=MARK_KEY, value=v) for o, v in enumerate((ours, theirs))]
    job = Restore(0, MemoryStore(), Headers())
    job.apply(rows)
    assert job.rewrite == set()
    assert job.store.get(MARK_KEY) == ours
