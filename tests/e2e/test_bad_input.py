"""Wrong keys, ports and folders as a person meets them: the command's own words and exit code, in a real process.

What is wrong inside frames is tried in test_feed.py (scripted venue) and test_market_engines.py (4 MB in Kafka); what
the engines do when they go away in test_market_engines.py, test_postgres_outages.py and test_worker_kills.py.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ops.ports import LOOPBACK, free_ports

ROOT = Path(__file__).resolve().parents[2]
SECRET_ID = "key-id-3f6c-of-nobody"
pytestmark = [pytest.mark.timeout(180), pytest.mark.long]


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def _produce(folder: Path, **environment: str) -> tuple[int, str, str]:
    """`kalshi-streams producer market` with a Kafka that is not there: (exit code, last line, all it said)."""
    settings = {"DATA_DIR": str(folder), "BUS_URL": f"{LOOPBACK}:{free_ports(1)[0]}", "KALSHI_ENV": "demo"}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DEMO_", "SIM_", "PROD_"))}
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", "producer", "market"], cwd=ROOT, env=clean | settings | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=150, check=False,
    )  # fmt: skip
    lines = done.stdout.strip().splitlines()
    print(done.returncode, lines[-1] if lines else "")
    return done.returncode, lines[-1] if lines else "", done.stdout


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _ec_key(folder: Path) -> dict[str, str]:
    return {
        "DEMO_KEYID": SECRET_ID,
        "DEMO_KEYFILE": str(_write(folder / "ec.pem", _pem(ec.generate_private_key(ec.SECP256R1())))),
    }


def _encrypted_key(folder: Path) -> dict[str, str]:
    pem = _pem(rsa.generate_private_key(65537, 2048), b"right")
    return {"DEMO_KEYID": SECRET_ID, "DEMO_KEYFILE": str(_write(folder / "locked.pem", pem))}


def _cut_key(folder: Path) -> dict[str, str]:
    pem = _pem(rsa.generate_private_key(65537, 2048))
    return {"DEMO_KEYID": SECRET_ID, "DEMO_KEYFILE": str(_write(folder / "cut.pem", pem[: len(pem) // 2]))}


def _no_key(_folder: Path) -> dict[str, str]:
    return {}


def _no_file(folder: Path) -> dict[str, str]:
    return {"DEMO_KEYID": SECRET_ID, "DEMO_KEYFILE": str(folder / "none.pem")}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (_no_key, "DEMO_KEYID and DEMO_KEYFILE: expected the venue's API key, was not set"),
        (_no_file, "none.pem: No such file or directory"),
        (_ec_key, "ec.pem: expected an RSA key, was another kind"),
        (_encrypted_key, "locked.pem: it is encrypted, set the key file's password"),
        (_cut_key, "cut.pem: not a readable private key"),
    ],
)
def test_wrong_key_is_one_line_and_code_2(wrong: Callable[[Path], dict[str, str]], says: str, tmp_path: Path) -> None:
    """No traceback, nothing of the key, and Kafka is not even asked."""
    code, line, said = _produce(tmp_path, **wrong(tmp_path))

    assert code == 2
    assert says in line
    assert len(said.strip().splitlines()) == 1, said
    assert SECRET_ID not in said
    assert "BEGIN" not in said


def test_port_in_use_is_one_line_and_code_2(tmp_path: Path) -> None:
    """The line names the port."""
    with closing(socket.socket()) as holder:
        holder.bind((LOOPBACK, 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        code, line, said = _produce(tmp_path, KALSHI_ENV="sim", PRODUCER_PORT=port)

    assert code == 2
    assert port in line
    assert "Traceback" not in said


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system without a free byte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("needs to mount a small tmpfs")
    try:
        (disk / "run").mkdir()
        with (disk / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4_096)):
                    pass
            except OSError:
                pass
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_full_disk_is_one_line_that_names_it(full_disk: Path) -> None:
    """Nothing can be written: no traceback, the folder and the reason."""
    code, line, said = _produce(full_disk, KALSHI_ENV="sim", PRODUCER_PORT=str(free_ports(1)[0]))

    assert code == 2
    assert "No space left on device" in line
    assert str(full_disk) in line
    assert "Traceback" not in said


def test_data_dir_below_a_file_is_one_line_and_code_2(tmp_path: Path) -> None:
    """A folder that cannot be made."""
    code, line, said = _produce(_write(tmp_path / "file", b"") / "data", KALSHI_ENV="sim")

    assert code == 2
    assert str(tmp_path / "file") in line
    assert "Traceback" not in said
