"""The simulator as `up` starts it: one process, one line when ready, a clean end."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

COMMAND = [sys.executable, "-m", "venues.simulator"]


def test_process_says_ready_serves_and_ends_cleanly_on_sigterm() -> None:
    """The first line of stdout is JSON with the port; SIGTERM gives exit code 0."""
    with subprocess.Popen([*COMMAND, "--strikes", "2"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert ready["ready"] is True
            assert len(ready["markets"]) >= 3
            with urllib.request.urlopen(f"http://127.0.0.1:{ready['port']}/admin/status", timeout=60) as answer:
                assert json.load(answer)["finished"] is False
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--source", "tape"], "--source"),
        (["--vintage", "z"], "--vintage"),
        (["--source", "capture"], "--capture"),
        (["--capture", "nowhere.ndjson"], "nowhere.ndjson"),
        (["--public-key", "nowhere.pem"], "nowhere.pem"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(flags: list[str], words: str) -> None:
    """No traceback; the line names what is wrong."""
    done = subprocess.run([*COMMAND, *flags], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_port_in_use_is_one_line_and_exit_2() -> None:
    """The line names the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, port in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr


def test_key_that_is_no_rsa_key_is_one_line_and_exit_2(tmp_path: Path) -> None:
    """A PEM of another kind is named."""
    path = tmp_path / "key.pem"
    path.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    done = subprocess.run(
        [*COMMAND, "--public-key", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "key.pem" in done.stderr) == (2, True)
