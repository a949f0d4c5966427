"""Fixtures for all tests. The engines' live in `engines.py`, beside this file."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from engines import kafka, new_database, own_kafka, postgres


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """A test that builds an application makes its process read our topics as runs; the next test reads records.

    A hook and not a fixture: hypothesis refuses fixtures of a function's scope.
    """
    transport = sys.modules.get("app.transport")
    if transport is not None:
        transport._lean_topics.clear()


__all__ = ["kafka", "new_database", "own_kafka", "postgres"]
