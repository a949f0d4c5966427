"""producer market as a whole: a scripted venue on a real socket, a real Kafka with the catalogue's own topics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from app.bus import aiokafka_options
from app.settings import Settings, load_settings
from domain.errors import UserMistake
from ops.engines.kafka import KafkaEngine
from ops.ports import free_ports
from ops.topics import apply_topics
from producers import market
from schemas.codec import encode_record
from schemas.records import SnapshotRequest, SnapshotRequestPayload
from schemas.registry import BOOK_UPDATES, DLQ, FEED_STATUS, SNAPSHOT_REQUESTS, TRADES, Topic, decoder
from venues.capture import read_capture

pytestmark = [pytest.mark.engines, pytest.mark.timeout(180)]

PARTITIONS = 4
MARKETS = ("KX-A", "KX-B", "KX-C")


def _settings(kafka: KafkaEngine, url: str, folder: Path, **more: Any) -> Settings:
    return load_settings(
        _env_file=None,
        bus_url=kafka.bus_url,
        kalshi_env="sim",
        kalshi_ws_url=url,
        market_tickers=MARKETS,
        data_dir=folder,
        producer_port=free_ports(1)[0],
        **more,
    )


@asynccontextmanager
async def producing(settings: Settings) -> AsyncIterator[None]:
    """producer market in this loop, stopped cleanly at the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(market.run(settings, stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def _get(settings: Settings, path: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{settings.producer_port}{path}") as answer,
    ):
        is_json = answer.content_type == "application/json"
        return answer.status, await (answer.json() if is_json else answer.text())


async def _all_records(settings: Settings, topic: Topic) -> list[tuple[int, bytes, Any]]:
    """(partition, key, record) of everything in the topic, each decoded strictly."""
    consumer = AIOKafkaConsumer(**aiokafka_options(settings), enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        targets = [TopicPartition(topic.name, n) for n in range(PARTITIONS)]
        consumer.assign(targets)
        ends = await consumer.end_offsets(targets)
        records: list[tuple[int, bytes, Any]] = []
        for target in targets:
            while await consumer.position(target) < ends[target]:
                batch = (await consumer.getmany(target, timeout_ms=500)).get(target, [])
                records += [(m.partition, m.key, decoder(topic).decode(m.value)) for m in batch]
        return records
    finally:
        await consumer.stop()


async def _wait(settings: Settings, holds: Any) -> dict[str, Any]:
    """/status, once the condition holds."""
    async with asyncio.timeout(120):
        while True:
            try:
                _, status = await _get(settings, "/status")
                if holds(status):
                    return dict(status)
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.02)


async def test_frames_reach_kafka_in_order_and_are_accounted_to_the_last(
    empty_kafka: KafkaEngine, tmp_path: Path, scripted_venue: Any
) -> None:
    """Books, trades, dead letters (a 4 MB one too) and heartbeats; requests answered; captures; a second is refused."""
    huge = "x" * (4 << 20)

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        for seq, ticker in enumerate(MARKETS, 1):
            await peer.snapshot(seq, ticker)
        for seq in range(4, 3_004):
            await peer.delta(seq, MARKETS[seq % 3])
        trade = {"trade_id": "t-1", "market_ticker": "KX-A", "yes_price": 42, "count": 3, "taker_side": "no", "ts": 9}
        await peer.say({"type": "trade", "sid": 2, "seq": 1, "msg": trade})
        await peer.say(huge)
        ask = await peer.command("update_subscription", "get_snapshot")
        assert ask["params"]["market_tickers"] == ["KX-B"]
        await peer.snapshot(3_004, "KX-B", command_id=ask["id"])
        await asyncio.Event().wait()

    async with scripted_venue(venue) as server:
        settings = _settings(empty_kafka, server.url, tmp_path)
        await apply_topics(aiokafka_options(settings), settings)
        async with producing(settings):
            status = await _wait(settings, lambda s: s["frames_in"] == 3_007 and not s["unacked"])
            assert status["markets"] == dict.fromkeys(MARKETS, "live")
            await _ask_snapshot(settings, "KX-B", status["session_id"])
            status = await _wait(settings, lambda s: s["frames_in"] == 3_008 and not s["unacked"])
            assert (await _get(settings, "/readyz"))[0] == 200
            assert "kalshi_producer_frames_in_total 3008.0" in (await _get(settings, "/metrics"))[1]
            with pytest.raises(UserMistake, match="data directory"):
                await market.run(_settings(empty_kafka, server.url, tmp_path), asyncio.Event())
            with pytest.raises(UserMistake, match="another producer market"):
                await market.run(_settings(empty_kafka, server.url, tmp_path / "elsewhere"), asyncio.Event())

    classes = ("records_caused_by_frames", "control_frames", "duplicates_ignored", "dead_letters")
    assert sum(status[name] for name in classes) == status["frames_in"] == 3_008
    books = await _all_records(settings, BOOK_UPDATES)
    for n, ticker in enumerate(MARKETS):
        mine = [(where, key, r) for where, key, r in books if r.payload.market_ticker == ticker]
        assert {where for where, _, _ in mine} == {DefaultPartitioner()(ticker.encode(), list(range(4)), [])}
        assert {key for _, key, _ in mine} == {ticker.encode()}
        deltas = [r.payload.seq for _, _, r in mine if r.__struct_config__.tag == "book_delta"]
        assert deltas == [seq for seq in range(4, 3_004) if seq % 3 == n]
        resets = [r.payload.reason for _, _, r in mine if r.__struct_config__.tag == "book_reset"]
        assert resets == ["session_start", "stopped"]
    assert [r.payload.trade_id for _, _, r in await _all_records(settings, TRADES)] == ["t-1"]
    assert [r.payload.reason for _, _, r in await _all_records(settings, DLQ)] == ["not_json"]
    assert {where for where, _, _ in await _all_records(settings, FEED_STATUS)} == set(range(PARTITIONS))
    captured = [frame for path in (tmp_path / "raw").glob("*.zst") for frame in read_capture(path)]
    assert len(captured) == 3_008


async def _ask_snapshot(settings: Settings, ticker: str, session_id: str) -> None:
    payload = SnapshotRequestPayload(market_ticker=ticker, session_id=session_id, sid=1, seq=5, reason="negative_level")
    record = SnapshotRequest(
        ts_event=None, ts_ingest=1, source="test", idempotency_key="k", cause=None, payload=payload
    )
    producer = AIOKafkaProducer(**aiokafka_options(settings))
    await producer.start()
    await producer.send_and_wait(SNAPSHOT_REQUESTS.name, encode_record(record), key=ticker.encode())
    await producer.stop()


async def test_a_frozen_kafka_stops_the_reading_and_everything_arrives_afterwards(
    empty_kafka: KafkaEngine, tmp_path: Path, scripted_venue: Any
) -> None:
    """While the broker stands still: not ready, with the reason, bounded. Then every frame is there, in order."""
    deltas = 60_000
    go = asyncio.Event()

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await peer.snapshot(1, "KX-A")
        await go.wait()
        for seq in range(2, deltas + 2):
            await peer.delta(seq, "KX-A")
        await asyncio.Event().wait()

    async with scripted_venue(venue) as server:
        settings = _settings(empty_kafka, server.url, tmp_path, producer_buffer_records=5_000, use_recorder=False)
        await apply_topics(aiokafka_options(settings), settings)
        async with producing(settings):
            await _wait(settings, lambda s: s["frames_in"] == 3 and not s["unacked"])
            empty_kafka.pause()
            try:
                go.set()
                status = await _wait(settings, lambda s: any("buffer full" in p for p in s["problems"]))
                assert (await _get(settings, "/readyz"))[0] == 503
                assert status["unacked"] < deltas
            finally:
                empty_kafka.resume()
            status = await _wait(settings, lambda s: s["frames_in"] == deltas + 3 and not s["unacked"])
            assert (status["gaps"], status["duplicates_ignored"]) == (0, 0)
        seqs = [r.payload.seq for _, _, r in await _all_records(settings, BOOK_UPDATES) if hasattr(r.payload, "side")]
        assert seqs == list(range(2, deltas + 2))


async def test_a_restart_after_a_kill_does_not_wait_for_its_dead_predecessor(
    empty_kafka: KafkaEngine, tmp_path: Path, scripted_venue: Any
) -> None:
    """The lock file names the dead one; its young heartbeats are not another producer's."""

    async def venue(peer: Any) -> None:
        await peer.accept_subscribe()
        await asyncio.Event().wait()

    async with scripted_venue(venue) as server:
        settings = _settings(empty_kafka, server.url, tmp_path)
        await apply_topics(aiokafka_options(settings), settings)
        for _ in range(2):
            async with producing(settings):
                await _wait(settings, lambda s: s["connected"] and s["records_acked"].get(FEED_STATUS.name))
        sessions = {r.payload.session_id for _, _, r in await _all_records(settings, BOOK_UPDATES)}
    assert len(sessions) == 2


async def test_401_on_the_first_connect_ends_with_one_line(
    empty_kafka: KafkaEngine, tmp_path: Path, scripted_venue: Any
) -> None:
    """A wrong key is the user's to mend."""

    async def venue(peer: Any) -> None:
        await asyncio.Event().wait()

    async with scripted_venue(venue, refuse=(401,)) as server:
        settings = _settings(empty_kafka, server.url, tmp_path)
        await apply_topics(aiokafka_options(settings), settings)
        with pytest.raises(UserMistake, match="401"):
            await market.run(settings, asyncio.Event())
