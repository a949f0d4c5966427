"""Every reason that a dead letter can have stands in docs/faults.md: whoever is woken by one looks there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("domain", "schemas", "venues/kalshi", "producers", "tables", "agents", "sinks")
#: Calls that name a reason, and which of their arguments it is.
NAMES_REASON = {
    "MalformedFrame": 0, "InvariantViolated": 0, "BadInput": 0, "Refused": 0, "AccountRefused": 0, "_gated": 1,
    "DeadLetterNote": 1,
}  # fmt: skip
#: Constants that hold reasons.
HOLDS_REASONS = ("FILL_GATES", "CONFLICTING_MARKET", "IMPLAUSIBLE_TIME")
CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+\Z")


def texts(node: ast.AST) -> Iterator[str]:
    """Text constants in an expression that look like a code."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and CODE.match(part.value):
            yield part.value


def reasons_of(source: str) -> set[str]:
    """The reasons that one file can give."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            at = NAMES_REASON.get(name)
            if at is not None and len(node.args) > at:
                found |= set(texts(node.args[at]))
            found |= {text for word in node.keywords if word.arg == "reason" and at is not None for text in texts(word)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id in HOLDS_REASONS for t in targets) and node.value is not None:
                found |= set(texts(node.value))
    return found


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    """Add a row to docs/faults.md for each that is missing."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    reasons = set().union(*(reasons_of(path.read_text()) for path in files))
    assert len(reasons) > 25, "the search for reasons found too few to be believed"
    explained = (ROOT / "docs" / "faults.md").read_text()
    missing = sorted(reason for reason in reasons if f"`{reason}`" not in explained)
    assert not missing, f"docs/faults.md does not explain {missing}"


def test_search_finds_reasons_in_calls_and_constants() -> None:
    """Else the test above could not fail."""
    assert reasons_of('raise m.MalformedFrame("bad_thing", f"{x}")') == {"bad_thing"}
    assert reasons_of('y = _gated(item, "no_thing" if x else "odd_thing", f)') == {"no_thing", "odd_thing"}
    assert reasons_of('IMPLAUSIBLE_TIME = "far_future"') == {"far_future"}
    assert reasons_of('other("some_text")') == set()
