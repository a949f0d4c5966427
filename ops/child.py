"""What `up` runs and watches: child processes of ours, and the engines behind the same face."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ops.engines.kafka import last_line
from ops.polling import until

T = TypeVar("T")

STOP_S_MAX = 45.0  # a sink's last batch against a slow store takes seconds; after this a stop is not clean
LOG_BYTES_MAX = 32 << 20  # of one log; the one before is kept beside it, so a component writes 64 MiB at most
ENGINE_WATCH_S = 0.5


class Component(Protocol):
    """Something that is started, watched and stopped under a name."""

    name: str
    #: Without it there is nothing to run for: its storm of deaths ends `up`. Another one stays down, and is said to.
    essential: bool

    async def start(self) -> None:
        """Start it (an engine: until it answers). Raises KalshiStreamsError when that fails."""

    async def wait(self) -> int:
        """Wait until it ends; its exit code, negative for a signal."""

    async def stop(self) -> str | None:
        """Ask it to stop, and end it by force after a deadline. None when it ended cleanly, else what happened."""

    async def kill(self) -> None:
        """End it at once."""

    def last_words(self) -> str:
        """The last line it said, for a message of one line."""


@dataclass
class Child:
    """A child process of ours; output goes to `log_file`, one process group of its own."""

    name: str
    argv: list[str]
    environment: dict[str, str]
    log_file: Path
    stop_s_max: float = STOP_S_MAX
    essential: bool = True
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    async def start(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        bound_log(self.log_file)
        with self.log_file.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | self.environment,
                # Ctrl-C at the terminal must reach `up` alone: it stops its children in order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self.process.pid if self.process is not None and self.process.returncode is None else None

    async def wait(self) -> int:
        if self.process is None:
            return 0
        return await self.process.wait()

    async def stop(self) -> str | None:
        if self.process is None:
            return None
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.terminate()
        try:
            async with asyncio.timeout(self.stop_s_max):
                code = await self.process.wait()
        except TimeoutError:
            await self.kill()
            return f"still ran after {self.stop_s_max:g} s and was killed"
        return None if code in (0, -signal.SIGTERM) else describe_exit(code)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    def last_words(self) -> str:
        return last_line(self.log_file)


class Engine(Protocol):
    """An embedded engine: methods block."""

    name: str

    @property
    def log_file(self) -> Path: ...

    @property
    def pid(self) -> int | None: ...

    @property
    def exit_code(self) -> int: ...

    def start(self) -> None: ...

    def stop(self) -> Any: ...


class EngineComponent:
    """An engine behind the face of a component; its blocking calls run in threads of their own."""

    essential = True

    def __init__(self, engine: Engine, kill: Callable[[], None] | None = None) -> None:
        """`kill` ends it at once (default: its ordinary, fast stop)."""
        self.engine = engine
        self.name = engine.name
        self._kill = kill or engine.stop
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._starting = asyncio.ensure_future(in_thread(self.engine.start))
        await asyncio.shield(self._starting)

    async def wait(self) -> int:
        await until(self._ended, float("inf"), ENGINE_WATCH_S)
        return self.engine.exit_code

    async def _ended(self) -> bool:
        return self.engine.pid is None

    async def stop(self) -> str | None:
        await self._started()
        return "did not stop in time and was killed" if await in_thread(self.engine.stop) is False else None

    async def kill(self) -> None:
        await in_thread(self._kill)

    async def _started(self) -> None:
        # Ctrl-C while it starts: a process that is only just being made could not be found and stopped.
        if self._starting is not None:
            with suppress(Exception):
                await self._starting

    def last_words(self) -> str:
        return f"{last_line(self.engine.log_file)}; see {self.engine.log_file}"


def in_thread(work: Callable[[], T]) -> Awaitable[T]:
    """Run blocking work in a daemon thread: unlike the loop's executor it does not hold up the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, wrong: BaseException | None) -> None:
        if not future.cancelled():
            future.set_exception(wrong) if wrong else future.set_result(value)  # type: ignore[arg-type]

    def run() -> None:
        value, failure = None, None
        try:
            value = work()
        except BaseException as wrong:
            failure = wrong
        with suppress(RuntimeError):  # the loop is gone: nobody waits any more
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=run, daemon=True).start()
    return future


def bound_log(path: Path) -> None:
    """Move a log that is too long to `<name>.1`. Safe while a child writes: it appends, so it goes on at the start. The
    one kept before goes when the new one is whole: a full disk must not cost both."""
    whole = path.with_suffix(".log.tmp")
    with suppress(OSError):
        if path.stat().st_size <= LOG_BYTES_MAX:
            return
        try:
            with path.open("rb+") as log, whole.open("wb") as kept:
                while chunk := log.read(1 << 20):
                    kept.write(chunk)
                kept.flush()
                whole.replace(path.with_suffix(".log.1"))
                log.truncate(0)
        finally:
            whole.unlink(missing_ok=True)


def describe_exit(code: int) -> str:
    """'ended with code 1', 'killed by SIGKILL'."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
