"""Which Python the SDKs run in, and their environment.

The newest CPython from 3.13 on that the machine has; where there is none the present one, with the SDKs' own bound
ignored: they are of plain Python, and both were seen to work unchanged in 3.11.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
ENVIRONMENT = PROJECT / ".venv-conformance"
LOCK = PROJECT / "requirements-conformance.lock"
LEAST = (3, 13)
NEWEST_TRIED = 20  # python3.20
ASK_S = 20.0  # for a version; a wrapper that asks back must not hang the run
INSTALL_S = 300.0


class NoEnvironment(Exception):
    """The SDKs cannot be installed here; the text says why."""


def candidates() -> Iterator[str]:
    """Interpreters by name, newest first: CONFORMANCE_PYTHON, the path's, those of pyenv."""
    if named := os.environ.get("CONFORMANCE_PYTHON"):
        yield named
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for minor in range(NEWEST_TRIED, LEAST[1] - 1, -1):
        if found := shutil.which(f"python3.{minor}"):
            yield found
        yield from (str(folder / "bin" / "python") for folder in sorted(pyenv.glob(f"3.{minor}.*"), reverse=True))


def version_of(python: str) -> tuple[int, int] | None:
    """What it says it is; None where it does not run (pyenv's wrappers exist for versions that are not chosen)."""
    ask = "import sys; print(*sys.version_info[:2])"
    try:
        told = subprocess.run([python, "-c", ask], capture_output=True, text=True, timeout=ASK_S, check=True).stdout
        major, minor = told.split()
        return int(major), int(minor)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def choose() -> tuple[str, str | None]:
    """The interpreter, and a notice where it is older than the SDKs ask for."""
    for python in candidates():
        version = version_of(python)
        if version is not None and version >= LEAST:
            return python, None
    present = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return sys.executable, f"no Python >= 3.13 here: the SDKs run unchanged in {present}, their own bound ignored"


def environment() -> tuple[Path, str | None]:
    """The interpreter of the SDKs' environment, made from the lock on the first use, and the notice of `choose`.

    Raises:
        NoEnvironment: it could not be made.
    """
    base, notice = choose()
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".installed"
    wanted = f"{base} {LOCK.stat().st_mtime_ns}"
    if stamp.exists() and stamp.read_text() == wanted:
        return python, notice
    print(f"conformance: making the SDKs' environment with {base} (once)", flush=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    install += ["--no-deps", "--require-hashes", "--ignore-requires-python", "-r", str(LOCK)]
    for command in ([base, "-m", "venv", "--clear", str(ENVIRONMENT)], [str(python), *install]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except (OSError, subprocess.SubprocessError) as wrong:
            raise NoEnvironment(f"{command[2]}: {wrong}"[:300]) from None
        if done.returncode:
            raise NoEnvironment(f"{command[2]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    stamp.write_text(wanted)
    return python, notice
