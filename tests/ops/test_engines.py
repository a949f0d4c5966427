"""The embedded engines themselves: data survives, faults are what they say."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ops.engines.kafka import KafkaEngine
from ops.engines.postgres import PostgresEngine

pytestmark = pytest.mark.engines


async def _create(engine: KafkaEngine, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=engine.bus_url)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()


async def _send(engine: KafkaEngine, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=engine.bus_url, acks="all") as producer:
        await producer.send_and_wait(topic, value)


async def _first(engine: KafkaEngine, topic: str) -> bytes | None:
    async with AIOKafkaConsumer(topic, bootstrap_servers=engine.bus_url, auto_offset_reset="earliest") as consumer:
        message = await consumer.getone()
        return bytes(message.value)


async def test_kafka_keeps_its_records_over_kill9_and_restart(kafka: KafkaEngine) -> None:
    """An acknowledged record is there after the broker was killed and started again on the same folder."""
    await _create(kafka, "kept")
    await _send(kafka, "kept", b"before")
    kafka.kill9()
    kafka.start()

    assert await _first(kafka, "kept") == b"before"


def test_kafka_paused_does_not_answer_and_resumed_does(kafka: KafkaEngine) -> None:
    """SIGSTOP makes the broker silent without ending it; SIGCONT brings it back."""
    kafka.pause()
    try:
        silent = not kafka.answers(timeout_s=1.0)
        alive = kafka.pid is not None
    finally:
        kafka.resume()

    assert silent
    assert alive
    kafka.wait_until_ready()


def test_postgres_keeps_its_rows_over_stop_and_start(postgres: PostgresEngine) -> None:
    """What was committed is there after a stop and a start, behind the same DSN."""
    import psycopg

    dsn = postgres.dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table kept as select 42 as answer")
    postgres.stop()
    stopped = not postgres.answers()
    postgres.start()
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute("select answer from kept").fetchall()
        connection.execute("drop table kept")

    assert stopped
    assert rows == [(42,)]
    assert postgres.dsn == dsn
