"""producer account as a process, on a real Kafka, killed while the account trades: nothing lost, nothing doubled."""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from account_desk import Desk
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.bus import aiokafka_options
from app.settings import Settings, load_settings
from ops.engines.kafka import KafkaEngine
from ops.ports import free_ports
from ops.topics import apply_topics
from producers.account_mark import load_mark
from schemas.registry import FILL_REPORTS, ORDER_REPORTS, POSITION_REPORTS, decoder, topic_named
from venues.simulator.account import Account
from venues.simulator.config import SimConfig
from venues.simulator.server import Simulator, serving

DEADLINE_S = 120.0
KILLS = 4
RUN = (
    "import asyncio; from app.settings import settings; from producers.account import run; asyncio.run(run(settings()))"
)
TOPICS = (POSITION_REPORTS.name, FILL_REPORTS.name, ORDER_REPORTS.name)


def environment(kafka: KafkaEngine, sim: Simulator, tmp_path: Path, port: int) -> dict[str, str]:
    """What `up` would set."""
    return {
        "BUS_URL": kafka.bus_url,
        "DATA_DIR": str(tmp_path / "data"),
        "KALSHI_ENV": "sim",
        "KALSHI_WS_URL": f"ws://127.0.0.1:{sim.port}/trade-api/ws/v2",
        "KALSHI_REST_URL": f"http://127.0.0.1:{sim.port}/trade-api/v2",
        "KALSHI_TIER": "prime",
        "ACCOUNT_POLL_INTERVAL_S": "1",
        "PRODUCER_PORT": str(port),
    }


async def status(port: int) -> dict[str, Any]:
    """The producer's /status, empty while it does not answer."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/status") as answer:
            body: dict[str, Any] = await answer.json()
            return body
    except (aiohttp.ClientError, OSError):
        return {}


async def until_status(port: int, holds: Any) -> dict[str, Any]:
    """Poll /status until it is as wanted."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            body = await status(port)
            if body and holds(body):
                return body
            await asyncio.sleep(0.05)


async def read_back(settings: Settings) -> Desk:
    """All account topics from their beginning to their end, folded."""
    desk = Desk()
    consumer = AIOKafkaConsumer(**aiokafka_options(settings), enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        for name in TOPICS:
            partitions = [TopicPartition(name, n) for n in range(settings.topic_partitions)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            for partition in partitions:
                while await consumer.position(partition) < ends[partition]:
                    for message in (await consumer.getmany(partition, timeout_ms=200)).get(partition, ()):
                        desk.read(decoder(topic_named(name)).decode(message.value))
    finally:
        await consumer.stop()
    return desk


@pytest.mark.engines
async def test_a_killed_account_producer_loses_no_fill_and_moves_no_position(
    empty_kafka: KafkaEngine, tmp_path: Path
) -> None:
    """kill -9 at random moments of trading at 200 actions/s, a stretch without any producer, then a clean stop."""
    config = SimConfig(rate=1_000, strikes=3, account_vintage="mixed")
    account = Account(config, actions_per_s=0, budget_per_s=4_000)
    async with serving(config, (account,)) as sim:
        port = free_ports(1)[0]
        given = environment(empty_kafka, sim, tmp_path, port)
        settings = load_settings(**{name.lower(): value for name, value in given.items()})
        await apply_topics(aiokafka_options(settings), settings)
        dice = random.Random(7)

        async def start() -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, env={**os.environ, **given})

        async def trade(seconds: float) -> None:
            for _ in range(int(seconds * 200)):
                account.act(sim.hub)
                sim.hub.flush()
                await asyncio.sleep(1 / 200)

        producer = await start()
        await until_status(port, lambda body: body["polls"] >= 1 and body["connected"])
        for _ in range(KILLS):
            await trade(0.3 + dice.random())
            producer.send_signal(signal.SIGKILL)
            await producer.wait()
            await trade(0.3)
            producer = await start()
            await until_status(port, lambda body: body["polls"] >= 1)
        polls = (await status(port))["polls"]
        await until_status(port, lambda body: body["polls"] >= polls + 2 and body["unacked"] == 0)
        producer.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(producer.wait(), DEADLINE_S) == 0

        desk = await read_back(settings)
        assert len(account.ledger.fills) > 200
        desk.assert_equals(account.ledger)
        assert desk.verdicts["conflicting"] == desk.verdicts["too_old"] == 0
        mark = load_mark(next((tmp_path / "data" / "account").glob("*.json")))
        assert mark is not None
        assert mark.fills_ms == account.ledger.fills[-1].ts_us // 1_000


@pytest.mark.engines
async def test_a_second_account_producer_on_the_same_data_directory_is_refused(
    empty_kafka: KafkaEngine, tmp_path: Path
) -> None:
    """One line, and the first one goes on."""
    config = SimConfig(rate=100, strikes=3)
    async with serving(config, (Account(config, actions_per_s=0),)) as sim:
        port = free_ports(1)[0]
        given = environment(empty_kafka, sim, tmp_path, port)
        settings = load_settings(**{name.lower(): value for name, value in given.items()})
        await apply_topics(aiokafka_options(settings), settings)
        first = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, env={**os.environ, **given})
        await until_status(port, lambda body: body["polls"] >= 1)
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RUN, env={**os.environ, **given}, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await asyncio.wait_for(second.communicate(), DEADLINE_S)
        assert b"another producer account runs on this data directory" in errors
        assert (await status(port))["polls"] >= 1

        first.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(first.wait(), DEADLINE_S) == 0
