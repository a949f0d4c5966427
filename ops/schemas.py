"""docs/schemas/*.json: the JSON Schema of every record on every topic, generated from the record classes.

`python -m ops.schemas` writes them (`make schemas`); a test fails when a file is out of date, missing or left over.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from schemas.registry import TOPICS, Topic

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schemas"


def schema_of(topic: Topic) -> dict[str, Any]:
    """One schema per topic: any of its records, envelope and payload, with the shared types under `$defs`."""
    (schema,), definitions = msgspec.json.schema_components(
        [_any_of(topic)], schema_hook=None, ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": topic.name,
        "description": f"Written by {topic.writer}; keyed by {topic.key or 'the key of what was refused'}.",
        **schema,
        "$defs": dict(sorted(definitions.items())),
    }


def _any_of(topic: Topic) -> Any:
    union: Any = topic.records[0]
    for record in topic.records[1:]:
        union = union | record
    return union


def render_all() -> dict[str, str]:
    """File name to text, for all topics."""
    return {f"{topic.name}.json": json.dumps(schema_of(topic), indent=2) + "\n" for topic in TOPICS}


def write_all(folder: Path = FOLDER) -> list[str]:
    """Write what differs, remove what no topic has any more. Returns the names that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = render_all()
    changed = []
    for stale in sorted(path for path in folder.glob("*.json") if path.name not in wanted):
        stale.unlink()
        changed.append(stale.name)
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed


if __name__ == "__main__":
    for changed_name in write_all():
        print(changed_name)
