"""The long form: a hundred kills at random steps; ClickHouse equals the topic at the end."""

import os
import random
from pathlib import Path

import pytest
from book_chaos import assert_refusals_told, run_with_kills
from book_store import check_in_own_process

KILLS = int(os.environ.get("CHAOS_KILLS", "100"))
COUNT = 300 * KILLS  # enough records that the writer does not come to its end before the kills do


@pytest.mark.slow
@pytest.mark.engines
@pytest.mark.timeout(3_600)
def test_a_hundred_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """kill -9 at random steps: every event once, levels equal to the book, each refusal told."""
    rng = random.Random(102)

    kills = run_with_kills("clickhouse", tmp_path, 43, COUNT, (rng.randint(1, 5) for _ in range(KILLS)))

    assert kills == KILLS
    check_in_own_process(tmp_path, 43, COUNT)
    assert_refusals_told(tmp_path, 43, COUNT)
