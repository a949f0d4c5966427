"""What one flush inserts: the rows of one partition's consecutive offsets, cut so that each INSERT is one block.

Built ahead of the inserts, so that the next one is built while the store takes this one.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sinks.clickhouse import arrays


@dataclass(frozen=True)
class Insert:
    """One INSERT: complete rows of a table and the token by which the store knows a repetition."""

    table: str
    rows: pa.Table
    token: str


@dataclass
class Block:
    """Records up to offset `end`, and their inserts in order, each group with the step that is reached after it.

    `records` are kept until the inserts are done: an outcome that is unknown sends them through again.
    """

    records: list[pa.Table]
    end: int
    steps: list[tuple[str, list[Insert]]] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Whose rows they are: part of each row and of each token."""

    topic: str
    partition: int
    incarnation: str

    def insert(self, table: str, rows: pa.Table, salt: bytes, *, with_topic: bool = True) -> Insert:
        """The insert of these rows. `salt` names the content: the same offsets of other records must not be taken for a
        repetition."""
        first, last = _bounds(rows)
        return self.insert_of(table, rows, first, last, salt, with_topic=with_topic)

    def insert_of(
        self, table: str, rows: pa.Table, first: int, last: int, salt: bytes, *, with_topic: bool = True
    ) -> Insert:
        """The same for rows that name other offsets than those they stand for."""
        count = rows.num_rows
        if with_topic:
            rows = rows.append_column("_topic", arrays.repeated(self.topic, count))
        rows = rows.append_column("_partition", arrays.constant(self.partition, pa.int64(), count))
        token = f"{self.topic}:{self.partition}:{first}-{last}:{self.incarnation}:{salt.hex()}"
        return Insert(table, rows, token)


def _bounds(rows: pa.Table) -> tuple[int, int]:
    offsets = rows["_offset"].to_numpy()
    return int(offsets.min()), int(offsets.max())


def salt_of(table: pa.Table) -> bytes:
    """A digest of the first and the last record."""
    digest = hashlib.blake2b(digest_size=8)
    for row in (0, table.num_rows - 1):
        digest.update(f"{table['event_type'][row]} {table['idempotency_key'][row]} {table['ts_ingest'][row]}".encode())
    return digest.digest()


def by_month(rows: pa.Table) -> Iterator[pa.Table]:
    """One table per month of `ingest_ts`: an INSERT is whole or absent only within one table partition.

    Pieces go in by offset; a crash between two leaves the earlier months' rows, and rows that come again replace them.
    """
    times = pc.min_max(rows["ingest_ts"]).as_py()
    if (times["min"].year, times["min"].month) == (times["max"].year, times["max"].month):
        yield rows
        return
    rows = rows.take(pc.sort_indices(rows, [("_offset", "ascending"), ("_row", "ascending")]))
    months = rows["ingest_ts"].to_numpy().astype("datetime64[M]")
    changes = np.flatnonzero(months[1:] != months[:-1]) + 1
    edges = [0, *changes.tolist(), len(months)]
    for begin, end in pairwise(edges):
        yield rows.slice(begin, end - begin)
