"""The files of the project, as the contract tests read them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.topics import GROUPS

ROOT = Path(__file__).parents[2]
_SKIPPED = {".git", ".venv", "data", "__pycache__", "node_modules", ".hypothesis", ".work"}


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def tracked_files() -> list[Path]:
    """Every file under version control that is there; outside a checkout every file that looks like ours."""
    if not (ROOT / ".git").exists():
        found = [path for path in ROOT.rglob("*") if not _SKIPPED & set(path.relative_to(ROOT).parts)]
        return sorted(path for path in found if path.is_file())
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.fixture(scope="session")
def python_files(tracked_files: list[Path]) -> list[Path]:
    """The Python files among them."""
    return [path for path in tracked_files if path.suffix == ".py"]


FIND_APP = """
import json
import faust
from faust.cli.base import find_app
app = find_app("app")
print(json.dumps({"is_faust": isinstance(app, faust.App), "id": app.conf.id, "agents": sorted(app.agents),
                  "outputs": {stage.name: list(getattr(stage, "outputs", ())) for stage in app.stages}}))
"""


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For a process of ours that is built and not started: no address in it is ever asked."""
    data = str(tmp_path_factory.mktemp("data"))
    return os.environ | {"BUS_URL": "127.0.0.1:1", "DATA_DIR": data, "PG_DSN": "host=127.0.0.1"}


@pytest.fixture(scope="session")
def role_apps(environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Consumer group -> what `faust -A app` finds with that WORKER_ROLE, from another folder than the project's."""
    running = {
        role: subprocess.Popen(
            [sys.executable, "-c", FIND_APP],
            cwd=environment["DATA_DIR"],
            env=environment | {"WORKER_ROLE": role},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for role in GROUPS
    }
    found = {}
    for role, process in running.items():
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, f"{role}: {err[-2_000:]}"
        found[role] = json.loads(out.splitlines()[-1])
    return found
