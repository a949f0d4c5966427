"""Supervision, with small real child processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from domain.errors import UserMistake
from ops.child import LOG_BYTES_MAX, Child, bound_log
from ops.polling import until
from ops.supervisor import RestartPolicy, RestartStorm, Supervisor

SLEEPER = "import time, sys; print('up', flush=True); time.sleep(600)"
POLICY = RestartPolicy(restarts_max=3, window_s=60, backoff_s=0.01, backoff_s_max=0.02)
WAIT_S = 90.0


def _child(folder: Path, code: str, name: str = "worker", stop_s_max: float = 20.0) -> Child:
    return Child(name, [sys.executable, "-c", code], {}, folder / f"{name}.log", stop_s_max)


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    """A supervisor whose lines are kept in `.lines`; everything it started is killed at the end."""
    lines: list[str] = []
    one = Supervisor(lines.append, POLICY)
    one.lines = lines  # type: ignore[attr-defined]
    yield one
    await one.kill_all()
    one.close()


async def _until_said(child: Child, text: str) -> None:
    async def said() -> bool:
        return child.log_file.exists() and text in child.log_file.read_text()

    assert await until(said, WAIT_S)


async def test_killed_child_is_restarted_and_said(supervisor: Supervisor, tmp_path: Path) -> None:
    """After kill -9 the child runs again under another process id, and one line says so."""
    child = _child(tmp_path, SLEEPER)
    await supervisor.start(child)
    await _until_said(child, "up")
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)

    async def again() -> bool:
        return child.pid not in (None, first)

    assert await until(again, WAIT_S)
    assert supervisor.restarts == {"worker": 1}
    assert supervisor.lines == ["worker: killed by SIGKILL; restarting in 0 s"]  # type: ignore[attr-defined]


async def test_restart_storm_ends_the_run_with_one_line(supervisor: Supervisor, tmp_path: Path) -> None:
    """A child that dies at once is restarted a bounded number of times; then the run fails with its last words."""
    await supervisor.start(_child(tmp_path, "print('cannot work'); raise SystemExit(1)"))
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(
            RestartStorm, match=r"worker: died 4 times in 60 s, last: ended with code 1 \(cannot work\)"
        ):
            await supervisor.failure()

    assert supervisor.restarts == {"worker": 3}


async def test_user_mistake_in_a_child_ends_the_run_with_its_line(supervisor: Supervisor, tmp_path: Path) -> None:
    """Exit code 2 is not restarted: the child's last line becomes the run's."""
    await supervisor.start(_child(tmp_path, "print('PROD_KEYID: expected a key'); raise SystemExit(2)"))
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(UserMistake, match=r"^PROD_KEYID: expected a key$"):
            await supervisor.failure()

    assert supervisor.restarts == {}


async def test_what_has_worked_before_dies_of_code_2_like_of_any_other(tmp_path: Path) -> None:
    """A venue that answers 401 for a minute, at a restart in the night, must not end the recording at once."""
    supervisor = Supervisor(lambda line: None, RestartPolicy(3, 60, 0.01, 0.02, proven_s=0.0))
    try:
        await supervisor.start(_child(tmp_path, "print('the venue answers 401'); raise SystemExit(2)"))
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(RestartStorm, match=r"died 4 times .* code 2 \(the venue answers 401\)"):
                await supervisor.failure()
    finally:
        await supervisor.kill_all()
        supervisor.close()


async def test_restart_that_meets_a_full_disk_is_tried_again(supervisor: Supervisor, tmp_path: Path) -> None:
    """Its watcher ended with the error, and the component stayed down for ever without a word."""
    child, starts = _child(tmp_path, SLEEPER), 0
    start = child.start

    async def start_on_a_full_disk() -> None:
        nonlocal starts
        starts += 1
        if starts == 2:
            raise OSError(28, "No space left on device")
        await start()

    child.start = start_on_a_full_disk  # type: ignore[method-assign]
    await supervisor.start(child)
    await _until_said(child, "up")
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)

    async def again() -> bool:
        return starts == 3 and child.pid not in (None, first)

    assert await until(again, WAIT_S)
    assert "No space left on device" in supervisor.lines[-1]  # type: ignore[attr-defined]


async def test_stop_waits_for_a_clean_end_and_does_not_restart(supervisor: Supervisor, tmp_path: Path) -> None:
    """A child that handles SIGTERM ends cleanly, and stays ended."""
    code = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print('up', flush=True); time.sleep(600)"
    )
    child = _child(tmp_path, code)
    await supervisor.start(child)
    await _until_said(child, "up")

    assert await supervisor.stop("worker") == {}
    assert child.pid is None
    assert supervisor.restarts == {}


async def test_stop_kills_what_ignores_it_and_says_so(supervisor: Supervisor, tmp_path: Path) -> None:
    """A child that ignores SIGTERM is killed after its deadline and reported as not clean."""
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    child = _child(tmp_path, code, stop_s_max=0.3)
    await supervisor.start(child)
    await _until_said(child, "up")

    assert await supervisor.stop("worker") == {"worker": "still ran after 0.3 s and was killed"}
    assert child.pid is None


async def test_stopped_child_in_backoff_stays_down(supervisor: Supervisor, tmp_path: Path) -> None:
    """A stop during the wait before a restart cancels the restart; how it had ended is reported."""
    child = _child(tmp_path, "raise SystemExit(7)")
    await supervisor.start(child)

    async def died() -> bool:
        return bool(supervisor.restarts)

    assert await until(died, WAIT_S)
    assert set(await supervisor.stop("worker")) <= {"worker"}
    assert child.pid is None


def test_backoff_is_immediate_once_then_doubles_to_its_bound() -> None:
    """The first restart does not wait; later ones double up to the bound."""
    policy = RestartPolicy()

    assert [policy.delay_s(n) for n in (1, 2, 3, 4, 8, 10)] == [0.0, 0.25, 0.5, 1.0, 10.0, 10.0]


def test_log_is_moved_when_too_long_and_the_writer_goes_on(tmp_path: Path) -> None:
    """A log beyond its bound is kept beside; an appending writer continues in the emptied file."""
    log = tmp_path / "worker.log"
    with log.open("ab") as writer:
        writer.truncate(LOG_BYTES_MAX + 1)
        bound_log(log)
        writer.write(b"after\n")

    assert log.read_bytes() == b"after\n"
    assert (tmp_path / "worker.log.1").stat().st_size == LOG_BYTES_MAX + 1


def test_full_disk_costs_neither_the_log_nor_the_one_kept_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept one was emptied first, and what it should hold could not be written."""
    log, kept = tmp_path / "worker.log", tmp_path / "worker.log.1"
    log.write_bytes(b"new" * 10)
    kept.write_bytes(b"before")
    monkeypatch.setattr("ops.child.LOG_BYTES_MAX", 10)
    opened = Path.open

    def open_on_a_full_disk(path: Path, mode: str = "r") -> Any:
        file = opened(path, mode)
        if mode == "wb":
            monkeypatch.setattr(path.__class__, "open", opened)
            os.dup2(os.open("/dev/full", os.O_WRONLY), file.fileno())
        return file

    monkeypatch.setattr(Path, "open", open_on_a_full_disk)
    bound_log(log)
    monkeypatch.setattr(Path, "open", opened)
    assert (log.read_bytes(), kept.read_bytes()) == (b"new" * 10, b"before")
    assert sorted(tmp_path.iterdir()) == [log, kept]


async def test_storm_of_what_is_not_essential_keeps_it_down_and_the_rest_running(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """An account that cannot be read must not end the recording of books."""
    books, account = _child(tmp_path, SLEEPER, "books"), _child(tmp_path, "raise SystemExit(1)", "account")
    account.essential = False
    await supervisor.start(books)
    await supervisor.start(account)

    async def given_up() -> bool:
        return "account" in supervisor.down

    assert await until(given_up, WAIT_S)
    assert "died 4 times" in supervisor.down["account"]
    assert supervisor.lines[-1].startswith("account stays down: ")  # type: ignore[attr-defined]
    assert books.pid is not None
    assert not supervisor._failed.done()


async def test_mistake_in_what_is_not_essential_keeps_it_down_with_its_line(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """A key that the venue revoked while the books go on."""
    account = _child(tmp_path, "print('PROD_KEYID: expected a key'); raise SystemExit(2)", "account")
    account.essential = False
    await supervisor.start(account)

    async def given_up() -> bool:
        return supervisor.down.get("account") == "PROD_KEYID: expected a key"

    assert await until(given_up, WAIT_S)
    assert supervisor.restarts == {}
