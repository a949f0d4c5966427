"""One topic partition of the ClickHouse sink: what is held, where the store ends, and the inserts of one flush.

All of it blocks and runs in a thread. Calls for one partition never overlap, but for `build` of one block beside
`insert` of the one before.
"""

import time
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from schemas.registry import BOOK_UPDATES, Topic, topic_named
from sinks.clickhouse import arrays, restore
from sinks.clickhouse.blocks import Block, Insert, Place, by_month, salt_of
from sinks.clickhouse.destinations import Destination, destinations_of, latest_only
from sinks.clickhouse.events import event_rows
from sinks.clickhouse.level_blocks import fold_block
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
        self._place = Place(topic, number, incarnation)
        self._pending: list[Block] = []  # built and not known to be stored: two at most
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
            changed = self._fold.take_rows()
            if changed:
                self._send(self._levels_insert(self._fold.level_rows(changed)))

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
        self._pending.clear()

    def hole(self, first: int) -> None:
        """Offsets from `next` to `first - 1` are gone from the log. Nothing may be held or under way."""
        rows = pa.table({"first_offset": [self.next], "next_offset": [first]})
        self._send(self._place.insert_of("sink_holes", rows, self.next, first - 1, b""))
        self._on_step("hole written")
        if self._fold is not None:
            self._fold.lost_records()
        self.next = self.durable = first

    # --- blocks: built in order, inserted in order ---

    def build(self) -> Block:
        """Everything held becomes one block (at most one INSERT per table and month). May run while the block before
        is being inserted."""
        block = Block(self.held, self.next)
        self.held, self.held_rows = [], 0
        self._pending.append(block)
        self.flushed_s = time.monotonic()
        table = pa.concat_tables(block.records).combine_chunks()
        if int(table["_offset"][0].as_py()) < self.durable:
            table = table.filter(pc.greater_equal(table["_offset"], self.durable))
        if table.num_rows:
            block.steps = self._book_steps(table) if self.topic is BOOK_UPDATES else self._row_steps(table, block.end)
        return block

    def insert(self, block: Block) -> None:
        """Make the block durable. After an error nothing is known: `take_back`, `load`, and build again."""
        for step, inserts in block.steps:
            for insert in inserts:
                self._send(insert)
            self._on_step(step)
        self._pending.remove(block)
        self.durable = block.end

    def take_back(self) -> None:
        """Hold again what was built and is not known to be stored; `load` must follow."""
        again = [table for block in self._pending for table in block.records]
        self._pending.clear()
        self.held = again + self.held
        self.held_rows = sum(table.num_rows for table in self.held)

    def _send(self, insert: Insert) -> None:
        self._store.insert(insert.table, insert.rows, insert.token)
        self._stats.landed(insert.table, insert.rows.num_rows, insert.rows.nbytes)

    def _book_steps(self, table: pa.Table) -> list[tuple[str, list[Insert]]]:
        """Events first, then levels: `load` writes the levels that a crash in between left out."""
        if self._fold is None:
            raise RuntimeError("expected load() before build()")
        broken, levels = fold_block(self._fold, table)
        salt = salt_of(table)
        pieces = by_month(event_rows(table, broken))
        steps = [("events inserted", [self._place.insert(EVENTS, piece, salt)]) for piece in pieces]
        steps.append(("levels inserted", [] if levels is None else [self._levels_insert(levels)]))
        return steps

    def _levels_insert(self, rows: pa.Table) -> Insert:
        return self._place.insert(LEVELS, rows, b"", with_topic=False)

    def _row_steps(self, table: pa.Table, end: int) -> list[tuple[str, list[Insert]]]:
        salt = salt_of(table)
        if any(entry.derived for entry in destinations_of(self.topic.name)):
            table = self._without_repeats(table)
        stored, steps = -1, []
        for entry in destinations_of(self.topic.name):
            wanted = table.filter(pc.is_in(table["event_type"], pa.array(entry.event_types)))
            if entry.wanted is not None:
                wanted = entry.wanted(wanted)
            if entry.latest_by and wanted.num_rows:
                wanted = latest_only(wanted, entry.latest_by)
            steps.append((f"{entry.table} inserted", self._row_inserts(entry, wanted, salt) if wanted.num_rows else []))
            if wanted.num_rows and not entry.latest_by:
                stored = max(stored, int(wanted["_offset"][-1].as_py()))
        if stored < end - 1:
            mark = self._place.insert("sink_marks", pa.table({"_offset": [end - 1]}), salt)
            steps.append(("mark inserted", [mark]))
        return steps

    def _row_inserts(self, entry: Destination, wanted: pa.Table, salt: bytes) -> list[Insert]:
        rows = entry.rows(wanted).append_column("_offset", arrays.one_chunk(wanted["_offset"]))
        if entry.latest_by:
            return [self._place.insert(entry.table, rows, salt, with_topic=False)]
        rows = rows.append_column("_row", arrays.constant(0, pa.uint32(), rows.num_rows))
        return [self._place.insert(entry.table, piece, salt) for piece in by_month(rows)]

    def _without_repeats(self, table: pa.Table) -> pa.Table:
        """Leave out derived records whose cause is not above the highest one stored or built."""
        marks = self._causes
        keep = []
        names = ("cause_topic", "cause_partition", "cause_offset", "cause_n")
        for topic, partition, offset, n in zip(*(table[name].to_pylist() for name in names), strict=True):
            new = topic is None or (offset, n) > marks.get((topic, partition), (-1, -1))
            if new and topic is not None:
                marks[topic, partition] = (offset, n)
            keep.append(new)
        self._stats.happened("repeats", keep.count(False))
        return table if all(keep) else table.filter(pa.array(keep))
