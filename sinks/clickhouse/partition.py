"""One topic partition of the ClickHouse sink: what is held, where the store ends, and the inserts of one flush.

All of it blocks and runs in a thread; calls for one partition never overlap.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.registry import BOOK_UPDATES, Topic, topic_named
from sinks.clickhouse import arrays, restore
from sinks.clickhouse.destinations import Destination, destinations_of, latest_only
from sinks.clickhouse.events import event_rows
from sinks.clickhouse.levels import LevelFold
from sinks.clickhouse.store import Store
from sinks.stats import SinkStats

EVENTS, LEVELS = "orderbook_events_raw", "latest_levels"
Step = Callable[[str], None]


class Partition:
    """`next` is the offset after the last record held or stored, `durable` the one after the last record stored."""

    def __init__(
        self, store: Store, topic: str, number: int, incarnation: str, stats: SinkStats, on_step: Step
    ) -> None:
        self.topic: Topic = topic_named(topic)
        self.number = number
        self.next = 0
        self.durable = 0
        self.held: list[pa.Table] = []
        self.held_rows = 0
        self.flushed_s = -1e9  # monotonic time of the last insert: the first may come at once
        self._store = store
        self._incarnation = incarnation
        self._stats = stats
        self._on_step = on_step
        self._fold: LevelFold | None = None
        self._causes: dict[tuple[str, int], tuple[int, int]] = {}
        self._tables = [e.table for e in destinations_of(topic) if not e.latest_by] or [EVENTS]

    # --- where the store ends ---

    def load(self) -> int | None:
        """Read from the store where it ends, and bring `latest_levels` up to there. Forgets nothing that is held.

        Returns the next offset the store expects, None when it holds nothing.
        """
        name = self.topic.name
        for table in (*self._tables, LEVELS):
            self._store.await_own_inserts(table, name, self.number)
        ends = [self._end(table) for table in self._tables]
        ends.append(self._end("sink_marks"))
        end = max(ends)
        self.durable = end + 1
        if self.topic is BOOK_UPDATES:
            self._load_fold(end)
        else:
            self._load_causes()
        return end + 1 if end >= 0 else None

    def _end(self, table: str) -> int:
        sql = "select max(_offset), count() from {db}.{table} where _topic = {t:String} and _partition = {p:UInt16}"
        highest, count = self._store.rows(sql.replace("{table}", table), {"t": self.topic.name, "p": self.number})[0]
        return int(highest) if count else -1

    def _load_fold(self, end: int) -> None:
        shown = min(restore.levels_end(self._store, self.number), end)
        self._fold = restore.restored_fold(self._store, self.topic.name, self.number, shown)
        for _ in restore.catch_up(self._store, self._fold, self.topic.name, self.number, shown, end):
            self._insert_levels(self._fold)

    def _load_causes(self) -> None:
        """The highest cause stored, per cause partition: derived records come again at new offsets after a kill."""
        self._causes = {}
        for entry in destinations_of(self.topic.name):
            if entry.derived:
                sql = (
                    "select cause_topic, cause_partition, max((cause_offset, cause_n)) "  # noqa: S608
                    f"from {{db}}.{entry.table} where _topic = {{t:String}} and _partition = {{p:UInt16}} group by 1, 2"
                )
                for topic, partition, mark in self._store.rows(sql, {"t": self.topic.name, "p": self.number}):
                    if topic:
                        self._causes[topic, partition] = max(mark, self._causes.get((topic, partition), (-1, -1)))

    # --- what is held ---

    def hold(self, table: pa.Table, next_offset: int) -> None:
        """Keep records until the next flush; the caller has checked that they continue what is held."""
        self.held.append(table)
        self.held_rows += table.num_rows
        self.next = next_offset

    def forget(self) -> None:
        """Drop what is held: another assignment of the partition follows."""
        self.held, self.held_rows = [], 0

    def hole(self, first: int) -> None:
        """Offsets from `next` to `first - 1` are gone from the log. Nothing may be held."""
        rows = pa.table({"first_offset": [self.next], "next_offset": [first]})
        self._insert("sink_holes", rows, self.next, first - 1, b"")
        self._on_step("hole written")
        if self._fold is not None:
            self._fold.lost_records()
        self.next = self.durable = first

    def flush(self) -> int:
        """Insert everything held, at most one block per table and month. Returns the records stored.

        After an error nothing is known: `load` again, then flush again; what is stored already is skipped.
        """
        if not self.held:
            return 0
        table = pa.concat_tables(self.held).combine_chunks()
        table = table.filter(pc.greater_equal(table["_offset"], self.durable))
        if table.num_rows:
            if self.topic is BOOK_UPDATES:
                self._flush_book(table)
            else:
                self._flush_rows(table)
        self.forget()
        self.durable = self.next
        self.flushed_s = time.monotonic()
        return int(table.num_rows)

    def _flush_book(self, table: pa.Table) -> None:
        """Events first, then levels: `load` writes the levels that a crash in between left out."""
        fold = self._fold
        if fold is None:
            raise RuntimeError("expected load() before flush()")
        broken = fold.apply(table)
        rows = event_rows(table, broken)
        salt = _salt(table)
        for piece in _by_month(rows):
            self._insert(EVENTS, piece, *_bounds(piece), salt)
            self._on_step("events inserted")
        self._insert_levels(fold)
        self._on_step("levels inserted")

    def _insert_levels(self, fold: LevelFold) -> None:
        changed = fold.take_rows()
        if changed:
            rows = fold.level_rows(changed)
            offsets = rows["_offset"].to_numpy()
            self._insert(LEVELS, rows, int(offsets.min()), int(offsets.max()), b"", with_topic=False)

    def _flush_rows(self, table: pa.Table) -> None:
        salt = _salt(table)
        marks = dict(self._causes)
        if any(entry.derived for entry in destinations_of(self.topic.name)):
            table, marks = self._without_repeats(table)
        stored = -1
        for entry in destinations_of(self.topic.name):
            wanted = table.filter(pc.is_in(table["event_type"], pa.array(entry.event_types)))
            if entry.wanted is not None:
                wanted = entry.wanted(wanted)
            if entry.latest_by and wanted.num_rows:
                wanted = latest_only(wanted, entry.latest_by)
            if wanted.num_rows:
                stored = max(stored, self._insert_rows(entry, wanted, salt))
            self._on_step(f"{entry.table} inserted")
        if stored < self.next - 1:
            self._insert("sink_marks", pa.table({"_offset": [self.next - 1]}), self.next - 1, self.next - 1, salt)
            self._on_step("mark inserted")
        self._causes |= marks

    def _insert_rows(self, entry: Destination, wanted: pa.Table, salt: bytes) -> int:
        rows = entry.rows(wanted).append_column("_offset", arrays.one_chunk(wanted["_offset"]))
        if entry.latest_by:
            self._insert(entry.table, rows, *_bounds(rows), salt, with_topic=False)
            return -1
        rows = rows.append_column("_row", arrays.constant(0, pa.uint32(), rows.num_rows))
        for piece in _by_month(rows):
            self._insert(entry.table, piece, *_bounds(piece), salt)
        return _bounds(rows)[1]

    def _without_repeats(self, table: pa.Table) -> tuple[pa.Table, dict[tuple[str, int], tuple[int, int]]]:
        """Leave out derived records whose cause is not above the highest one stored, and the new marks."""
        marks = dict(self._causes)
        keep = []
        names = ("cause_topic", "cause_partition", "cause_offset", "cause_n")
        for topic, partition, offset, n in zip(*(table[name].to_pylist() for name in names), strict=True):
            new = topic is None or (offset, n) > marks.get((topic, partition), (-1, -1))
            if new and topic is not None:
                marks[topic, partition] = (offset, n)
            keep.append(new)
        self._stats.happened("repeats", keep.count(False))
        return (table if all(keep) else table.filter(pa.array(keep))), marks

    def _insert(
        self, table: str, rows: pa.Table, first: int, last: int, salt: bytes, *, with_topic: bool = True
    ) -> None:
        count = rows.num_rows
        if with_topic:
            rows = rows.append_column(
                "_topic", arrays.constant(self.topic.name, pa.string(), count).dictionary_encode()
            )
        rows = rows.append_column("_partition", arrays.constant(self.number, pa.int64(), count))
        # The salt names the content: the same offsets of other records must not be taken for a repetition.
        token = f"{self.topic.name}:{self.number}:{first}-{last}:{self._incarnation}:{salt.hex()}"
        self._store.insert(table, rows, token)
        self._stats.landed(table, count, rows.nbytes)


def _bounds(rows: pa.Table) -> tuple[int, int]:
    offsets = rows["_offset"].to_numpy()
    return int(offsets.min()), int(offsets.max())


def _salt(table: pa.Table) -> bytes:
    digest = hashlib.blake2b(digest_size=8)
    for row in (0, table.num_rows - 1):
        digest.update(f"{table['event_type'][row]} {table['idempotency_key'][row]} {table['ts_ingest'][row]}".encode())
    return digest.digest()


def _by_month(rows: pa.Table) -> Iterator[pa.Table]:
    """One table per month of `ingest_ts`: an INSERT is whole or absent only within one table partition.

    Pieces go in by offset; a crash between two leaves the earlier months' rows, and rows that come again replace them.
    """
    months = rows["ingest_ts"].to_numpy().astype("datetime64[M]")
    if months[0] == months[-1] and (months == months[0]).all():
        yield rows
        return
    rows = rows.take(pc.sort_indices(rows, [("_offset", "ascending"), ("_row", "ascending")]))
    months = rows["ingest_ts"].to_numpy().astype("datetime64[M]")
    changes = np.flatnonzero(months[1:] != months[:-1]) + 1
    edges = [0, *changes.tolist(), len(months)]
    for begin, end in pairwise(edges):
        yield rows.slice(begin, end - begin)
