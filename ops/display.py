"""What `up` shows: a live list of steps on a terminal, plain lines anywhere else."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn

JARS_BYTES = 46 << 20  # what the first start of a machine fetches, about
PLAIN_STEP_BYTES = 10 << 20


class Display:
    """Steps by name, each with the text of its present state. Use it as a context while things start."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._started = time.monotonic()
        self._tasks: dict[str, TaskID] = {}
        self._texts: dict[str, str] = {}
        self._progress: Progress | None = None

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self._progress = Progress(
                SpinnerColumn(finished_text="[green]✓[/]"),
                TextColumn("{task.fields[name]:<16}"),
                TextColumn("{task.description}"),
                console=self.console,
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the display was made."""
        return time.monotonic() - self._started

    def say(self, line: str) -> None:
        """One line that stays."""
        # A reader that went away (`| head`) must not keep `up` from stopping its children in order.
        with suppress(BrokenPipeError):
            if self.console.is_terminal:
                self.console.print(escape(line))
            else:
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()

    def alarm(self, line: str) -> None:
        """One line that must not be overlooked: red on a terminal."""
        if self.console.is_terminal:
            with suppress(BrokenPipeError):
                self.console.print(f"[bold red]{escape(line)}[/]")
        else:
            self.say(line)

    def step(self, name: str, text: str, done: bool = False) -> None:
        """The present state of one step; in plain form a line whenever it changes."""
        if self._texts.get(name) == text:
            return
        self._texts[name] = text
        if self._progress is None:
            self.say(f"{name}: {text}")
            return
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task("", total=1, name=name)
        self._progress.update(self._tasks[name], description=escape(text), completed=1 if done else 0)

    def download(self, name: str) -> "Download":
        """Progress of a fetch of many files, of which only the rough sum is known."""
        return Download(self, name)


class Download:
    """Callable as jgo wants it: (file name, bytes) -> context that yields `advance(bytes)`."""

    def __init__(self, display: Display, name: str) -> None:
        self._display = display
        self._name = name
        self._done_bytes = 0
        self._said_bytes = 0

    @contextmanager
    def __call__(self, file_name: str, size_bytes: int) -> Iterator[Callable[[int], None]]:
        def advance(chunk_bytes: int) -> None:
            self._done_bytes += chunk_bytes
            if self._done_bytes - self._said_bytes >= self._granularity_bytes():
                self._said_bytes = self._done_bytes
                self._show()

        yield advance

    def _granularity_bytes(self) -> int:
        return (1 << 18) if self._display._progress is not None else PLAIN_STEP_BYTES

    def _show(self) -> None:
        done_mb, all_mb = self._done_bytes >> 20, max(JARS_BYTES, self._done_bytes) >> 20
        bar = ""
        if self._display._progress is not None:
            filled = min(30, 30 * self._done_bytes // JARS_BYTES)
            bar = "━" * filled + "─" * (30 - filled) + " "
        self._display.step(self._name, f"{bar}fetching Kafka, {done_mb} of about {all_mb} MB (first start only)")


def readiness_text(answer: tuple[int, dict[str, Any]], elapsed_s: float) -> tuple[str, bool]:
    """The text of a component's step from its /readyz, and whether that is the end of the step."""
    status, body = answer
    if status == 200:
        return f"ready after {elapsed_s:.1f} s", True
    restoring = {
        name: row for name, row in (body.get("restored") or {}).items() if float(row.get("percent", 100)) < 100
    }
    if restoring:
        records = sum(int(row.get("records", 0)) for row in restoring.values())
        percent = min(float(row.get("percent", 0)) for row in restoring.values())
        return f"restoring state: {records} records, {percent:.0f} %", False
    reasons = body.get("reasons") or ["starting"]
    return str(reasons[0])[:160], False


def missing_line(name: str, why: str, ready: list[str], log_file: Path) -> str:
    """What is said of a component that is not ready in time: why, and what runs without it."""
    hint = "; USE_ACCOUNT=false leaves the account out" if name == "producer-account" else ""
    return f"{name} is not ready and tries on: {why}; ready: {', '.join(ready) or 'none'}; see {log_file}{hint}"
