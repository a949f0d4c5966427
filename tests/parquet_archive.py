"""What the tests of the Parquet sink share: a sink on a folder, and what the folder holds."""

import os
from pathlib import Path
from typing import Any

from book_topic import PARTITION, TOPIC

from sinks.parquet import files
from sinks.parquet.reader import iter_records
from sinks.parquet.run import Step
from sinks.parquet.sink import ParquetSink, Rotation

BIG = Rotation(1_000_000, 1 << 30, 3_600.0)
GROUP_ROWS = 100  # rows of a row group in these tests, so that small runs have several


def _no_step(_name: str) -> None:
    """Nothing happens there."""


async def opened(root: Path, rotation: Rotation = BIG, on_step: Step = _no_step) -> ParquetSink:
    """A started sink with the partition assigned."""
    sink = ParquetSink(root, rotation, on_step)
    await sink.start()
    await sink.assign(TOPIC, PARTITION)
    return sink


def names(root: Path) -> list[str]:
    """All file names of the partition in offset order."""
    return [span.path.name for span in files.list_spans(root, TOPIC, PARTITION)]


def assert_archive_equals(root: Path, records: list[Any]) -> None:
    """The archive gives back the same values and keys at the same offsets."""
    got = [(archived.offset, archived.key, archived.value) for archived in iter_records(root, TOPIC)]
    assert got == [(record.offset, record.key, record.value) for record in records]


def assert_nothing_half_written(root: Path) -> None:
    """No temp file is there, and none is open."""
    assert not list(root.rglob(".*.tmp"))
    descriptors = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert not [target for target in descriptors if target.startswith(str(root)) and ".tmp" in target]
