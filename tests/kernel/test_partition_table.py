"""One partition of a table: what a checkpoint writes, deletes in two steps, bounded memory."""

import pytest

from domain.errors import Fatal
from tables.checkpointed import DELETED, CheckpointedTable, PartitionTable
from tables.headers import header
from tables.store import MemoryStore


def a_table(residents_max: int | None = None, value_max_bytes: int = 100) -> PartitionTable[str]:
    """An empty table of one source."""
    table: CheckpointedTable[str] = CheckpointedTable("text", str.encode, bytes.decode, residents_max)
    return PartitionTable(table, MemoryStore(), value_max_bytes)


def checkpoint(table: PartitionTable[str], offset: int) -> list[tuple[bytes, bytes | None]]:
    """Encode and store, as a checkpoint does."""
    rows = table.encode_changes({"in": offset})
    table.store.write(rows, offset)
    table.evict()
    return rows


def test_changes_are_encoded_once_in_key_order_behind_their_offset() -> None:
    """The order of assignments does not show; what did not change is not written again."""
    table = a_table()
    table.put(b"b", "two")
    table.put(b"a", "one")
    assert checkpoint(table, 7) == [(b"a", header({"in": 7}) + b"one"), (b"b", header({"in": 7}) + b"two")]
    assert checkpoint(table, 8) == []


def test_delete_writes_a_marker_with_its_offset_and_then_a_tombstone() -> None:
    """A tombstone at once would let a replay apply records that the deleted key had included."""
    table = a_table()
    table.put(b"a", "one")
    checkpoint(table, 5)
    table.delete(b"a")
    assert table.get(b"a") is None
    assert checkpoint(table, 9) == [(b"a", header({"in": 9}) + DELETED)]
    assert table.get(b"a") is None
    assert checkpoint(table, 12) == [(b"a", None)]
    assert table.store.get(b"a") is None
    assert checkpoint(table, 13) == []


def test_key_that_comes_back_between_marker_and_tombstone_keeps_its_new_value() -> None:
    """The tombstone that was due is forgotten."""
    table = a_table()
    table.put(b"a", "one")
    checkpoint(table, 5)
    table.delete(b"a")
    checkpoint(table, 9)
    table.put(b"a", "again")
    assert checkpoint(table, 12) == [(b"a", header({"in": 12}) + b"again")]
    assert checkpoint(table, 13) == []
    assert table.get(b"a") == "again"


def test_key_deleted_and_assigned_within_one_checkpoint_is_written_once() -> None:
    """Only the last assignment counts."""
    table = a_table()
    table.put(b"a", "one")
    table.delete(b"a")
    table.put(b"a", "two")
    assert checkpoint(table, 3) == [(b"a", header({"in": 3}) + b"two")]


def test_value_above_the_bound_names_key_and_setting() -> None:
    """The broker would refuse it later, with less to go by."""
    table = a_table(value_max_bytes=20)
    table.put(b"KXBIG", "x" * 50)
    with pytest.raises(Fatal, match=r"TABLE_VALUE_MAX_BYTES.*64 for key b'KXBIG'"):
        table.encode_changes({"in": 1})


def test_memory_stays_within_its_bound_and_every_key_stays_readable() -> None:
    """Clean residents go, dirty ones stay, all come back from the store."""
    table = a_table(residents_max=10)
    for i in range(50):
        table.put(b"%02d" % i, f"value {i}")
        assert checkpoint(table, i + 1)
        assert len(table.residents) <= 10
    assert {key: table.get(key) for key, _ in list(table.items())} == {b"%02d" % i: f"value {i}" for i in range(50)}


def test_items_show_live_state_over_stored_state() -> None:
    """Dirty residents, deleted keys and keys in the store only, each once."""
    table = a_table(residents_max=0)
    for key in (b"a", b"b", b"c"):
        table.put(key, "old")
    checkpoint(table, 1)
    table.put(b"b", "new")
    table.delete(b"c")
    assert dict(table.items()) == {b"a": "old", b"b": "new"}


def test_delete_that_a_restart_interrupted_gets_its_tombstone() -> None:
    """The marker alone would stay in the changelog for ever."""
    table = a_table()
    table.put(b"a", "one")
    table.delete(b"a")
    checkpoint(table, 5)
    restarted = a_table()
    restarted.store = table.store
    restarted.warm()
    assert restarted.get(b"a") is None
    assert checkpoint(restarted, 6) == [(b"a", header({"in": 6}) + DELETED)]
    assert checkpoint(restarted, 7) == [(b"a", None)]


def test_deleted_key_that_a_foreign_writer_wrote_is_deleted_again() -> None:
    """Else compaction would keep the foreign value, and the key would come back."""
    table = a_table()
    table.put(b"a", "one")
    table.delete(b"a")
    checkpoint(table, 5)
    restarted = a_table()
    restarted.store = table.store
    restarted.rewrite({b"a"})
    assert checkpoint(restarted, 6) == [(b"a", header({"in": 6}) + DELETED)]
