"""Fixtures of the sink tests: real chDB, one path a session, a database for each test."""

import itertools
from pathlib import Path
from typing import Any

import pytest

_numbers = itertools.count()


@pytest.fixture(scope="session")
def chdb_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One chDB path: a process may open one at a time."""
    return tmp_path_factory.mktemp("chdb") / "clickhouse"


@pytest.fixture
async def new_sink(chdb_path: Path) -> Any:
    """Call it for a started ClickHouse sink on a fresh database; called again it is a restart on the same tables."""
    from ops.migrate import migrate_clickhouse
    from sinks.clickhouse.sink import ClickHouseSink
    from sinks.clickhouse.store import Store

    stores, name = [], f"t{next(_numbers)}"

    async def create(**options: Any) -> ClickHouseSink:
        store = Store(name, chdb_path)
        sink = ClickHouseSink(store, migrate=lambda client: migrate_clickhouse(client, name), **options)
        await sink.start()
        stores.append(store)
        return sink

    yield create
    for store in stores:
        store.close()
