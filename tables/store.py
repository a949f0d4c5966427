"""The local copy of one partition of one table: a RocksDB that is only ever at a checkpoint, plus its position.

One atomic WriteBatch holds the values of a checkpoint, its mark, and the changelog offset up to which they stand; so
the local copy can lag the changelog and never mixes two checkpoints. It may be deleted at any time: the changelog
rebuilds it.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import rocksdict

#: Keys that start with it are ours, not a market's.
RESERVED = b"\x00"
#: The mark record of a checkpoint, in the changelog and in the store.
MARK_KEY = b"\x00mark"
#: Where the store stands: the next changelog offset to read. In the store only.
POSITION_KEY = b"\x00position"


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Per partition. Faust's defaults take 2 GiB of cache and 192 MiB of write buffers for each."""

    block_cache_mb: int = 16
    write_buffer_mb: int = 8


class PartitionStore(Protocol):
    """What a checkpoint is written to and a missing resident is read from."""

    def get(self, key: bytes) -> bytes | None: ...

    def position(self) -> int | None:
        """The next changelog offset to read; None: never written."""

    def write(self, rows: Iterable[tuple[bytes, bytes | None]], position: int | None) -> None:
        """All rows (None: deleted) and the position at once, or nothing."""

    def items(self, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Every value from that key on, reserved keys left out, in key order."""

    def close(self) -> None: ...


class MemoryStore:
    """For tests of agents and for `store='memory://'`: the same promises, without a disk."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._position: int | None = None

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def position(self) -> int | None:
        return self._position

    def write(self, rows: Iterable[tuple[bytes, bytes | None]], position: int | None) -> None:
        for key, value in rows:
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        if position is not None:
            self._position = position

    def items(self, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return ((k, v) for k, v in sorted(self._values.items()) if k >= first and not k.startswith(RESERVED))

    def close(self) -> None:
        self._values.clear()


class RocksStore:
    """RocksDB through rocksdict, raw bytes. The write-ahead log is on: kill -9 loses nothing that `write` returned."""

    def __init__(self, path: Path, options: StoreOptions) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # Named for the column family too: an existing store is otherwise opened with the options that its own file
        # tells, and that file cannot tell filters and cache, so that after a restart every missing key reads the disk.
        rocks = _rocks_options(options)
        self._db = rocksdict.Rdict(str(path), rocks, column_families={"default": rocks})

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._db.get(key)
        return value

    def position(self) -> int | None:
        raw = self.get(POSITION_KEY)
        return None if raw is None else int.from_bytes(raw, "big")

    def write(self, rows: Iterable[tuple[bytes, bytes | None]], position: int | None) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in rows:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        if position is not None:
            batch.put(POSITION_KEY, position.to_bytes(8, "big"))
        self._db.write(batch)

    def items(self, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        iterator = self._db.iter()
        iterator.seek(first)
        while iterator.valid():
            key = iterator.key()
            if not key.startswith(RESERVED):
                yield key, iterator.value()
            iterator.next()

    def close(self) -> None:
        self._db.close()


def _rocks_options(options: StoreOptions) -> "rocksdict.Options":
    rocks = rocksdict.Options(raw_mode=True)
    rocks.create_if_missing(True)
    rocks.set_write_buffer_size(options.write_buffer_mb << 20)
    rocks.set_max_write_buffer_number(2)
    rocks.set_max_background_jobs(2)
    rocks.set_keep_log_file_num(2)
    rocks.set_compression_type(rocksdict.DBCompressionType.lz4())
    table = rocksdict.BlockBasedOptions()
    table.set_block_cache(rocksdict.Cache(options.block_cache_mb << 20))
    table.set_bloom_filter(10, False)
    rocks.set_block_based_table_factory(table)
    return rocks


def open_store(path: Path | None, options: StoreOptions) -> tuple[PartitionStore, str | None]:
    """The store at that path (None: in memory), and what was wrong with it if it had to be thrown away.

    A damaged local copy (a deleted or half-written file) is not worth an operator: the changelog has everything.
    """
    if path is None:
        return MemoryStore(), None
    try:
        store = RocksStore(path, options)
        store.position()
        return store, None
    except Exception as damage:  # rocksdict raises plain Exception for everything
        if "lock" in str(damage).lower():
            raise
        shutil.rmtree(path, ignore_errors=True)
        return RocksStore(path, options), f"{type(damage).__name__}: {damage}"


def discard(path: Path | None) -> None:
    """Throw the local copy away (its position is beyond the changelog, or its source was re-created)."""
    if path is not None:
        shutil.rmtree(path, ignore_errors=True)


def await_disk(path: Path) -> None:
    """Return when the disk of that store has taken a write. Blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent) as probe:
        probe.write(b"\0")
        probe.flush()
        os.fsync(probe.fileno())


class Stores:
    """Opens and closes the stores of one table beside a running event loop: a busy disk takes seconds for twenty, and a
    loop that stands still for so long misses its heartbeats."""

    def __init__(self, options: StoreOptions) -> None:
        self._options = options
        self._closing: asyncio.Task[None] | None = None

    async def open(self, path: Path | None) -> tuple[PartitionStore, str | None]:
        """As `open_store`, once the disk answers: rocksdict holds the interpreter while RocksDB opens (its six syncs),
        so that a thread would stop the loop as well. Between any two stores the loop turns."""
        await self.closed()
        if path is not None:
            await asyncio.to_thread(await_disk, path)
        return open_store(path, self._options)

    async def start_over(self, path: Path | None, store: PartitionStore) -> PartitionStore:
        """An empty store instead of this one."""
        self.close([store])
        await self.closed()
        await asyncio.to_thread(discard, path)
        return (await self.open(path))[0]

    def close(self, stores: list[PartitionStore]) -> None:
        """Begin to close these, in a thread; `open` waits for it, as a path can be opened once."""
        if stores:
            self._closing = asyncio.create_task(self._close(stores, self._closing), name="close stores")

    async def _close(self, stores: list[PartitionStore], before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await before
        for store in stores:
            await asyncio.to_thread(store.close)

    async def closed(self) -> None:
        """Return when everything that was to be closed is."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
