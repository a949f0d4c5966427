"""The long form: a hundred kills and more, at steps and at any time; ClickHouse equals the topic after each series."""

from pathlib import Path

import pytest
from book_chaos import run_series_of_kills
from book_store import check_in_own_process

STEPS_MAX = 5
MS_MAX = 900  # the writer needs about half of it until it writes: kills hit its start too


@pytest.mark.slow
@pytest.mark.engines
@pytest.mark.timeout(3_600)
def test_many_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """kill -9: every event once, levels equal to the book, each refusal told."""
    run_series_of_kills("clickhouse", tmp_path, STEPS_MAX, MS_MAX, check_in_own_process)
