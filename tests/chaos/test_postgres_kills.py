"""The long form: at least a hundred kill -9 of the Postgres writer, at random steps, one store per few kills."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from postgres_chaos import assert_store_equals_topic, run_until_finished

from ops.migrate import migrate_postgres

KILLS = max(100, int(os.environ.get("CHAOS_KILLS", "200")))
RECORDS = 3_000
STEPS_MAX = 160  # about a third of a run's steps, so that each store takes several kills before it is complete


@pytest.mark.slow
@pytest.mark.engines
@pytest.mark.timeout(7_200)
def test_store_equals_topic_after_every_series_of_kills(new_database: Callable[[], str], tmp_path: Path) -> None:
    """Whatever step each kill hits, the finished store holds each event once and each dead letter was sent."""
    rng = random.Random(20_260_123)
    kills, series = 0, 0
    while kills < KILLS:
        folder = tmp_path / str(series)
        folder.mkdir()
        dsn = new_database()
        migrate_postgres(dsn)
        steps = [rng.randint(1, STEPS_MAX) for _ in range(12)]

        kills += run_until_finished(dsn, seed=series, count=RECORDS, folder=folder, kill_steps=steps)

        assert_store_equals_topic(dsn, seed=series, count=RECORDS, folder=folder)
        series += 1
    print(f"{kills} kills in {series} series: each store equal to its topic")
