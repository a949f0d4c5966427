"""Runs the writer of `book_topic` in processes of its own, kills included."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from book_topic import make_book_topic

SCRIPT = Path(__file__).parent / "book_topic.py"
ROOT = Path(__file__).parent.parent
RUN_S_MAX = 120
KILLS = max(100, int(os.environ.get("CHAOS_KILLS", "200")))
SERIES_KILLS = 25
SERIES_RECORDS = 6_000


def run_with_kills(kind: str, folder: Path, seed: int, count: int, kill_steps: Iterable[int]) -> int:
    """One process per kill (`book_topic.KillAt`), then one that may finish. Returns how many were killed."""
    kills = 0
    for kill_at in kill_steps:
        code = _run(kind, folder, seed, count, kill_at)
        if code == 0:
            break
        assert code == (-signal.SIGKILL if kill_at > 0 else -signal.SIGALRM), f"expected a kill, was exit code {code}"
        kills += 1
    assert _run(kind, folder, seed, count, 0) == 0
    assert (folder / "finished").exists()
    return kills


def _run(kind: str, folder: Path, seed: int, count: int, kill_at: int) -> int:
    command = [sys.executable, str(SCRIPT), kind, str(folder), str(seed), str(count), str(kill_at)]
    return subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, timeout=RUN_S_MAX, check=False).returncode


def assert_refusals_told(folder: Path, seed: int, count: int) -> None:
    """Every record that is none was handed to the dead letters, at least once."""
    from schemas.registry import BOOK_UPDATES
    from sinks.rows import decode_records

    _, notes = decode_records(BOOK_UPDATES, make_book_topic(seed, count))
    told = {int(line) for line in (folder / "refused").read_text().split()}
    assert told == {note.record.offset for note in notes}


def run_series_of_kills(
    kind: str, folder: Path, steps_max: int, ms_max: int, check: Callable[[Path, int, int], None]
) -> None:
    """At least CHAOS_KILLS kills, half of them at random steps and half at random times; every few of them the writer
    comes to its end, and `check(folder, seed, count)` compares the store with the topic."""
    rng = random.Random(int(os.environ.get("CHAOS_SEED", "1")))
    kills, series = {"step": 0, "time": 0}, 0
    while sum(kills.values()) < KILLS:
        series += 1
        own = folder / str(series)
        own.mkdir()
        moments = [rng.choice([rng.randint(1, steps_max), -rng.randint(1, ms_max)]) for _ in range(SERIES_KILLS)]
        done = run_with_kills(kind, own, series, SERIES_RECORDS, moments)
        for moment in moments[:done]:
            kills["step" if moment > 0 else "time"] += 1
        check(own, series, SERIES_RECORDS)
        assert_refusals_told(own, series, SERIES_RECORDS)
        print(f"{kind}: kills {kills} in {series} series, store equal to the topic each time", flush=True)
