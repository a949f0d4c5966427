"""Fixtures for all tests. The engines' live in `engines.py`, beside this file."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

from engines import _spare_kafka, empty_kafka, kafka, new_database, own_kafka, postgres

# A broker of a test lives for seconds: the compiler for hot code would take a third of its time, and half of a core.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")
# `make test` judges the change at hand: the same examples in each run, and no example is wrong because the machine is
# busy. `pytest --hypothesis-profile=search` looks for new ones, ten times as many.
settings.register_profile(
    "steady", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", settings.get_profile("steady"), derandomize=False, max_examples=1_000)
settings.load_profile("steady")


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """A test that builds an application makes its process read our topics as runs; the next test reads records.

    A hook and not a fixture: hypothesis refuses fixtures of a function's scope.
    """
    transport = sys.modules.get("app.transport")
    if transport is not None:
        transport._lean_topics.clear()


__all__ = ["_spare_kafka", "empty_kafka", "kafka", "new_database", "own_kafka", "postgres"]
