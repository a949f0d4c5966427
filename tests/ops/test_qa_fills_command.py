"""`kalshi-streams qa fills` as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from fill_stores import fill_postgres

from ops.engines.postgres import PostgresEngine

pytestmark = pytest.mark.engines


def test_the_command_says_it_with_its_exit_code(tmp_path: Path) -> None:
    """On a stopped data directory it starts what it needs and stops it again: 0 clean, 2 findings, 1 cannot tell."""
    own = PostgresEngine(tmp_path / "data" / "postgres")
    assert _command(tmp_path / "data") == (1, True), "no such directory"
    (tmp_path / "data" / "run").mkdir(parents=True)
    own.start()
    fill_postgres(own.dsn)
    own.stop()
    assert _command(tmp_path / "data", "postgres: uniqueness 100.00 %: 60 rows of 60 fills") == (0, True)
    own.start()
    with psycopg.connect(own.dsn) as connection:
        connection.execute("update events_fills set size = 0 where fill_id = 'f3'")
    own.stop()
    assert _command(tmp_path / "data", "FINDING postgres: zero size: expected 0 fills, were 1") == (2, True)
    assert not own.end_running(), "expected the Postgres that the command started to be stopped again"


def _command(data_dir: Path, words: str = "") -> tuple[int, bool]:
    """The exit code, and whether the words were printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PG_", "CLICKHOUSE_", "DATA_"))}
    command = [sys.executable, "-m", "ops.cli", "qa", "fills", "--data-dir", str(data_dir)]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, words in done.stdout
