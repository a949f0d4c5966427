"""The long form: a hundred kills and more, at steps and at any time; the archive equals the topic after each series."""

from pathlib import Path

import pytest
from book_chaos import run_series_of_kills
from book_topic import TOPIC, make_book_topic

from sinks.parquet.reader import iter_records

STEPS_MAX = 20
MS_MAX = 150


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_many_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """kill -9: same values, same offsets, each refusal told."""
    run_series_of_kills("parquet", tmp_path, STEPS_MAX, MS_MAX, assert_archive_equals)


def assert_archive_equals(folder: Path, seed: int, count: int) -> None:
    """The archive gives back the topic."""
    got = [(archived.offset, archived.value) for archived in iter_records(folder / "parquet", TOPIC)]
    assert got == [(record.offset, record.value) for record in make_book_topic(seed, count)]
