"""`stack`: engines that outlive their command, are shown, protect their directory and are ended by name."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.settings import Settings
from ops.data_dir import DataDir
from ops.engines.kafka import KafkaEngine
from ops.engines.postgres import PostgresEngine, postgres_answers
from ops.polling import until
from ops.ports import free_ports
from ops.stack import running_engines, stop_stack
from ops.supervisor import RestartPolicy, Supervisor

pytestmark = pytest.mark.engines


def _settings(folder: Path) -> Settings:
    return Settings(_env_file=None, data_dir=folder)


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `kalshi-streams` on this test's directory."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BUS_", "PG_"))}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "ops.cli", *arguments, "--data-dir", str(tmp_path / "data")]
        return subprocess.run(argv, check=False, capture_output=True, text=True, env=clean, cwd=tmp_path, timeout=200)

    return run


def test_stack_is_started_shown_protected_used_and_stopped(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The engines run on after `stack start`; `up` and a second start are refused; `stack stop` ends them."""
    data = DataDir(tmp_path / "data")
    try:
        started = command("stack", "start")
        status = command("stack", "status")
        again = command("stack", "start")
        up = command("up")
        known = data.read_endpoints()
        with running_engines(_settings(data.root), data.root) as settings:
            used = settings.bus_url
            dsn = settings.pg_dsn.get_secret_value() if settings.pg_dsn else ""
            answered = postgres_answers(dsn)
        stopped = command("stack", "stop")
    finally:
        left = stop_stack(data)

    assert started.returncode == 0, started.stderr
    assert f"BUS_URL={known['bus_url']}" in started.stdout
    assert "stack.kafka" in status.stdout
    assert (again.returncode, up.returncode) == (2, 2)
    assert "end them with `stack stop` first" in up.stderr
    assert used == known["bus_url"]
    assert answered
    assert "ended postgres" in stopped.stdout
    assert left == []
    assert not postgres_answers(dsn)


def test_engines_of_a_stopped_directory_run_only_for_the_block(tmp_path: Path) -> None:
    """A command that looks into a stopped directory starts what it needs and leaves nothing running."""
    data = DataDir(tmp_path / "data")
    data.prepare()
    data.write_endpoints({"bus_url": "127.0.0.1:1", "pg_dsn": "left by a killed run"})
    with running_engines(_settings(data.root), data.root) as settings:
        dsn = settings.pg_dsn.get_secret_value() if settings.pg_dsn else ""
        during = postgres_answers(dsn)
        kafka_runs = bool(data.children())

    assert during
    assert kafka_runs
    assert not postgres_answers(dsn)
    assert data.children() == {}


def test_pid_file_that_names_a_strangers_process_does_not_stop_postgres(tmp_path: Path) -> None:
    """After a crash the id in postmaster.pid may belong to anybody: it is neither trusted nor touched."""
    engine = PostgresEngine(tmp_path / "data")
    engine.start()
    pid = engine.pid
    assert pid is not None
    lines = (tmp_path / "data" / "postmaster.pid").read_text().splitlines()
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=30)
    (tmp_path / "data" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    again = PostgresEngine(tmp_path / "data")
    again.start()
    try:
        answers = again.answers()
    finally:
        again.stop()

    assert answers


async def test_killed_broker_is_started_again_on_its_port(tmp_path: Path) -> None:
    """An engine that dies is restarted like any other component."""
    from ops.child import EngineComponent, in_thread

    lines: list[str] = []
    engine = KafkaEngine(tmp_path / "kafka", tmp_path / "kafka.log", free_ports(1)[0])
    supervisor = Supervisor(lines.append, RestartPolicy())
    await supervisor.start(EngineComponent(engine, engine.kill9))
    first = engine.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)

    async def answers() -> bool:
        return engine.pid not in (None, first) and await in_thread(engine.answers)

    back = await until(answers, 90)
    unclean = await supervisor.stop("kafka")
    supervisor.close()

    assert back
    assert unclean == {}
    assert lines == ["kafka: killed by SIGKILL; restarting in 0 s"]
