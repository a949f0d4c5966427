"""One writer per topic: what the code sends to is what the catalogue says."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas import registry

#: Which producer the modules of `producers/` belong to; the ones not named here are shared and send nothing themselves.
PRODUCER_OF = {"account": "producer account", "ingest": "producer market", "heartbeats": "producer market"}
#: Methods that put a record on its way, the topic first.
SENDING = {"add", "add_to", "_publish"}
BY_CONSTANT = {name: topic for name, topic in vars(registry).items() if isinstance(topic, registry.Topic)}


def sent_topics(source: str) -> set[str]:
    """Names of the topics that this module sends to by constant (`X.name`, or an alias of it)."""
    tree = ast.parse(source)
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            aliases |= dict(_aliases(node.targets, node.value))
    return {
        topic
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in SENDING
        and node.args
        if (topic := _topic(node.args[0], aliases)) is not None
    }


def _aliases(targets: list[ast.expr], value: ast.expr) -> Iterator[tuple[str, str]]:
    for target in targets:
        pairs = (
            zip(target.elts, value.elts, strict=False)
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            else [(target, value)]
        )
        for left, right in pairs:
            topic = _topic(right, {})
            if isinstance(left, ast.Name) and topic is not None:
                yield left.id, topic


def _topic(node: ast.expr, aliases: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return aliases.get(node.id)
    if isinstance(node, ast.Attribute) and node.attr == "name" and isinstance(node.value, ast.Name):
        found = BY_CONSTANT.get(node.value.id)
        return None if found is None else found.name
    return None


def _producer_of(stem: str) -> str | None:
    for beginning, producer in PRODUCER_OF.items():
        if stem == beginning or stem.startswith(f"{beginning}_"):
            return producer
    return None


@pytest.fixture(scope="module")
def writers(root: Path, role_apps: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
    """Topic -> who sends to it, from the code of the producers and the outputs of every worker's stages."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((root / "producers").glob("*.py")):
        for topic in sent_topics(path.read_text()):
            found[topic].add(_producer_of(path.stem) or f"producers/{path.name}")
    for app in role_apps.values():
        for stage, outputs in app["outputs"].items():
            for topic in outputs:
                found[topic].add(f"agent {stage}")
    return found


def test_every_topic_has_the_writer_of_the_catalogue(writers: dict[str, set[str]]) -> None:
    """No topic has two writers, and none another than the catalogue says (dlq is everybody's)."""
    declared = {topic.name: topic.writer for topic in registry.TOPICS}
    wrong = [
        f"{topic}: expected {declared.get(topic, 'an entry in schemas/registry.py')}, was {', '.join(sorted(names))}"
        for topic, names in sorted(writers.items())
        if declared.get(topic) != "everybody" and names != {declared.get(topic)}
    ]

    assert not wrong, "\n" + "\n".join(wrong)


def test_the_topics_of_the_running_parts_are_seen(writers: dict[str, set[str]]) -> None:
    """The check looks at something: these are written by code that is found."""
    assert {"market.book_updates", "market.trades", "market.quote_updates", "account.fill_reports"} <= set(writers)


def test_topic_names_are_spelled_in_the_catalogue_only(root: Path, python_files: list[Path]) -> None:
    """Everybody else takes the name from there, so that a renamed topic is renamed everywhere."""
    names = {topic.name for topic in registry.TOPICS} - {"dlq"}
    found = []
    for path in python_files:
        relative = path.relative_to(root)
        if relative.parts[0] in ("tests", "bench") or relative == Path("schemas/registry.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in names:
                found.append(f"{relative}:{node.lineno}: spells {node.value}")

    assert not found, "\n" + "\n".join(found)


def test_a_send_is_recognised_in_every_form() -> None:
    """By constant, by module alias, by tuple of aliases, by local alias; reading is no send."""
    source = (
        "from schemas.registry import BOOK_UPDATES, DLQ, TRADES\n"
        "_BOOKS, _DLQ = BOOK_UPDATES.name, DLQ.name\n"
        "def f(p, consumer):\n"
        "    topic = TRADES.name\n    p.add(topic, 1)\n    p.add(_BOOKS, 1)\n    p._publish(DLQ.name, 1)\n"
        "    consumer.subscribe(TRADES.name)\n    seen.add('x')\n"
    )

    assert sent_topics(source) == {"market.trades", "market.book_updates", "dlq"}
