"""`make lock`: the input files resolved into their locks, every file with its hash.

Runs pip-tools in an environment of its own, made for the moment and thrown away: the resolver must be none of the
project's dependencies. Where packages come from is the machine's business (pip's own configuration); no address is
written into the file. Hashing every wheel takes minutes.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from conformance.python import choose

ROOT = Path(__file__).parents[1]
#: Input file -> its lock.
LOCKS = {"requirements-dev.in": "requirements.lock", "requirements-conformance.in": "requirements-conformance.lock"}
#: The resolver; it ends up in no lock, so it is pinned here.
PIP_TOOLS = "pip-tools==7.6.2"
OPTIONS = (
    "--generate-hashes",
    "--allow-unsafe",
    "--no-emit-index-url",
    "--no-emit-trusted-host",
    "--no-emit-find-links",
    "--strip-extras",
    "--no-header",
)


def compile_command(python: Path, source: str, target: Path) -> list[str]:
    """The command that resolves into `target`, run in the project's folder so that no path of ours is written down."""
    return [str(python), "-m", "piptools", "compile", *OPTIONS, "--output-file", str(target), source]


def main(root: Path = ROOT) -> int:
    """All locks. The exit code: 0 when each was resolved."""
    base, notice = choose()
    if notice:
        print(f"{LOCKS['requirements-conformance.in']} is unchanged: {notice}")
    codes = [lock("requirements-dev.in", sys.executable, root)]
    if not notice:
        codes.append(lock("requirements-conformance.in", base, root))
    return max(codes)


def lock(source: str, base: str, root: Path) -> int:
    """Resolve for the Python `base`; replace the lock only when all of it was resolved. Returns the exit code."""
    target = LOCKS[source]
    with tempfile.TemporaryDirectory(prefix="kalshi-streams-lock-") as folder:
        environment = Path(folder)
        python = environment / "venv" / "bin" / "python"
        fresh = environment / target
        # What is locked stays as it is unless its line in the .in files says otherwise.
        fresh.write_bytes((root / target).read_bytes())
        for command in (
            [base, "-m", "venv", str(environment / "venv")],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PIP_TOOLS],
            compile_command(python, source, fresh),
        ):
            done = subprocess.run(command, cwd=root, check=False, stdin=subprocess.DEVNULL)
            if done.returncode != 0:
                sys.stderr.write(f"{target} is unchanged: {command[2]} ended with code {done.returncode}\n")
                return 1
        (root / target).write_bytes(fresh.read_bytes())
    print(f"{target} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
