"""One run of consecutive offsets of one partition: held in memory until its file is final, then forgotten.

Records are kept until the rename, because whoever gave them does not give them again before a restart: a full disk
then costs nothing but time.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.registry import Topic
from sinks.columns import topic_columns
from sinks.contract import SinkUnavailable
from sinks.parquet import files

ROW_GROUP_ROWS = 65_536  # statistics per row group let readers skip; small enough to stay in a reader's cache
ZSTD_LEVEL = 1  # level 3 packs these columns no better (12.8 and 13.0 bytes a delta): their encodings have done it
# Text that hardly repeats would fill a dictionary for nothing; sorted and counted columns pack far better as deltas.
PLAIN_TEXT = ("_raw",)
PREFIX_TEXT = ("idempotency_key",)
COUNTED = ("_offset", "ts_event", "ts_ingest", "seq", "revision", "cause_offset", "delta_e2")


@dataclass
class Run:
    """Tables in offset order. `first` and `last` are offsets, `date` the folder, `opened_s` a monotonic time."""

    topic: Topic
    partition: int
    date: str
    first: int
    last: int
    opened_s: float = field(default_factory=time.monotonic)
    tables: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    size_bytes: int = 0
    is_renaming: bool = False  # a try came as far as the rename: the file may have its name

    def append(self, table: pa.Table, last: int) -> None:
        """Continue the run; the caller has checked that it does continue it."""
        self.tables.append(table)
        self.rows += table.num_rows
        self.size_bytes += table.nbytes
        self.last = last


def write_run(root: Path, run: Run, on_step: Callable[[str], None]) -> int:
    """Make the run final on disk and return the bytes of its file: temp file, fsync, rename, fsync of the folder.

    Blocking. The folder is listed again under the partition's lock: a worker that lost the partition without noticing
    must not write beside its successor.

    Raises:
        SinkUnavailable: the disk refuses (full, read-only), or another worker has written meanwhile.
    """
    folder = root / run.topic.name / run.date / f"p={run.partition}"
    temporary, final = folder / f".{run.first}.tmp", folder / f"{run.first}-{run.last}.parquet"
    try:
        files.make_folders(folder)
        on_step("folder made")
        with temporary.open("wb") as file:
            with parquet_writer(file, run.topic, run.partition, run.first, run.last) as writer:
                writer.write_table(pa.concat_tables(run.tables), row_group_size=ROW_GROUP_ROWS)
            on_step("file written")
            file.flush()
            os.fsync(file.fileno())
        on_step("file synced")
        with files.partition_lock(root, run.topic.name, run.partition):
            on_disk = files.next_offset_on_disk(root, run.topic.name, run.partition) or 0
            if run.is_renaming and on_disk == run.last + 1 and final.exists():
                temporary.unlink()
                files.fsync_folder(folder)  # what failed after the rename
                return final.stat().st_size
            if on_disk != run.first:
                raise SinkUnavailable(
                    f"{final}: expected the archive to end at {run.first}, was {on_disk}: another worker writes here"
                )
            run.is_renaming = True
            files.publish(temporary, final, on_step)
        return final.stat().st_size
    except OSError as wrong:
        temporary.unlink(missing_ok=True)
        raise SinkUnavailable(f"parquet: {folder}: {wrong.strerror or wrong}") from wrong
    except SinkUnavailable:
        temporary.unlink(missing_ok=True)
        raise


def parquet_writer(file: object, topic: Topic, partition: int, first: int, last: int) -> pq.ParquetWriter:
    """A writer of a topic's columns into an open file that will hold offsets `first`..`last`."""
    columns = topic_columns(topic)
    names = set(columns.schema.names)
    encodings = {name: "DELTA_BINARY_PACKED" for name in COUNTED if name in names}
    encodings |= dict.fromkeys(PREFIX_TEXT, "DELTA_BYTE_ARRAY")
    dictionaries = [name for name in columns.schema.names if name not in encodings and name not in PLAIN_TEXT]
    metadata = {
        "kalshi_streams.topic": topic.name,
        "kalshi_streams.partition": str(partition),
        "kalshi_streams.first_offset": str(first),
        "kalshi_streams.last_offset": str(last),
    }
    return pq.ParquetWriter(
        file,
        columns.schema.with_metadata(metadata),
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=_leaves(columns.schema, dictionaries),
        column_encoding=encodings,
        write_page_index=True,
    )


def _leaves(schema: pa.Schema, names: list[str]) -> list[str]:
    """The Parquet paths of columns: dictionaries are asked for by leaf, and a list's leaf has a longer name."""
    paths = []
    for name in names:
        kind, path = schema.field(name).type, name
        while pa.types.is_list(kind):
            kind, path = kind.value_type, f"{path}.list.element"
        if pa.types.is_struct(kind):
            continue
        paths.append(path)
    return paths
