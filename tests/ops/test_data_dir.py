"""The data directory: one user at a time, leftovers of a killed run ended, nothing else touched."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from domain.errors import UserMistake
from ops.data_dir import FOLDERS, DataDir

SLEEPER = "import time; time.sleep(600)"
HOLDER = """
import sys, time
from pathlib import Path
from ops.data_dir import DataDir
data = DataDir(Path(sys.argv[1])); data.prepare(); data.lock("up"); print("locked", flush=True); time.sleep(600)
"""


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """A prepared directory."""
    one = DataDir(tmp_path / "data")
    one.prepare()
    return one


def test_layout_is_made(data: DataDir) -> None:
    """All folders of the contract exist after `prepare`."""
    assert {path.name for path in data.root.iterdir()} == set(FOLDERS)


def test_live_lock_is_refused_and_lock_of_a_killed_process_is_not(tmp_path: Path) -> None:
    """A second user gets one line naming the first; once the first was killed the directory is free at once."""
    data = DataDir(tmp_path / "data")
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(data.root)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(UserMistake, match=rf"in use by `kalshi-streams up` \(pid {holder.pid}\)") as refused:
            data.lock("up")
        busy = data.in_use()
        holder.kill()
    data.lock("up")

    assert "\n" not in str(refused.value)
    assert busy
    data.unlock()
    assert not data.in_use()


def test_leftovers_of_this_directory_are_ended_and_others_live_on(data: DataDir, tmp_path: Path) -> None:
    """Only processes that carry this directory's mark are ended, stopped ones (SIGSTOP) too."""
    other = DataDir(tmp_path / "other")
    mine = subprocess.Popen([sys.executable, "-c", SLEEPER], env=os.environ | data.marks("state"))
    frozen = subprocess.Popen([sys.executable, "-c", SLEEPER], env=os.environ | data.marks("kafka"))
    stranger = subprocess.Popen([sys.executable, "-c", SLEEPER], env=os.environ | other.marks("state"))
    frozen.send_signal(19)
    try:
        found = data.children()
        ended = data.end_leftovers()
        alive = stranger.poll() is None
    finally:
        for process in (mine, frozen, stranger):
            process.kill()
            process.wait()

    assert found == {mine.pid: "state", frozen.pid: "kafka"}
    assert sorted(ended) == sorted([f"state (pid {mine.pid})", f"kafka (pid {frozen.pid})"])
    assert (mine.returncode, frozen.returncode) == (-15, -15)
    assert alive


def test_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A file in the way, as any other reason, is named in one line."""
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UserMistake, match=r"^--data-dir: expected a writable directory, was .*/data: Not a directory$"):
        DataDir(tmp_path / "data").prepare()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_directory_is_one_line(tmp_path: Path) -> None:
    """No permission is a user mistake."""
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(UserMistake, match="Permission denied"):
        DataDir(tmp_path / "data").prepare()


def test_endpoints_are_private_and_read_back(data: DataDir) -> None:
    """The file holds a DSN, so only its owner may read it; a missing or broken one reads as nothing."""
    empty = data.read_endpoints()
    data.write_endpoints({"bus_url": "127.0.0.1:9092", "clickhouse_url": None})
    data.write_endpoints({"bus_url": "127.0.0.1:9093", "clickhouse_url": None})
    mode = stat.S_IMODE(data.endpoints_file.stat().st_mode)
    written = data.read_endpoints()
    data.endpoints_file.write_text("{")

    assert empty == {}
    assert mode == 0o600
    assert written == {"bus_url": "127.0.0.1:9093", "clickhouse_url": None}
    assert data.read_endpoints() == {}
