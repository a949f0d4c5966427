"""Real engines for tests: one Kafka and one Postgres a session, in a temporary directory, on a free port.

They share the jars that jgo keeps in the user's cache; a clean machine fetches them once. A test that pauses or kills
an engine puts it back before it ends.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from ops.engines.kafka import KafkaEngine
from ops.engines.postgres import PostgresEngine
from ops.ports import free_ports

EMPTY_S_MAX = 60.0


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaEngine]:
    """A real Kafka: `.bus_url`, `.pause()`, `.resume()`, `.kill9()`, `.restart()`. Use topic names of your own."""
    engine = new_kafka(tmp_path_factory.mktemp("kafka"))
    engine.start()
    yield engine
    engine.kill9()


@pytest.fixture(scope="session")
def _spare_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaEngine]:
    engine = new_kafka(tmp_path_factory.mktemp("spare"))
    engine.start()
    yield engine
    engine.kill9()


@pytest.fixture
def empty_kafka(_spare_kafka: KafkaEngine) -> KafkaEngine:
    """A real Kafka without a topic, for one test after the other: where the catalogue's own topic names are needed, and
    no group (its members would outlive the test)."""
    asyncio.run(_delete_topics(_spare_kafka.bus_url))
    return _spare_kafka


async def _delete_topics(bus_url: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bus_url)
    await admin.start()
    try:
        async with asyncio.timeout(EMPTY_S_MAX):
            while names := [name for name in await admin.list_topics() if not name.startswith("__")]:
                await admin.delete_topics(names)
    finally:
        await admin.close()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaEngine]:
    """A real Kafka for one test alone (about 4 s): where workers join the catalogue's groups."""
    engine = new_kafka(tmp_path / "kafka")
    engine.start()
    yield engine
    engine.kill9()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresEngine]:
    """A real PostgreSQL: `.dsn`, `.stop()`, `.start()`. Use a database or schema of your own (`new_database`)."""
    engine = PostgresEngine(tmp_path_factory.mktemp("postgres") / "data")
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def new_database(postgres: PostgresEngine) -> Iterator[Callable[[], str]]:
    """Call it for the DSN of a new, empty database of the session's Postgres; dropped after the test."""
    import psycopg

    names: list[str] = []

    def create() -> str:
        name = f"t_{uuid.uuid4().hex}"
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            connection.execute(f'create database "{name}"')  # type: ignore[call-overload]
        names.append(name)
        return postgres.dsn.replace("/postgres?", f"/{name}?")

    yield create
    if not postgres.answers():
        postgres.start()
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        for name in names:
            connection.execute(f'drop database if exists "{name}" with (force)')  # type: ignore[call-overload]


def new_kafka(folder: Path) -> KafkaEngine:
    return KafkaEngine(folder, folder / "kafka.log", free_ports(1)[0])
