"""The project names no package registry and no folder of the machine it was written on: it must work anywhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Every host that a URL in the project may name, with its reason.
HOSTS = {
    "127.0.0.1": "loopback",
    "host": "a placeholder in texts",
    "clickhouse": "a service of docker-compose.yml",
    "prometheus": "a service of docker-compose.yml",
    "api.elections.kalshi.com": "the venue",
    "demo-api.kalshi.co": "the venue's demo",
    "kalshi.com": "the venue's site",
    "github.com": "where Faust lives",
    "json-schema.org": "the dialect of docs/schemas",
    "keepachangelog.com": "the format of the changelog",
    "www.cfbenchmarks.com": "a settlement source in the simulator's answers",
}
URL = re.compile(r"\b[a-z][a-z0-9+]*://(?:[^\s/@'\"]*@)?([A-Za-z0-9._-]*[A-Za-z0-9])")
NO_NETWORK = re.compile(r"\b(?:file|memory|chdb|rocksdb|kafka|postgresql)://")

# Put together here, so that this file does not name what it forbids.
REGISTRIES = re.compile("|".join(map(re.escape, ("pypi" + ".", "python" + "hosted", "maven" + ".org", "npm" + "js."))))
INDEX_OPTIONS = re.compile(r"--(?:extra-)?index-url\b|--trusted-host\b|--find-links\b")
MACHINE_PATHS = re.compile(r"(?<![\w.}/-])/(?:work|root|tmp/w|home/(?!you/)\w+|mnt|Users)/")


def complaints(name: str, text: str) -> Iterator[str]:
    """What a file says that it must not, one line each."""
    for number, line in enumerate(text.splitlines(), 1):
        if REGISTRIES.search(line):
            yield f"{name}:{number}: names a package registry"
        if INDEX_OPTIONS.search(line.replace("--no-emit-", "")):
            yield f"{name}:{number}: names where packages come from"
        if MACHINE_PATHS.search(line):
            yield f"{name}:{number}: names a path of one machine"
        for found in URL.finditer(line):
            if not NO_NETWORK.match(found.group(0)) and found.group(1) not in HOSTS:
                yield f"{name}:{number}: names the host {found.group(1)}, which HOSTS does not"


def test_no_file_names_a_registry_or_this_machine(root: Path, tracked_files: list[Path]) -> None:
    """Where packages come from is the machine's configuration, where the project lies is the user's choice."""
    found = []
    for path in tracked_files:
        name = path.relative_to(root).as_posix()
        if name == "tests/contract/test_no_hosts.py":
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        lines = complaints(name, text)
        # Tests may name invented hosts, none of which is asked.
        found += [line for line in lines if not (name.startswith("tests/") and "names the host" in line)]

    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "see https://" + "pypi" + ".org/simple",
        "pip install --index" + "-url x",
        "cd /wor" + "k/main",
        "open('/roo" + "t/.ssh')",
        "wss://example.org/ws",
    ],
)
def test_each_kind_is_found(line: str) -> None:
    """The check can fail."""
    assert len(list(complaints("README.md", line))) >= 1


def test_what_is_fine_is_let_through() -> None:
    """Loopback, the venue, relative paths and options of ours."""
    text = "http://127.0.0.1:6066/bbo wss://demo-api.kalshi.co/x ./data/run tests/work/x --no-emit-index" + "-url"

    assert list(complaints("README.md", text)) == []
