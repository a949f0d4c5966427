"""Generic top-level names (docs/decisions/0003-flat-packages.md) stay ours, and each role runs what it should."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

#: Distributions that bring a top-level package of one of our names; none may be installed beside us.
CLASHING = ("tables", "openai-agents", "agents", "app", "domain", "schemas", "venues", "producers", "sinks", "ops")
#: Folders with Python in them that are not installed: they are run from the checkout.
NOT_INSTALLED = ("bench", "conformance", "tests")
#: WORKER_ROLE -> names of the agents that must run in it (one or more are added with later issues).
AGENTS = {
    "kalshi-streams-state": {"maintain_books", "dedup_fills", "track_positions", "track_orders"},
    "kalshi-streams-sink-postgres": {"postgres"},
    "kalshi-streams-sink-clickhouse": {"clickhouse"},
    "kalshi-streams-sink-parquet": {"parquet"},
}
WITHOUT_FAUST = (
    "domain",
    "schemas",
    "venues",
    "sinks",
    "producers",
    "execution",
    "app.settings",
    "app.bus",
    "app.lz4",
    "app.lasting_batches",
)


def _declared(root: Path) -> set[str]:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    return set(project["tool"]["setuptools"]["packages"])


def _modules(root: Path, packages: tuple[str, ...]) -> list[str]:
    names = []
    for package in packages:
        path = root / package.replace(".", "/")
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        names += [".".join(f.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for f in files]
    return [name for name in names if not name.endswith("__main__")]


def test_each_package_is_found_in_this_checkout(root: Path) -> None:
    """No stranger of the same name stands before ours on the path."""
    for package in sorted(_declared(root)):
        spec = importlib.util.find_spec(package)

        assert spec is not None and spec.origin is not None, package
        assert Path(spec.origin).is_relative_to(root), f"{package}: expected it in {root}, was {spec.origin}"


def test_declared_packages_are_the_folders_with_code(root: Path, python_files: list[Path]) -> None:
    """A new package must be declared, or it is missing from the image."""
    folders = {path.relative_to(root).parent for path in python_files if path.name == "__init__.py"}
    found = {".".join(folder.parts) for folder in folders if folder.parts and folder.parts[0] not in NOT_INSTALLED}

    assert _declared(root) == found


def test_every_folder_with_code_is_a_regular_package(root: Path, python_files: list[Path]) -> None:
    """A namespace package would be merged with a stranger's folder of the same name."""
    for path in python_files:
        top = path.relative_to(root).parts[0]
        if top not in NOT_INSTALLED and path.parent != root:
            assert (path.parent / "__init__.py").exists(), path


def test_faust_finds_the_app_of_each_role(role_apps: dict[str, dict[str, Any]]) -> None:
    """`faust -A app` from anywhere gets a Faust app of that group with its agents."""
    assert set(role_apps) == set(AGENTS)
    for role, found in role_apps.items():
        assert (found["is_faust"], found["id"]) == (True, role)
        assert set(found["agents"]) == set(found["outputs"])
        assert set(found["agents"]) >= AGENTS[role]


def test_everything_below_the_agents_loads_without_faust(root: Path, environment: dict[str, str]) -> None:
    """Producers, sinks and commands start without Faust, which takes a second and patches the loop."""
    modules = _modules(root, WITHOUT_FAUST)
    code = (
        f"import importlib, sys\nfor name in {modules!r}:\n    importlib.import_module(name)\n"
        "print(','.join(sorted(name for name in ('faust', 'mode') if name in sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=environment["DATA_DIR"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert len(modules) > 50
    assert (ran.returncode, ran.stdout.strip()) == (0, ""), ran.stderr[-2_000:]


def test_no_distribution_of_our_names_is_locked(root: Path) -> None:
    """`tables` is PyTables, `agents` the OpenAI Agents SDK: they would shadow ours, or ours them."""
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (root / "requirements.lock").read_text(), re.MULTILINE))

    assert len(locked) > 50
    assert not locked & set(CLASHING)


def test_what_is_pinned_is_what_is_locked(root: Path) -> None:
    """Every line of the two input files is exact and stands in the lock with that version."""
    locked = dict(re.findall(r"^([a-z0-9._-]+)==([^\s\\]+)", (root / "requirements.lock").read_text(), re.MULTILINE))
    for name in ("requirements.in", "requirements-dev.in"):
        for line in (root / name).read_text().splitlines():
            text = line.split("#")[0].strip()
            if not text or text.startswith("-r "):
                continue
            pinned = re.fullmatch(r"([A-Za-z0-9._-]+)(\[[a-z,-]+\])?==([^\s;]+)", text)
            assert pinned, f"{name}: expected name==version, was {text!r}"
            assert locked.get(pinned.group(1).lower()) == pinned.group(3), f"{name}: {text}"


def test_every_import_of_a_stranger_is_pinned(root: Path, python_files: list[Path]) -> None:
    """What we import ourselves must not come and go with somebody else's dependencies."""
    owners = packages_distributions()
    text = (root / "requirements.in").read_text() + (root / "requirements-dev.in").read_text()
    pinned = {re.split(r"[\[=]", line)[0].lower() for line in text.splitlines() if "==" in line}
    missing = set()
    for path in python_files:
        parts = path.relative_to(root).parts
        if parts[0] == "bench" or parts[:2] == ("conformance", "sdk"):  # they have an environment of their own
            continue
        for name in _third_party(path.read_text()):
            names = {distribution.lower().replace("_", "-") for distribution in owners.get(name, [])}
            if names and not names & (pinned | {"kalshi-streams"}):
                missing.add(f"{'/'.join(parts)}: {name} ({', '.join(sorted(names))})")

    assert not missing, "\n" + "\n".join(sorted(missing))


def _third_party(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names)
