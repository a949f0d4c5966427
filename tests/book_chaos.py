"""Runs the writer of `book_topic` in processes of its own, kills included."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from book_topic import make_book_topic

SCRIPT = Path(__file__).parent / "book_topic.py"
ROOT = Path(__file__).parent.parent
RUN_S_MAX = 120


def run_with_kills(kind: str, folder: Path, seed: int, count: int, kill_steps: Iterable[int]) -> int:
    """One process per kill, then one that may finish. Returns how many were killed."""
    kills = 0
    for kill_at in kill_steps:
        code = _run(kind, folder, seed, count, kill_at)
        if code == 0:
            break
        assert code == -9, f"expected a kill or a clean end, was exit code {code}"
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
