"""kill -9 of the writer before every step of the sink, real Postgres: the store ends equal to the topic."""

from collections.abc import Callable
from pathlib import Path

import pytest
from postgres_chaos import assert_store_equals_topic, run_until_finished

from ops.migrate import migrate_postgres


@pytest.mark.engines
def test_writer_killed_before_each_of_its_first_steps_loses_and_doubles_nothing(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    """Eleven kills, one step later each time (several steps apart once all kinds were met), then a run to the end."""
    dsn = new_database()
    migrate_postgres(dsn)

    kills = run_until_finished(
        dsn, seed=5, count=1_500, folder=tmp_path, kill_steps=[3, 5, 7, 9, 10, 11, 12, 13, 14, 29, 40]
    )

    assert kills == 11
    assert_store_equals_topic(dsn, seed=5, count=1_500, folder=tmp_path)
