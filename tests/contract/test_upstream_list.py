"""The guarded list is complete: what we override or touch of others' private parts stands in it."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from app.upstream import ALL_USES

ROOT = Path(__file__).resolve().parents[2]
OURS = ("app", "producers", "tables", "agents", "sinks", "ops")
THEIRS = ("faust", "aiokafka", "mode", "websockets")
#: Methods that a language or a base class asks for, with nothing of theirs to call or replace.
ANY_CLASS = {"__init__", "__repr__", "__module__", "__doc__", "__annotations__", "__static_attributes__"}


def modules() -> Iterator[ModuleType]:
    """Everything that we run."""
    for package in OURS:
        for found in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def overrides(ours: type) -> Iterator[str]:
    """`module:Class.name` of each attribute of a class of theirs that ours replaces."""
    for name in vars(ours).keys() - ANY_CLASS:
        for base in ours.__mro__[1:]:
            if name in vars(base) and inspect.isfunction(vars(base)[name]):
                if base.__module__.split(".")[0] in THEIRS:
                    yield f"{base.__module__}:{base.__qualname__}.{name}"
                break


def test_every_method_of_theirs_that_we_override_is_guarded() -> None:
    """Whoever overrides one more adds it: app.upstream_uses, or app.upstream_client_uses."""
    listed = {use.path for use in ALL_USES}
    classes = {
        found
        for module in modules()
        for found in vars(module).values()
        if isinstance(found, type) and found.__module__ == module.__name__
    }
    used = {path for found in classes for path in overrides(found)}
    assert len(used) > 25, "the search found too few overridden methods to be believed"
    # A whole class in the list covers its methods.
    missing = sorted(path for path in used if path not in listed and path.rpartition(".")[0] not in listed)
    assert not missing, f"not in the guarded list: {missing}"


def private_names() -> Iterator[tuple[str, str]]:
    """(attribute, where) of each private attribute of something else than ourselves."""
    for path in sorted(file for package in OURS for file in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                yield node.attr, f"{path.relative_to(ROOT)}:{node.lineno}"


def defined_names() -> set[str]:
    """Every name that our own code gives to something."""
    names: set[str] = set()
    for path in (file for package in OURS for file in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                    names.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return names


#: Private by their name alone: documented by the standard library.
DOCUMENTED = {"_replace", "_asdict", "_exit", "_fields"}


def test_every_private_attribute_of_theirs_that_we_touch_is_named_in_the_list() -> None:
    """In the path of a use, or in the words that say why."""
    words = " ".join(f"{use.path} {use.why}" for use in ALL_USES)
    ours = defined_names() | DOCUMENTED
    missing = {(name, where) for name, where in private_names() if name not in ours and name not in words}
    assert not missing, f"not named in the guarded list: {sorted(missing)}"
