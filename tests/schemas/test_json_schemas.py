"""docs/schemas says what the record classes say."""

import json
from pathlib import Path

import pytest

from ops.schemas import FOLDER, render_all, write_all
from schemas.registry import TOPICS


def test_generated_schemas_are_current() -> None:
    """Each topic has its file, each file its topic, and the text is the generated one (else: make schemas)."""
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}

    assert sorted(found) == sorted(render_all()), "run make schemas"
    assert [name for name, text in render_all().items() if found[name] != text] == [], "run make schemas"


def test_a_second_write_changes_nothing_and_a_left_over_file_goes(tmp_path: Path) -> None:
    """Writing is idempotent, and removes the schema of a topic that is gone."""
    assert len(write_all(tmp_path)) == len(TOPICS)
    (tmp_path / "market.gone.json").write_text("{}")

    assert write_all(tmp_path) == ["market.gone.json"]
    assert write_all(tmp_path) == []


@pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)
def test_schema_is_strict_and_names_every_record(topic: object) -> None:
    """Unknown fields are refused in the envelope and in the payload, of every record type of the topic."""
    found = next(t for t in TOPICS if t is topic)
    schema = json.loads(render_all()[f"{found.name}.json"])
    structs = [d for d in schema["$defs"].values() if d.get("type") == "object"]
    tags = {d["properties"]["event_type"]["enum"][0] for d in structs if "event_type" in d["properties"]}

    assert structs
    assert all(d["additionalProperties"] is False for d in structs)
    assert tags == {record.__struct_config__.tag for record in found.records}
