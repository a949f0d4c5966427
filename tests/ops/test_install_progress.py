"""What `make run` says while it installs, with pip's own words in place of pip."""

import subprocess
import sys
from pathlib import Path

import pytest

from ops import install_progress

PIP = """
import sys
for name in ("alpha", "beta_2", "gamma"):
    print(f"Collecting {name}")
    print("  Downloading something")
print("Installing collected packages: alpha, beta_2, gamma")
sys.exit(int(sys.argv[-1]))
"""


def run(tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """The script over a pip that says so and ends with that code."""
    fake, lock = tmp_path / "pip.py", tmp_path / "lock"
    fake.write_text(PIP)
    lock.write_text("alpha==1 \\\n    --hash=sha256:0\nbeta_2==2\ngamma==3\n# a comment\n")
    popen = subprocess.Popen
    command = [sys.executable, str(fake), str(code)]
    monkeypatch.setattr(install_progress.subprocess, "Popen", lambda _, **rest: popen(command, **rest))
    monkeypatch.setattr(install_progress, "STEP", 2)
    return install_progress.main(lock, ["-r", str(lock)])


def test_it_says_how_many_and_how_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal: a line now and then."""
    assert run(tmp_path, 0, monkeypatch) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("installing 3 packages")
    assert said[1:] == ["  fetching 2 of 3: beta_2", "  unpacking 3 packages", "installed"]


def test_what_pip_said_is_shown_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And its exit code is make's."""
    assert run(tmp_path, 3, monkeypatch) == 3
    assert "Collecting gamma" in capsys.readouterr().out
