"""A changelog-backed table: states as objects in memory, written as bytes at checkpoints.

`CheckpointedTable` describes a table; `PartitionTable` is one partition of it while this process owns it. An agent
loads a state, computes, and assigns it (`get`, `put`, `delete`); what changed is encoded at one instant of the next
checkpoint, each value behind the header that says which source offsets it includes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Generic, TypeVar

from domain.errors import Fatal
from tables.headers import Headers, Offsets, Vector, header, header_of, later, source_id
from tables.store import PartitionStore

S = TypeVar("S")

#: The body of a deleted key. It carries its offset until a mark covers it; then the tombstone follows. A tombstone at
#: once would let a replay apply records that the key had included.
DELETED = b""


@dataclass(frozen=True)
class CheckpointedTable(Generic[S]):
    """`name` is the table's and its changelog's name for ever. `encode` and `decode` are exact inverses, without the
    header. `residents_max` bounds the states kept in memory (None: all); the rest is read from RocksDB.
    `first_sources`: for tables older than headers that name their sources, those they had then, in order."""

    name: str
    encode: Callable[[S], bytes]
    decode: Callable[[bytes], S]
    residents_max: int | None = None
    first_sources: tuple[str, ...] = ()


class PartitionTable(Generic[S]):
    """One partition: residents, what is dirty, what is on its way to deletion."""

    def __init__(self, table: CheckpointedTable[S], store: PartitionStore, value_max_bytes: int) -> None:
        self.table = table
        self.headers = Headers(table.first_sources)
        self.store = store
        self.residents: dict[bytes, S] = {}
        #: Keys to encode at the next checkpoint. A hot fold may add to it directly.
        self.dirty: set[bytes] = set()
        self._deleted: set[bytes] = set()
        self._tombstones: set[bytes] = set()
        self._value_max_bytes = value_max_bytes

    def get(self, key: bytes) -> S | None:
        """The state of a key, from memory or from the store."""
        state = self.residents.get(key)
        if state is None and key not in self._deleted:
            raw = self.store.get(key)
            if raw is not None and (body := raw[self.headers.width(raw) :]):
                state = self.residents[key] = self.table.decode(body)
        return state

    def warm(self) -> None:
        """Read every state into memory, so that lists of residents are complete. For tables without a bound."""
        for key, raw in self.store.items():
            if body := raw[self.headers.width(raw) :]:
                if key not in self.residents and key not in self._deleted:
                    self.residents[key] = self.table.decode(body)
            elif key not in self.residents:
                # Deleted before a restart that came before its tombstone.
                self._deleted.add(key)

    def put(self, key: bytes, state: S) -> None:
        """Assign: the state is written at the next checkpoint."""
        self.residents[key] = state
        self.dirty.add(key)
        self._deleted.discard(key)
        self._tombstones.discard(key)

    def delete(self, key: bytes) -> None:
        """Remove the key: first a value that says so with its offset, after a mark covers it the tombstone."""
        self.residents.pop(key, None)
        self.dirty.discard(key)
        self._deleted.add(key)

    def items(self) -> Iterator[tuple[bytes, S]]:
        """Every key and state, residents first; reads the whole store."""
        yield from list(self.residents.items())
        for key, raw in self.store.items():
            if key not in self.residents and key not in self._deleted and (body := raw[self.headers.width(raw) :]):
                yield key, self.table.decode(body)

    def keys_after(self, key: bytes, count: int) -> list[bytes]:
        """Up to `count` keys of the store above that one, in order. What is only in memory is written anyway."""
        stored = (stored for stored, _ in self.store.items(key) if stored > key)
        return list(islice(stored, count))

    def encode_changes(
        self, vector: Vector, ahead: Mapping[bytes, Offsets] = MappingProxyType({})
    ) -> list[tuple[bytes, bytes | None]]:
        """The changes since the last call, at this instant, in key order (the same changes give the same bytes).

        A key that is `ahead` of one source still includes what it did when another source changes it: its header
        says so, or the next restart would take the older value for the newer one, and apply the rest twice.

        Raises:
            Fatal: a value larger than the broker would take; it names the key and the setting.
        """
        head = header(vector)
        rows: list[tuple[bytes, bytes | None]] = []
        heads: dict[bytes, bytes] = {}
        if ahead:
            offsets = {source_id(topic): offset for topic, offset in vector.items()}
            heads = {key: header_of(later(offsets, included)) for key, included in ahead.items()}
        for key in sorted(self.dirty):
            value = heads.get(key, head) + self.table.encode(self.residents[key])
            if len(value) > self._value_max_bytes:
                raise Fatal(
                    f"table {self.table.name}: expected a value of at most {self._value_max_bytes} bytes "
                    f"(TABLE_VALUE_MAX_BYTES), was {len(value)} for key {key!r}"
                )
            rows.append((key, value))
        rows += [(key, heads.get(key, head) + DELETED) for key in sorted(self._deleted)]
        rows += [(key, None) for key in sorted(self._tombstones)]
        self.dirty.clear()
        self._tombstones, self._deleted = self._deleted, set()
        return rows

    def rewrite(self, keys: set[bytes]) -> None:
        """Mark keys dirty so that our value is the last one in the changelog again."""
        for key in keys:
            if self.get(key) is not None:
                self.dirty.add(key)
            elif self.store.get(key) is not None:
                self._deleted.add(key)

    def evict(self) -> None:
        """Let clean residents go, oldest first, once their bound is passed. Call after a checkpoint is in the store."""
        bound = self.table.residents_max
        if bound is None or len(self.residents) <= bound:
            return
        for key in list(self.residents):
            if len(self.residents) <= bound:
                return
            if key not in self.dirty:
                del self.residents[key]
