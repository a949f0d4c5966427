"""A whole simulated run with marked secrets: no file, page, metric, log, command line or capture holds any of them.

The account's key is the run's own (it signs every request): its parts are looked for as they stand in the key file and
as bytes. Every other secret that can be set is a marker. One process dies of a signal on the way, and is restarted.
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import zstandard

from app.settings import Settings
from ops.data_dir import DataDir
from ops.plan import UP_PORTS
from ops.ports import free_port_base
from ops.stack import stop_stack

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
MARKER = "M4RKER-7c0ffee"
#: Settings that the run itself needs to be right.
NEEDED = {"pg_dsn", "sim_keyid"}
PAGES = ("/", "/healthz", "/readyz", "/metrics", "/status", "/lag", "/bbo", "/positions", "/orders", "/fills/stats",
         "/reconciliation", "/admin/status", "/books/none", "/positions/none", "/nowhere")  # fmt: skip
#: The secrets' own places.
HOMES = {"simulator-private.pem", "simulator-admin-token"}
DEADLINE_S = 120.0
#: Bytes of a key that are looked for; shorter ones could stand anywhere.
PART_BYTES = 24


def test_no_secret_of_a_whole_run_stands_anywhere(tmp_path: Path) -> None:
    """Looked for while it runs, and in everything that it left."""
    data_dir = tmp_path / "data"
    secrets = {
        name.upper(): f"{MARKER}-{name}"
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation) and name not in NEEDED
    }
    command = [str(Path(sys.executable).parent / "kalshi-streams"), "up", "--duration", "20", "--rate", "100",
               "--data-dir", str(data_dir), "--port-base", str(free_port_base(UP_PORTS))]  # fmt: skip
    output = tmp_path / "up.log"
    with output.open("wb") as log:
        up = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"NO_COLOR": "1"} | secrets, stdout=log, stderr=log)
    try:
        _wait_up(output, up)
        canaries = [MARKER.encode(), *_key_parts(data_dir)]
        seen = dict(_pages(data_dir)) | dict(_command_lines(up.pid))
        _abort_one(up.pid)
        assert up.wait(DEADLINE_S) == 0, output.read_text()[-3_000:]
    finally:
        if up.poll() is None:
            up.kill()
            up.wait()
        stop_stack(DataDir(data_dir))
    left = {str(path.relative_to(tmp_path)): content for path, content in _files(tmp_path)}
    assert len(seen) > 30, "too few pages and command lines answered to be believed"
    assert any(name.endswith(".ndjson.zst") for name in left), "no capture was scanned"
    assert any(name.endswith(".parquet") for name in left), "no archive was scanned"
    for where, content in (seen | left).items():
        found = [canary[:8] for canary in canaries if canary in content]
        assert not found, f"{where} holds a secret (it begins {found})"


def _wait_up(output: Path, up: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + DEADLINE_S
    while b"up after" not in output.read_bytes():
        assert up.poll() is None, output.read_text()[-3_000:]
        assert time.monotonic() < until, output.read_text()[-3_000:]
        time.sleep(0.1)


def _key_parts(data_dir: Path) -> list[bytes]:
    pem = (data_dir / "run" / "simulator-private.pem").read_bytes().splitlines()
    body = [line for line in pem if not line.startswith(b"-----")]
    der = base64.b64decode(b"".join(body))
    parts = [line for line in body if len(line) >= PART_BYTES]
    # The first bytes are those of every key, and then of the public half.
    parts += [der[at : at + PART_BYTES] for at in range(len(der) // 2, len(der) - PART_BYTES, PART_BYTES)]
    token = data_dir / "run" / "simulator-admin-token"
    return parts + ([token.read_bytes().strip()] if token.exists() else [])


def _pages(data_dir: Path) -> Iterator[tuple[str, bytes]]:
    endpoints = json.loads((data_dir / "run" / "endpoints.json").read_text())
    for base in {url for url in endpoints.values() if isinstance(url, str) and url.startswith("http")}:
        for page in PAGES:
            with contextlib.suppress(OSError):
                try:
                    with urllib.request.urlopen(f"{base}{page}", timeout=10) as answer:
                        yield f"{base}{page}", answer.read() + str(answer.headers).encode()
                except urllib.error.HTTPError as refused:
                    yield f"{base}{page}", refused.read() + str(refused.headers).encode()


def _command_lines(pid: int) -> Iterator[tuple[str, bytes]]:
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            yield f"command line of {child.pid}", "\0".join(child.cmdline()).encode()


def _abort_one(pid: int) -> None:
    """A crash writes more than an end: its traceback, its log."""
    for child in psutil.Process(pid).children(recursive=True):
        if child.cmdline()[-2:] == ["producer", "account"]:
            child.send_signal(signal.SIGABRT)
            return
    raise AssertionError("expected a producer of the account, was none")


def _files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name in HOMES:
            continue
        content = path.read_bytes()
        if path.suffix == ".zst":
            with zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True) as reader:
                content += reader.read()
        elif path.suffix == ".parquet":
            content += repr(pq.read_table(path, partitioning=None).to_pylist()).encode()
        yield path, content
