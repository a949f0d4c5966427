"""The documents say what the code has: settings, dependencies, links, commands, decisions."""

import re
from pathlib import Path

import pytest

from app.settings import Settings

HEADINGS = ["Context", "Decision", "Alternatives", "Consequences", "Status"]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| `?([A-Za-z0-9_.-]+)`? \| (.+) \|$", re.MULTILINE)


def _rows(text: str) -> dict[str, str]:
    return {name: rest for name, rest in ROW.findall(text) if name not in ("package", "setting")}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ",".join(f"{key}:{one}" if key else str(one) for key, one in value.items())
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_setting_is_documented_with_its_default(root: Path) -> None:
    """docs/settings.md has each one, and nothing that is none."""
    rows = _rows((root / "docs/settings.md").read_text())
    assert set(rows) == {name.upper() for name in Settings.model_fields}

    for name, field in Settings.model_fields.items():
        shown = rows[name.upper()].split(" | ")[0].strip("` |")
        expected = _text(field.default) if field.default not in (None, ()) else ""
        assert shown == expected or (not expected and not rows[name.upper()].startswith("`")), name


def test_every_dependency_has_its_reason(root: Path) -> None:
    """docs/dependencies.md names exactly what the two input files name."""
    rows = _rows((root / "docs/dependencies.md").read_text())
    lines = (root / "requirements.in").read_text() + (root / "requirements-dev.in").read_text()
    named = {re.split(r"[\[=]", line)[0] for line in lines.splitlines() if re.match(r"[A-Za-z]", line)}

    assert set(rows) == named
    assert all(len(reason) > 5 for reason in rows.values())


def test_links_lead_somewhere(root: Path, tracked_files: list[Path]) -> None:
    """Every relative link of every document, its anchor too."""
    dead = []
    for path in tracked_files:
        if path.suffix != ".md":
            continue
        for target in LINK.findall(path.read_text()):
            if "://" in target:
                continue
            file, _, anchor = target.partition("#")
            found = (path.parent / file) if file else path
            if not found.exists():
                dead.append(f"{path.relative_to(root)}: {target}")
            elif anchor and found.suffix == ".md" and anchor not in _anchors(found.read_text()):
                dead.append(f"{path.relative_to(root)}: {target}: no such heading")

    # Written by the first `make bench`.
    dead = [line for line in dead if not line.endswith(": results/README.md")]
    assert not dead, "\n" + "\n".join(dead)


def test_files_named_in_documents_exist(root: Path) -> None:
    """A path in backticks that looks like one of ours is one of ours."""
    gone = []
    for document in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        for name in re.findall(r"`((?:[a-z_]+/)+[a-z0-9_]+\.(?:py|sql|md))`", document.read_text()):
            if not (root / name).exists():
                gone.append(f"{document.relative_to(root)}: {name}")

    assert not gone, "\n" + "\n".join(gone)


def test_commands_of_the_readme_exist(root: Path) -> None:
    """`make x` and `kalshi-streams x` are what they are called."""
    from typer.main import get_command

    from ops.cli import app

    text = (root / "README.md").read_text() + (root / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]

    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets
    assert set(re.findall(r"\.venv/bin/kalshi-streams ([a-z-]+)", text)) <= commands | {"--help"}


def test_decisions_have_the_five_headings(root: Path) -> None:
    """One page each, so that they can be read one after the other."""
    pages = sorted((root / "docs/decisions").glob("*.md"))
    assert len(pages) >= 8
    assert len({page.name[:4] for page in pages}) == len(pages)

    for page in pages:
        found = re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)
        assert found == HEADINGS, page.name


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"])
def test_the_usual_files_are_there(root: Path, name: str) -> None:
    """A newcomer looks for them."""
    assert (root / name).stat().st_size > 200
