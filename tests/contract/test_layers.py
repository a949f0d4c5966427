"""Who may import whom. A broken rule fails with its text, the file and the line."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

#: Modules of `app` without Faust in them, free for everybody above `sinks`.
PLAIN_APP = ("app.settings", "app.bus", "app.lz4", "app.lasting_batches", "app.http_guard")

#: Layer -> what it may import of the project besides itself. `app.assembly`, `ops` and `bench` see everything.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "domain": (),
    "schemas": ("domain",),
    "venues": ("domain", "schemas"),
    "sinks": ("domain", "schemas"),
    "migrations": (),
    "producers": ("domain", "schemas", "venues.kalshi", "venues.coinbase", "venues.capture", *PLAIN_APP),
    "execution": ("domain", "schemas", "venues.kalshi", *PLAIN_APP),
    "tables": ("domain", "schemas", "app.topics", *PLAIN_APP),
    "agents": ("domain", "schemas", "tables", "sinks.contract", "app.topics", *PLAIN_APP),
    "app": ("domain", "schemas", "tables", "sinks"),
}
SEES_ALL = ("ops", "bench", "conformance", "app.assembly")
OURS = frozenset([*MAY_IMPORT, "ops", "bench", "conformance"])

NO_FAUST = ("domain", "schemas", "venues", "sinks", "producers", "execution", "migrations", *PLAIN_APP, "app.topics")
FAUST = ("faust", "mode")

#: (importer, imported): each with its reason. Keep it short.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("venues.simulator.server", "app.http_guard.guarded"): "one check for every HTTP server of the project",
    ("venues.simulator.server", "app.http_guard.http_guard"): "the same",
}


def imports(source: str) -> Iterator[tuple[int, str]]:
    """(line, module) of every import statement, those inside functions too; `from a import b` names `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level + (node.module or "")
            else:
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def module_name(path: Path) -> str:
    """'app/web/views.py' -> 'app.web.views'."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def broken_rules(path: Path, source: str) -> list[str]:
    """What this file imports against the rules, one line each. `path` is relative to the project."""
    importer = module_name(path)
    layer = importer.split(".")[0]
    if layer not in OURS:
        return []
    found = []
    for line, imported in imports(source):
        for rule in _rules_against(importer, layer, imported):
            if (importer, imported) not in EXCEPTIONS:
                found.append(f"{path}:{line}: imports {imported}: {rule}")
    return found


def _rules_against(importer: str, layer: str, imported: str) -> Iterator[str]:
    top = imported.split(".")[0]
    if imported.startswith("."):
        yield "imports are absolute"
    elif layer == "domain" and top not in sys.stdlib_module_names and top != "domain":
        yield "domain is pure: standard library only"
    elif top in FAUST and _is_in(importer, NO_FAUST):
        yield f"{layer} never imports Faust"
    elif layer == "agents" and top == "agents" and importer != "agents":
        yield "agents never import agents"
    elif top in OURS and top != layer and not _is_in(importer, SEES_ALL) and not _is_in(imported, MAY_IMPORT[layer]):
        yield f"{layer} may import {', '.join(MAY_IMPORT[layer]) or 'nothing of the project'}"


def _is_in(module: str, parts: tuple[str, ...]) -> bool:
    return any(module == part or module.startswith(f"{part}.") for part in parts)


def test_no_file_imports_against_the_layers(root: Path, python_files: list[Path]) -> None:
    """domain <- schemas <- venues, sinks <- producers, execution; tables and agents on app; ops sees all."""
    broken = [
        line
        for path in python_files
        for line in broken_rules(path.relative_to(root), path.read_text())
        if path.relative_to(root).parts[0] != "tests"
    ]

    assert not broken, "\n" + "\n".join(broken)


def test_a_broken_rule_is_named() -> None:
    """The check itself finds what it is for, inside functions too."""
    cases = {
        ("domain/book.py", "import msgspec"): "domain is pure",
        ("domain/book.py", "from schemas.records import Trade"): "domain is pure",
        ("schemas/codec.py", "import venues.kalshi"): "schemas may import domain",
        ("sinks/postgres/sink.py", "def f():\n    import faust"): "sinks never imports Faust",
        ("producers/market.py", "from mode import Service"): "producers never imports Faust",
        ("producers/market.py", "from app.worker import build_app"): "producers may import",
        ("producers/market.py", "from venues.simulator.server import serving"): "producers may import",
        ("agents/store_records.py", "from agents.maintain_books import BookFold"): "agents never import agents",
        ("tables/kernel.py", "from ops.topics import apply_topics"): "tables may import",
        ("app/worker.py", "from agents.maintain_books import BookFold"): "app may import",
        ("ops/up.py", "from . import plan"): "imports are absolute",
    }

    for (path, source), rule in cases.items():
        assert [rule in line for line in broken_rules(Path(path), source)] == [True], (path, source)


def test_what_is_allowed_breaks_no_rule() -> None:
    """The composition root and the commands see everything; the plain modules of app are free."""
    allowed = [
        ("app/assembly.py", "from agents.maintain_books import BookFold"),
        ("ops/up.py", "from venues.simulator.server import serving"),
        ("producers/market.py", "from app.settings import Settings"),
        ("agents/store_records.py", "from sinks.contract import Sink"),
        ("domain/book.py", "from domain.errors import BadInput\nimport enum"),
    ]

    assert [line for path, source in allowed for line in broken_rules(Path(path), source)] == []


def test_exceptions_are_still_needed(root: Path) -> None:
    """An exception whose import is gone must go too."""
    for importer, imported in EXCEPTIONS:
        path = root / (importer.replace(".", "/") + ".py")
        assert imported in [name for _, name in imports(path.read_text())], (importer, imported)
