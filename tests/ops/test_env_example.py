"""`.env.example` names every setting once, with its default."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.settings import Settings

EXAMPLE = Path(__file__).parents[2] / ".env.example"
LINE = re.compile(r"^(# )?([A-Z][A-Z0-9_]*)=(.*)$")


def _lines() -> list[tuple[bool, str, str]]:
    found = [LINE.match(line) for line in EXAMPLE.read_text().splitlines()]
    return [(bool(m.group(1)), m.group(2), m.group(3)) for m in found if m]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict):
        return ",".join(f"{key}:{one}" if key else str(one) for key, one in value.items())
    return ",".join(value) if isinstance(value, tuple) else str(value)


def test_every_setting_is_named_once_and_nothing_else() -> None:
    """A new setting without its line fails here, a line without its setting too."""
    named = Counter(name for _, name, _ in _lines())

    assert set(named) == {name.upper() for name in Settings.model_fields}
    assert {name for name, times in named.items() if times > 1} == set()


def test_values_are_the_defaults() -> None:
    """A line with a value shows the default; a commented one has none."""
    for commented, name, value in _lines():
        default = Settings.model_fields[name.lower()].default
        if commented:
            assert not default, name
            assert value == "", name
        else:
            assert value == _text(default), name
            assert not isinstance(default, SecretStr), name


def test_the_example_can_be_used_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read as a `.env`, it gives the defaults."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    assert Settings(_env_file=EXAMPLE) == Settings(_env_file=None)
