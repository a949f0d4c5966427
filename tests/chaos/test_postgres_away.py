"""Postgres away for a minute under load, the real worker: it waits, says why, catches up, every event is there once.

CHAOS_AWAY_S (60): how long the server is stopped. CHAOS_RATE (1,000): events/s meanwhile.
"""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from kernel_world import WorkerProcess, World
from postgres_topic import TOPIC, expected_of, make_topic, stored_of

from app.bus import aiokafka_options
from app.topics import GROUP_SINK_POSTGRES
from ops.engines.kafka import KafkaEngine
from ops.engines.postgres import PostgresEngine
from ops.migrate import migrate_postgres
from schemas.registry import DLQ

pytestmark = [pytest.mark.engines, pytest.mark.slow]

AWAY_S = float(os.environ.get("CHAOS_AWAY_S", "60"))
RATE = int(os.environ.get("CHAOS_RATE", "1000"))
PARTITIONS = (0, 1)
STEP_RECORDS = 20
CATCH_UP_S_MAX = 120.0


@pytest.fixture
def world(own_kafka: KafkaEngine, tmp_path: Path) -> Iterator[World]:
    """A Kafka of this test's own with the catalogue's topics."""
    world = World(own_kafka, tmp_path / "world")
    yield world
    world.stop_all()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresEngine]:
    """A migrated server that this test may stop."""
    engine = PostgresEngine(tmp_path / "pg")
    engine.start()
    migrate_postgres(engine.dsn)
    yield engine
    engine.stop()


@pytest.mark.timeout(900)
def test_a_minute_without_postgres_under_load_ends_equal(world: World, own_postgres: PostgresEngine) -> None:
    """An immediate stop under load, and a start: the same process goes on, store and topic are equal, each refusal is
    told, and the lag that grew meanwhile is gone."""
    count = int((AWAY_S + 20) * RATE / len(PARTITIONS))
    topics = {partition: make_topic(17, count, partition) for partition in PARTITIONS}
    worker = world.start(WORKER_ROLE=GROUP_SINK_POSTGRES, PG_DSN=own_postgres.dsn)
    load = threading.Thread(target=asyncio.run, args=(_produce(world, topics),))
    load.start()
    try:
        _until(lambda: _stored(worker) > RATE, "some records are stored", worker)
        own_postgres.stop()
        stopped_s = time.monotonic()
        before = _stored(worker)
        _until(lambda: any("postgres" in r for r in _reasons(worker)), "readiness names the store", worker)
        time.sleep(max(0.0, AWAY_S - (time.monotonic() - stopped_s)))  # the outage itself, not synchronisation
        away = _reasons(worker)
        assert any("postgres" in reason for reason in away)
        own_postgres.restart()
        load.join()
        _until(lambda: _stored(worker) == count * len(PARTITIONS), "everything is committed", worker, CATCH_UP_S_MAX)
        caught_up_s = time.monotonic() - stopped_s - AWAY_S
    finally:
        load.join()
    assert worker.stop() == 0, worker.tail()
    print(f"away {AWAY_S:.0f} s at {RATE}/s: {before} stored before, caught up {caught_up_s:.1f} s after; {away[:1]}")

    letters: dict[int, set[int]] = {partition: set() for partition in PARTITIONS}
    for rows in world.read(DLQ.name).values():
        for row in rows:
            payload = json.loads(row.value)["payload"]
            letters[payload["partition"]].add(payload["offset"])
    for partition, records in topics.items():
        expected, stored = expected_of(records), stored_of(own_postgres.dsn, partition)
        assert stored.rows == expected.rows
        assert stored.latest == expected.latest
        assert letters[partition] == expected.refused


async def _produce(world: World, topics: dict[int, list]) -> None:  # type: ignore[type-arg]
    """All records at about RATE, acknowledged."""
    producer = AIOKafkaProducer(**aiokafka_options(world.settings), enable_idempotence=True)
    await producer.start()
    began_s, sent = time.monotonic(), 0
    try:
        for at in range(0, max(map(len, topics.values())), STEP_RECORDS):
            for partition, records in topics.items():
                sends = [
                    await producer.send(TOPIC, row.value, key=row.key, partition=partition)
                    for row in records[at : at + STEP_RECORDS]
                ]
                await asyncio.gather(*sends)
                sent += len(sends)
            await asyncio.sleep(max(0.0, began_s + sent / RATE - time.monotonic()))
    finally:
        await producer.stop()


def _stored(worker: WorkerProcess) -> int:
    """Records committed by the group, which is after they are in the store."""
    lag = worker.get("/lag") or {}
    return sum((lag.get(f"{TOPIC}-{partition}") or {}).get("committed") or 0 for partition in PARTITIONS)


def _reasons(worker: WorkerProcess) -> list[str]:
    return list((worker.get("/readyz") or {}).get("reasons") or [])


def _until(done: Callable[[], bool], what: str, worker: WorkerProcess, deadline_s: float = 60.0) -> None:
    until = time.monotonic() + deadline_s
    while not done():
        assert worker.process.poll() is None, f"worker ended with {worker.process.returncode}:\n{worker.tail()}"
        assert time.monotonic() < until, f"expected that {what} within {deadline_s} s:\n{worker.tail()}"
        time.sleep(0.1)
