"""Runs the writer of `postgres_topic` in processes of its own, kills included, and compares store and topic."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import psycopg
from postgres_topic import TOPIC, dead_letters, expected_of, make_topic, stored_of

SCRIPT = Path(__file__).parent / "postgres_topic.py"
ROOT = Path(__file__).parent.parent
RUN_S_MAX = 120


def run_until_finished(dsn: str, seed: int, count: int, folder: Path, kill_steps: Iterable[int]) -> int:
    """One process per kill, then one that may finish. Returns how many were killed."""
    kills = 0
    for kill_at in kill_steps:
        code = _run(dsn, seed, count, folder, kill_at)
        if code == 0:
            break
        assert code == -9, f"expected a kill or a clean end, was exit code {code}"
        kills += 1
    assert _run(dsn, seed, count, folder, 0) == 0
    assert (folder / "finished").exists()
    return kills


def _run(dsn: str, seed: int, count: int, folder: Path, kill_at: int) -> int:
    command = [sys.executable, str(SCRIPT), dsn, str(seed), str(count), str(folder), str(kill_at)]
    return subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, timeout=RUN_S_MAX, check=False).returncode


def assert_store_equals_topic(dsn: str, seed: int, count: int, folder: Path) -> None:
    """Every row once, every projection the latest, every refusal a dead letter, offsets at the end, no holes."""
    for partition in (0, 1):
        expected = expected_of(make_topic(seed, count, partition))
        stored = stored_of(dsn, partition)
        assert stored.rows == expected.rows
        assert stored.latest == expected.latest
        assert dead_letters(folder, partition) == expected.refused
    with psycopg.connect(dsn) as connection:
        offsets = connection.execute("select topic, partition, next_offset from sink_offsets order by partition")
        assert offsets.fetchall() == [(TOPIC, 0, count), (TOPIC, 1, count)]
        assert connection.execute("select count(*) from sink_holes").fetchone() == (0,)
