"""The folder of one topic partition: file names are offsets, and their contiguity is the proof that nothing is missing.

    <root>/<topic>/date=YYYY-MM-DD/p=<partition>/<first>-<last>.parquet   records first..last, both included
    <root>/<topic>/date=YYYY-MM-DD/p=<partition>/_<first>-<last>.hole     offsets the log no longer had
    <root>/<topic>/date=YYYY-MM-DD/p=<partition>/.<first>.tmp             being written; worthless after a crash

Readers of whole folders (pyarrow, DuckDB, pandas) ignore names that start with `_` or `.`.
"""

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from domain.errors import UserMistake
from sinks.contract import SinkUnavailable

_NAME = re.compile(r"(?P<hole>_?)(?P<first>\d+)-(?P<last>\d+)\.(?P<ending>parquet|hole)\Z")
LISTINGS_MAX = 5  # of a partition, for one file or one seeming gap: compaction takes a listed file away once
LOCK_TIMEOUT_S = 10.0  # the lock is held for one rename; longer means a stopped process sits on it
LOCK_POLL_S = 0.05


@dataclass(frozen=True, order=True)
class Span:
    """Offsets `first` to `last`, both included, and the file that holds them (or says that they were gone)."""

    first: int
    last: int
    path: Path

    @property
    def is_hole(self) -> bool:
        return self.path.suffix == ".hole"


def date_folder(ts_ms: int) -> str:
    """`date=YYYY-MM-DD` of a time in ms (UTC), by integers only."""
    return f"date={datetime.fromtimestamp(ts_ms // 1000, UTC):%Y-%m-%d}"


def partitions_of(root: Path, topic: str) -> list[int]:
    """The partitions of a topic that have files."""
    found = {int(path.name[2:]) for path in (root / topic).glob("date=*/p=*") if path.name[2:].isdigit()}
    return sorted(found)


def all_spans(root: Path, topic: str, partition: int) -> list[Span]:
    """All files and holes of a partition in offset order, of nested ones the wider first."""
    spans = []
    for folder in (root / topic).glob(f"date=*/p={partition}"):
        for path in folder.iterdir():
            if match := _NAME.match(path.name):
                spans.append(Span(int(match["first"]), int(match["last"]), path))
    return sorted(spans, key=lambda span: (span.first, -span.last, span.is_hole))


def list_spans(root: Path, topic: str, partition: int) -> list[Span]:
    """The files and holes of a partition in offset order; a span that lies within a wider one is left out (after a
    compaction that died, both are there)."""
    widest: list[Span] = []
    for span in all_spans(root, topic, partition):
        if not widest or span.last > widest[-1].last:
            widest.append(span)
    return widest


def check_contiguous(spans: list[Span]) -> None:
    """Each span begins where the one before ended, the first at 0.

    Raises:
        UserMistake: an overlap or a gap, naming both files: data was removed, or two writers shared the folder.
    """
    expected = 0
    before: Span | None = None
    for span in spans:
        if span.first != expected:
            what = "overlap" if span.first < expected else "gap"
            after = f" after {before.path}" if before else ""
            raise UserMistake(f"{what} in the archive: expected offset {expected}{after}, was {span.path}")
        expected, before = span.last + 1, span


def contiguous_spans(root: Path, topic: str, partition: int) -> list[Span]:
    """`list_spans` without a gap or overlap. A merge may put files in and take others away while we list, so what looks
    like one is looked at again.

    Raises:
        UserMistake: it is still there.
    """
    listings = 0
    while True:
        spans = list_spans(root, topic, partition)
        listings += 1
        try:
            check_contiguous(spans)
            return spans
        except UserMistake:
            if listings == LISTINGS_MAX:
                raise


def next_offset_on_disk(root: Path, topic: str, partition: int) -> int | None:
    """Where the partition resumes: one past the highest offset that is final on disk, None when there is nothing yet.
    Raises as `contiguous_spans`."""
    spans = contiguous_spans(root, topic, partition)
    return spans[-1].last + 1 if spans else None


def remove_leftovers(root: Path, topic: str, partition: int) -> None:
    """Remove what a crash left half written."""
    for path in (root / topic).glob(f"date=*/p={partition}/.*.tmp"):
        path.unlink(missing_ok=True)


@contextmanager
def partition_lock(root: Path, topic: str, partition: int) -> Iterator[None]:
    """Held while a file becomes final, so that a zombie worker cannot slip one in between check and rename."""
    folder = root / topic
    make_folders(folder)
    descriptor = os.open(folder / f".p={partition}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SinkUnavailable(
                        f"{folder}: another process holds the lock of partition {partition}"
                    ) from None
                time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Create a folder and its parents, each name durable."""
    missing = [folder, *folder.parents]
    missing = missing[: next(i for i, path in enumerate(missing) if path.exists())]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        fsync_folder(path.parent)


def publish(temporary: Path, final: Path, on_step: Callable[[str], None]) -> None:
    """Rename a synced file to its name, durably."""
    temporary.rename(final)
    on_step("renamed")
    fsync_folder(final.parent)
    on_step("folder synced")


def record_hole(folder: Path, first: int, last: int, on_step: Callable[[str], None]) -> None:
    """Write down that offsets `first`..`last` were gone from the log when we came to them."""
    make_folders(folder)
    temporary, final = folder / f".{first}.tmp", folder / f"_{first}-{last}.hole"
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode({"first_offset": first, "last_offset": last, "reason": "not in the log"}))
        file.flush()
        os.fsync(file.fileno())
    on_step("hole written")
    publish(temporary, final, on_step)
