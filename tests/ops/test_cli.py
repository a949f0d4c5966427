"""The console script: exit codes, one line for mistakes, quick help."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("BUS_", "PG_", "KALSHI_"))}


def _run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=CLEAN | environment,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (("up", "--feed", "replay:/no/such.gz"), {}, "--feed replay: expected a readable capture"),
        (("up", "--until-drained"), {}, "--until-drained: expected a feed with an end"),
        (("up",), {"TOPIC_PARTITIONS": "none"}, "wrong setting: TOPIC_PARTITIONS"),
        (("up", "--data-dir", "/dev/null/x"), {}, "--data-dir: expected a writable directory"),
        (("topics", "check"), {}, "BUS_URL: expected host:port of Kafka, was not set"),
        (("topics", "apply"), {"BUS_URL": "127.0.0.1:1"}, "BUS_URL: no broker answered at 127.0.0.1:1"),
        (("replay",), {}, "replay: expected a capture's PATH, or --from-parquet"),
        (("replay", "--from-parquet", "/no/such"), {}, "--from-parquet: expected a folder of Parquet files, was none"),
        (("migrate",), {}, "PG_DSN, CLICKHOUSE_URL: expected one of them"),
    ],
)
@pytest.mark.long
def test_user_mistake_is_one_line_and_code_2(
    arguments: tuple[str, ...], environment: dict[str, str], message: str, tmp_path: Path
) -> None:
    """No traceback, the line last on stderr, exit code 2."""
    done = _run(*arguments, cwd=tmp_path, **environment)

    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_wrong_usage_is_code_2(tmp_path: Path) -> None:
    """An unknown option ends with 2, as everywhere."""
    assert _run("up", "--no-such-option", cwd=tmp_path).returncode == 2


def test_status_of_nothing_is_code_1(tmp_path: Path) -> None:
    """`stack status` says that nothing runs."""
    done = _run("stack", "status", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (1, "nothing is running\n")


def test_help_imports_neither_kafka_nor_faust_nor_pydantic() -> None:
    """What makes the start slow is imported only by the command that needs it."""
    slow = {"aiokafka", "faust", "pydantic", "psycopg", "aiohttp", "rich.progress"}
    code = f"import sys, ops.cli; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout == "set()\n"
