"""Run pip and say how far it is: a minute of silence looks like a hang.

Runs before anything is installed, so the standard library only: `python ops/install_progress.py LOCK PIP-ARGUMENTS..`.
On a terminal one line that counts, elsewhere a line for each tenth package. What pip says is shown when it fails.
"""

import re
import subprocess
import sys
from collections import deque
from pathlib import Path

STEP = 10  # packages between two lines where there is no terminal
TAIL_LINES = 30  # of what pip said, shown when it fails
_NAMED = re.compile(r"Collecting ([A-Za-z0-9_.-]+)")


def main(lock: Path, pip: list[str]) -> int:
    """pip's exit code."""
    total = sum(1 for line in lock.read_text().splitlines() if re.match(r"[A-Za-z0-9]", line))
    say(f"installing {total} packages into .venv (about a minute; only the first time and after an update)\n")
    seen, said = 0, deque[str](maxlen=TAIL_LINES)
    command = [sys.executable, "-m", "pip", "install", *pip]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            said.append(line)
            named = _NAMED.match(line)
            if named:
                seen += 1
                step(f"fetching {min(seen, total)} of {total}: {named[1]}", seen)
            elif line.startswith("Installing collected packages"):
                step(f"unpacking {total} packages", 0)
    if sys.stdout.isatty():
        say("\r\033[K")
    say("installed\n" if running.returncode == 0 else "".join(said))
    return running.returncode


def step(text: str, count: int) -> None:
    """The present state: one line on a terminal, else a line now and then."""
    if sys.stdout.isatty():
        say(f"\r\033[K  {text}")
    elif count % STEP == 0:
        say(f"  {text}\n")


def say(text: str) -> None:
    """To the terminal at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
