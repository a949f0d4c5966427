"""The folds that `qa books` compares: the same records from orderbook_events and from Parquet, onto the same books.

A fold is stopped for a moment at every offset where another store is to be compared, and the book copied there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from domain.book import STALE
from schemas.registry import BOOK_UPDATES
from sinks.clickhouse.level_blocks import fold_block
from sinks.clickhouse.levels import LevelFold, LevelKey, LevelRow
from sinks.clickhouse.restore import EVENTS, Rows, fold_record
from sinks.columns import topic_columns
from sinks.parquet.reader import open_files

TOPIC = BOOK_UPDATES.name
CHUNK_OFFSETS = 100_000  # events read at a time: some tens of MB of rows


@dataclass(frozen=True)
class BookAt:
    """A book after one offset; sizes in e2 by price in e4. Both empty while it is stale."""

    stale: bool
    yes: dict[int, int]
    no: dict[int, int]


def book_at(fold: LevelFold, ticker: str) -> BookAt:
    """A copy of the market's book as the fold has it now."""
    book = fold.market(ticker).book
    return BookAt(book.status == STALE, dict(book.yes), dict(book.no))


@dataclass
class PartitionFold:
    """What a fold of one partition gave: books at the end and at the asked offsets, and at the offsets asked for every
    market the level rows that must have been written by then."""

    fold: LevelFold = field(default_factory=LevelFold)
    at: dict[tuple[str, int], BookAt] = field(default_factory=dict)
    rows_at: dict[int, dict[LevelKey, LevelRow]] = field(default_factory=dict)

    def books(self) -> dict[str, BookAt]:
        """All books as they are now."""
        return {ticker: book_at(self.fold, ticker) for ticker in self.fold.markets}


def fold_events(store: Rows, partition: int, begin: int, end: int, asked: dict[str, list[int]]) -> PartitionFold:
    """Fold the events of offsets [begin, end) of a partition.

    Args:
        asked: per market the offsets (the next one) at which its book is wanted, "" for every market.
    """
    result = PartitionFold()
    waiting = sorted((offset, ticker) for ticker, offsets in asked.items() for offset in offsets)
    for first in range(begin, end, CHUNK_OFFSETS):
        upto = min(first + CHUNK_OFFSETS, end) - 1
        rows = store.rows(EVENTS, {"p": partition, "after": first - 1, "upto": upto})
        for offset, group in groupby(rows, key=lambda row: row[12]):
            while waiting and waiting[0][0] <= offset:
                _capture(result, *waiting.pop(0))
            fold_record(result.fold, list(group))
    while waiting and waiting[0][0] <= end:
        _capture(result, *waiting.pop(0))
    return result


def _capture(result: PartitionFold, offset: int, ticker: str) -> None:
    if not ticker:
        result.rows_at[offset] = dict(result.fold.rows)
    for one in [ticker] if ticker else list(result.fold.markets):
        result.at[one, offset] = book_at(result.fold, one)


def fold_parquet(root: Path, partition: int, begin: int, end: int) -> dict[str, BookAt]:
    """Fold the archive's records of offsets [begin, end) of a partition. Raises UserMistake for a gap or overlap."""
    result = PartitionFold()
    expected = begin
    for table in _archive_tables(root, partition, begin, end):
        first = table["_offset"][0].as_py()
        if first > expected and expected > begin:
            result.fold.lost_records()
        fold_block(result.fold, table)
        expected = table["_offset"][-1].as_py() + 1
    return result.books()


def _archive_tables(root: Path, partition: int, begin: int, end: int) -> Iterator[pa.Table]:
    schema = topic_columns(BOOK_UPDATES).schema
    for at, file in open_files(root, TOPIC, partition, begin):
        for batch in file.iter_batches(CHUNK_OFFSETS // 2, columns=schema.names):
            table = pa.Table.from_batches([batch])
            if table["_offset"][0].as_py() >= end:
                return
            inside = pc.and_(pc.greater_equal(table["_offset"], at), pc.less(table["_offset"], end))
            wanted = table.filter(inside)
            if wanted.num_rows:
                yield wanted
