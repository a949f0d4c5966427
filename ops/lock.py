"""`make lock`: requirements-dev.in resolved into requirements.lock, every file with its hash.

Runs pip-tools in an environment of its own, made for the moment and thrown away: the resolver must be none of the
project's dependencies. Where packages come from is the machine's business (pip's own configuration); no address is
written into the file. Hashing every wheel takes minutes.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE, TARGET = "requirements-dev.in", "requirements.lock"
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


def compile_command(python: Path, target: Path) -> list[str]:
    """The command that resolves into `target`, run in the project's folder so that no path of ours is written down."""
    return [str(python), "-m", "piptools", "compile", *OPTIONS, "--output-file", str(target), SOURCE]


def main(root: Path = ROOT) -> int:
    """Resolve; replace the lock only when all of it was resolved. Returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="kalshi-streams-lock-") as folder:
        environment = Path(folder)
        venv.create(environment / "venv", with_pip=True)
        python = environment / "venv" / "bin" / "python"
        fresh = environment / TARGET
        # What is locked stays as it is unless its line in the .in files says otherwise.
        fresh.write_bytes((root / TARGET).read_bytes())
        for command in (
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PIP_TOOLS],
            compile_command(python, fresh),
        ):
            done = subprocess.run(command, cwd=root, check=False, stdin=subprocess.DEVNULL)
            if done.returncode != 0:
                sys.stderr.write(f"{TARGET} is unchanged: {command[2]} ended with code {done.returncode}\n")
                return 1
        (root / TARGET).write_bytes(fresh.read_bytes())
    print(f"{TARGET} written; `make setup` installs it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
