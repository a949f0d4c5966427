"""One data directory: where everything lies, who may use it, and what an earlier run left behind in it.

The lock is the kernel's (flock), so it cannot be stale: it ends with its process, however that ends. What can be left
are children of a run that was killed; each carries the directory's path in its environment and is found by that, never
by a stored process id that may meanwhile belong to somebody else.
"""

import fcntl
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

from domain.errors import UserMistake

MARK_DIR = "KALSHI_STREAMS_RUN_DIR"
MARK_COMPONENT = "KALSHI_STREAMS_COMPONENT"
LEFTOVER_TERM_S_MAX = 20.0  # Kafka writes out its index files on SIGTERM; then SIGKILL
FOLDERS = ("kafka", "postgres", "clickhouse", "parquet", "faust", "raw", "logs", "run")


class DataDir:
    """The layout of the data directory, and the lock on it."""

    def __init__(self, root: Path) -> None:
        """`root` need not exist yet; `prepare` makes it."""
        self.root = root.expanduser().resolve()
        self._lock: IO[str] | None = None

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    @property
    def endpoints_file(self) -> Path:
        """Every address in use, JSON, mode 0600 (it holds the Postgres DSN)."""
        return self.root / "run" / "endpoints.json"

    def log_file(self, component: str) -> Path:
        """Where a component's output goes."""
        return self.root / "logs" / f"{component}.log"

    def prepare(self) -> None:
        """Make the folders. Raises UserMistake when one cannot be made or written."""
        try:
            for folder in FOLDERS:
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            probe = self.root / "run" / f"probe.{os.getpid()}"
            probe.write_text("x")
            probe.unlink()
        except OSError as wrong:
            raise UserMistake(f"--data-dir: expected a writable directory, was {self.root}: {wrong.strerror}") from None

    def lock(self, command: str) -> None:
        """Take the directory for this process, until it ends or `unlock`.

        Raises:
            UserMistake: another live process has it; its id and command are named.
        """
        lock = (self.root / "run" / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = " ".join(lock.read().split()) or "another process"
            lock.close()
            raise UserMistake(f"--data-dir: expected {self.root} to be free, was in use by {holder}") from None
        lock.truncate(0)
        lock.write(f"`kalshi-streams {command}` (pid {os.getpid()})\n")
        lock.flush()
        self._lock = lock

    def unlock(self) -> None:
        """Give the directory back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def in_use(self) -> bool:
        """Whether a live process holds the lock."""
        try:
            with (self.root / "run" / "lock").open("a+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def marks(self, component: str) -> dict[str, str]:
        """Environment by which a later run recognises a child of this one."""
        return {MARK_DIR: str(self.root), MARK_COMPONENT: component}

    def children(self) -> dict[int, str]:
        """Process id -> component, of every live process that was started for this directory (not ourselves)."""
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                environment = process.environ()
                if environment.get(MARK_DIR) != str(self.root) or process.pid == os.getpid():
                    continue
                if process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = environment.get(MARK_COMPONENT, "?")
        return found

    def end_leftovers(self) -> list[str]:
        """End the children of an earlier run that died; call it with the lock held. Returns what was ended."""
        leftovers = self.children()
        for pid in leftovers:
            _signal(pid, signal.SIGCONT)
            _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + LEFTOVER_TERM_S_MAX
        while (left := self.children()) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in left:
            _signal(pid, signal.SIGKILL)
        return [f"{component} (pid {pid})" for pid, component in leftovers.items()]

    def write_endpoints(self, endpoints: dict[str, str | None]) -> None:
        """Replace the endpoints file as a whole; readers never see half of it."""
        temporary = self.endpoints_file.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            json.dump(endpoints, file, indent=2)
            file.write("\n")
        temporary.replace(self.endpoints_file)

    def read_endpoints(self) -> dict[str, Any]:
        """The addresses of the running `up` or stack; empty when there is none."""
        try:
            answer = json.loads(self.endpoints_file.read_text())
        except (OSError, ValueError):
            return {}
        return answer if isinstance(answer, dict) else {}


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
