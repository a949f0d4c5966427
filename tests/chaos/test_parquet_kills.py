"""The long form: a hundred kills at random steps; the archive equals the topic at the end."""

import os
import random
from pathlib import Path

import pytest
from book_chaos import assert_refusals_told, run_with_kills
from book_topic import TOPIC, make_book_topic

from sinks.parquet.reader import iter_records

KILLS = int(os.environ.get("CHAOS_KILLS", "100"))
COUNT = 400 * KILLS  # enough records that the writer does not come to its end before the kills do


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_hundred_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """kill -9 at random steps: same values, same offsets, each refusal told."""
    rng = random.Random(101)

    kills = run_with_kills("parquet", tmp_path, 42, COUNT, (rng.randint(1, 12) for _ in range(KILLS)))

    assert kills == KILLS
    got = [(archived.offset, archived.value) for archived in iter_records(tmp_path / "parquet", TOPIC)]
    assert got == [(record.offset, record.value) for record in make_book_topic(42, COUNT)]
    assert_refusals_told(tmp_path, 42, COUNT)
