"""One run of consecutive offsets of one partition: held in memory until its file is final, then forgotten.

Whole row groups go into the run's temp file while the run fills; what is left follows when it is closed. Records are
kept until the rename, because whoever gave them does not give them again before a restart: after any error the temp
file is thrown away and written again from its beginning, so a full disk costs nothing but time.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from domain.errors import Fatal
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
# The least and the greatest of these are the same in nearly every row group: no reader skips one by them.
NO_STATISTICS = ("source", "side", "session_id", "market_id", "_key", "_raw")
Step = Callable[[str], None]


class RunFile:
    """The temp file of a run, opened with its first row group. One thread at a time."""

    def __init__(self, folder: Path, run: "Run") -> None:
        # Ours alone: a worker that lost the partition without noticing may still write its own.
        self.path = folder / f".{run.first}.{uuid.uuid4().hex}.tmp"
        self.groups = 0
        with ExitStack() as undoing:
            undoing.callback(self.path.unlink, missing_ok=True)
            self._file = undoing.enter_context(self.path.open("xb"))  # for its sync
            # Arrow's own file: for one of Python's, each page would wait for the interpreter lock.
            arrow_file = undoing.enter_context(pa.OSFile(str(self.path), "wb"))
            self._writer = undoing.enter_context(parquet_writer(arrow_file, run.topic))
            self._undo = undoing.pop_all()

    def append(self, group: list[pa.Table]) -> None:
        """Write one row group."""
        self._writer.write_table(pa.concat_tables(group), row_group_size=ROW_GROUP_ROWS)
        self.groups += 1

    def end(self, run: "Run") -> None:
        """Write the footer."""
        self._writer.add_key_value_metadata(origin(run.topic, run.partition, run.first, run.last))
        self._writer.close()

    def sync(self) -> None:
        """Make the bytes durable; nothing can be written afterwards."""
        os.fsync(self._file.fileno())
        self._file.close()

    def throw_away(self) -> None:
        """Close it, whatever state it is in, and remove it unless it has its final name."""
        with suppress(OSError, pa.ArrowException):  # a full disk: all is closed and removed nevertheless
            self._undo.close()


@dataclass
class Run:
    """Tables in offset order, as row groups. `first` and `last` are offsets, `date` the folder, `opened_s` a monotonic
    time, `written_s` the seconds that went into its file."""

    topic: Topic
    partition: int
    date: str
    first: int
    last: int
    opened_s: float = field(default_factory=time.monotonic)
    groups: list[list[pa.Table]] = field(default_factory=list)  # all but the last hold ROW_GROUP_ROWS
    rows: int = 0
    size_bytes: int = 0
    written_s: float = 0.0
    file: RunFile | None = None  # what is written of it
    is_renaming: bool = False  # a try came as far as the rename: the file may have its name

    def append(self, table: pa.Table, last: int) -> None:
        """Continue the run; the caller has checked that it does continue it."""
        at = 0
        while at < table.num_rows:
            filled = self.rows % ROW_GROUP_ROWS
            if filled == 0:
                self.groups.append([])
            part = table.slice(at, ROW_GROUP_ROWS - filled)
            self.groups[-1].append(part)
            self.rows += part.num_rows
            at += part.num_rows
        self.size_bytes += table.nbytes
        self.last = last

    @property
    def whole_groups(self) -> int:
        """The row groups that nothing can be added to."""
        return self.rows // ROW_GROUP_ROWS

    @property
    def has_unwritten_group(self) -> bool:
        """A whole row group is not in the file yet."""
        return self.whole_groups > (self.file.groups if self.file else 0)

    def forget_file(self) -> None:
        """Throw away what is written; the next try begins anew. Blocking."""
        written, self.file = self.file, None
        if written is not None:
            written.throw_away()


def write_whole_groups(root: Path, run: Run, on_step: Step) -> None:
    """Bring the whole row groups of a run into its temp file. Blocking; the run may grow meanwhile.

    Raises:
        SinkUnavailable: the disk refuses (full, read-only).
    """
    with _all_or_nothing(root, run) as folder:
        _write_groups(folder, run, run.whole_groups, on_step)


def finish_run(root: Path, run: Run, on_step: Step) -> int:
    """Make the run final on disk and return the bytes of its file: temp file, fsync, rename, fsync of the folder.

    Blocking; the run must not grow any more. The folder is listed again under the partition's lock: a worker that lost
    the partition without noticing must not write beside its successor.

    Raises:
        SinkUnavailable: the disk refuses (full, read-only).
        Fatal: another worker has written meanwhile.
    """
    with _all_or_nothing(root, run) as folder:
        written = _write_groups(folder, run, len(run.groups), on_step)
        written.end(run)
        on_step("file written")
        written.sync()
        on_step("file synced")
        final = folder / f"{run.first}-{run.last}.parquet"
        with files.partition_lock(root, run.topic.name, run.partition):
            on_disk = files.next_offset_on_disk(root, run.topic.name, run.partition) or 0
            if run.is_renaming and on_disk == run.last + 1 and final.exists():
                files.fsync_folder(folder)  # what failed after the rename
            elif on_disk != run.first:
                # Fatal, not unavailable: no second try can succeed, and a restart asks the disk where it ends.
                raise Fatal(
                    f"{final}: expected the archive to end at {run.first}, was {on_disk}: another worker writes here"
                )
            else:
                run.is_renaming = True
                files.publish(written.path, final, on_step)
        run.forget_file()
        return final.stat().st_size


def _write_groups(folder: Path, run: Run, groups: int, on_step: Step) -> RunFile:
    """The run's file with its first `groups` row groups in it."""
    written = run.file
    if written is None:
        files.make_folders(folder)
        on_step("folder made")
        written = run.file = RunFile(folder, run)
    for group in run.groups[written.groups : groups]:
        written.append(group)
        on_step("row group written")
    return written


@contextmanager
def _all_or_nothing(root: Path, run: Run) -> Iterator[Path]:
    """The run's folder. After any error the temp file is thrown away, and the next try begins anew."""
    folder = root / run.topic.name / run.date / f"p={run.partition}"
    begun_s = time.monotonic()
    try:
        yield folder
        run.written_s += time.monotonic() - begun_s
    except BaseException as wrong:
        run.forget_file()
        if isinstance(wrong, OSError):
            raise SinkUnavailable(f"parquet: {folder}: {wrong.strerror or wrong}") from wrong
        raise


def origin(topic: Topic, partition: int, first: int, last: int) -> dict[str, str]:
    """What a file says of itself beside its columns."""
    return {
        "kalshi_streams.topic": topic.name,
        "kalshi_streams.partition": str(partition),
        "kalshi_streams.first_offset": str(first),
        "kalshi_streams.last_offset": str(last),
    }


def parquet_writer(file: object, topic: Topic) -> pq.ParquetWriter:
    """A writer of a topic's columns into an open file."""
    columns = topic_columns(topic)
    names = set(columns.schema.names)
    encodings = {name: "DELTA_BINARY_PACKED" for name in COUNTED if name in names}
    encodings |= dict.fromkeys(PREFIX_TEXT, "DELTA_BYTE_ARRAY")
    dictionaries = [name for name in columns.schema.names if name not in encodings and name not in PLAIN_TEXT]
    return pq.ParquetWriter(
        file,
        columns.schema,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=_leaves(columns.schema, dictionaries),
        column_encoding=encodings,
        write_statistics=_leaves(columns.schema, [name for name in columns.schema.names if name not in NO_STATISTICS]),
        write_page_index=True,
    )


def _leaves(schema: pa.Schema, names: list[str]) -> list[str]:
    """The Parquet paths of columns: options go by leaf, and a list's leaf has a longer name."""
    paths = []
    for name in names:
        kind, path = schema.field(name).type, name
        while pa.types.is_list(kind):
            kind, path = kind.value_type, f"{path}.list.element"
        if pa.types.is_struct(kind):
            continue
        paths.append(path)
    return paths
