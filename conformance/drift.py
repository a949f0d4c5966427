"""The alarm for the venue's contract: what an SDK's models and methods have that `contract.json` does not, and back.

`contract.json` holds what was there when it was last accepted: models with their fields, the SDK's methods, fields that
the simulator leaves out, and keys that it says beyond the models. `make conformance ARGS=--accept` writes it anew.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CONTRACT = Path(__file__).with_name("contract.json")
KEPT = ("version", "models", "methods", "unsaid", "unknown")


def load() -> dict[str, Any]:
    """Report name -> what was accepted; nothing where there is no file."""
    return json.loads(CONTRACT.read_text()) if CONTRACT.exists() else {}


def save(reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Accept these reports."""
    kept = {name: {key: report[key] for key in KEPT if key in report} for name, report in sorted(reports.items())}
    CONTRACT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def changes(accepted: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    """One line for each difference, empty where the contract is as it was accepted."""
    if accepted.get("version") != report["version"]:
        yield f"version {accepted.get('version')} -> {report['version']}"
    yield from _models(accepted.get("models", {}), report["models"])
    yield from _listed("method", accepted.get("methods", []), report.get("methods", []))
    unsaid = set(report["unsaid"]) - set(accepted.get("unsaid", []))
    yield from (f"the simulator does not say {field}" for field in sorted(unsaid))
    unknown = set(report["unknown"]) - set(accepted.get("unknown", []))
    yield from (f"the simulator says {field}, which the model does not have" for field in sorted(unknown))


def _models(old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for model in sorted(new.keys() - old.keys()):
        yield f"new model {model}"
    for model in sorted(old.keys() - new.keys()):
        yield f"model {model} is gone, or no answer holds one"
    for model in sorted(new.keys() & old.keys()):
        was, now = old[model], new[model]
        yield from (f"new field {model}.{field}: {now[field]}" for field in sorted(now.keys() - was.keys()))
        yield from (f"field {model}.{field} is gone" for field in sorted(was.keys() - now.keys()))
        for field in sorted(now.keys() & was.keys()):
            if now[field] != was[field]:
                yield f"{model}.{field}: {was[field]} -> {now[field]}"


def _listed(what: str, old: list[str], new: list[str]) -> Iterator[str]:
    yield from (f"new {what} {name}" for name in sorted(set(new) - set(old)))
    yield from (f"{what} {name} is gone" for name in sorted(set(old) - set(new)))
