"""The alarm for the venue's contract, and the choice of the Python that the SDKs run in."""

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance import drift, python

ACCEPTED: dict[str, Any] = {
    "version": "1",
    "models": {"Fill": {"fill_id": "required str", "ts": "optional int"}, "Old": {}},
    "methods": ["Api.get_fills"],
    "unsaid": ["Fill.ts"],
    "unknown": ["Market.liquidity_dollars"],
}


def report(**more: Any) -> dict[str, Any]:
    """What a run saw, by default just what was accepted."""
    return {**ACCEPTED, **more}


def test_a_contract_as_it_was_accepted_is_no_drift() -> None:
    """Less that is unsaid or unknown is none either."""
    assert list(drift.changes(ACCEPTED, report())) == []
    assert list(drift.changes(ACCEPTED, report(unsaid=[], unknown=[]))) == []


def test_what_is_new_changed_or_gone_when_the_sdk_is_raised_is_named() -> None:
    """A line for each model, field, type, method and gap of the simulator."""
    models = {"Fill": {"fill_id": "required int", "shard": "required int"}, "Series": {}}
    raised = report(
        version="2", models=models, methods=["Api.get_tape"], unsaid=["Fill.ts", "Fill.shard"], unknown=["Fill.old"]
    )
    assert list(drift.changes(ACCEPTED, raised)) == [
        "version 1 -> 2",
        "new model Series",
        "model Old is gone, or no answer holds one",
        "new field Fill.shard: required int",
        "field Fill.ts is gone",
        "Fill.fill_id: required str -> required int",
        "new method Api.get_tape",
        "method Api.get_fills is gone",
        "the simulator does not say Fill.shard",
        "the simulator says Fill.old, which the model does not have",
    ]


def test_the_accepted_contract_is_of_the_locked_sdks() -> None:
    """The pins, the lock and `contract.json` name the same versions, and fills and books are in it."""
    accepted = drift.load()
    pins = dict(
        line.split("==")
        for line in (python.PROJECT / "requirements-conformance.in").read_text().splitlines()
        if "==" in line
    )
    lock = (python.PROJECT / "requirements-conformance.lock").read_text()
    for sdk, version in pins.items():
        assert f"\n{sdk}=={version} " in lock
        assert accepted[sdk]["version"] == version
    assert accepted["kalshi-python-sync"]["models"]["Fill"]["outcome_side"].startswith("required")
    assert "OrderbookSnapshotPayload" in accepted["kalshi-sdk stream"]["models"]


def test_what_is_accepted_is_written_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what belongs to the contract."""
    monkeypatch.setattr(drift, "CONTRACT", tmp_path / "contract.json")
    assert drift.load() == {}
    drift.save({"sdk": report(made=["x"])})
    assert drift.load() == {"sdk": ACCEPTED}
    assert json.loads((tmp_path / "contract.json").read_text()) == {"sdk": ACCEPTED}


def fake_python(folder: Path, name: str, says: str) -> Path:
    """An interpreter that only says its version."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_newest_python_that_runs_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapper of a version that is not there is passed over; an older one is none."""
    fake_python(tmp_path, "python3.15", "echo not installed >&2; exit 127")
    newest = fake_python(tmp_path, "python3.14", "echo 3 14")
    fake_python(tmp_path, "python3.13", "echo 3 13")
    monkeypatch.delenv("CONFORMANCE_PYTHON", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    assert python.choose() == (str(newest), None)
    monkeypatch.setenv("CONFORMANCE_PYTHON", str(fake_python(tmp_path, "named", "echo 3 13")))
    assert python.choose() == (str(tmp_path / "named"), None)


def test_without_a_newer_python_the_present_one_is_used_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDKs' own bound is then ignored."""
    monkeypatch.setattr(python, "candidates", lambda: iter([str(fake_python(tmp_path, "old", "echo 3 12"))]))
    chosen, notice = python.choose()
    assert chosen == sys.executable
    assert notice is not None and "3.13" in notice


def test_packages_that_cannot_be_had_are_a_reason_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text is pip's own; nothing is taken for installed."""
    monkeypatch.setattr(python, "ENVIRONMENT", tmp_path / "environment")
    broken = fake_python(tmp_path, "broken", "echo no such package >&2; exit 3")
    monkeypatch.setattr(python, "choose", lambda: (str(broken), None))
    with pytest.raises(python.NoEnvironment, match="venv ended with 3: no such package"):
        python.environment()
    assert not (tmp_path / "environment" / ".installed").exists()
