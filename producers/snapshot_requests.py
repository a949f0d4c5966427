"""Reads market.snapshot_requests and passes them to the feed, rate-limited.

Requests are of the moment: reading starts at the end of the topic, without a group, and one of another session is
refused with a count. A request above the rate waits; the newest per market is enough, so the wait is bounded.
"""

import asyncio
import logging

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app.bus import BusConfig
from producers.feed import Feed
from producers.metrics import FeedCounts
from producers.topic_reader import topic_reader
from schemas.records import SnapshotRequest
from schemas.registry import SNAPSHOT_REQUESTS
from venues.kalshi.rest import TokenBucket

log = logging.getLogger(__name__)

WAITING_MAX = 10_000  # markets; one entry each
POLL_MS = 100
RETRY_S = 1.0

_decode = msgspec.json.Decoder(SnapshotRequest).decode


async def serve_snapshot_requests(
    bus: BusConfig, partitions: int, feed: Feed, counts: FeedCounts, requests_per_s: int
) -> None:
    """Until cancelled. Kafka's absence is waited out."""
    while True:
        try:
            await _serve(bus, partitions, feed, counts, TokenBucket(requests_per_s, requests_per_s))
        except (KafkaError, OSError) as wrong:
            log.warning("snapshot requests cannot be read: %r", wrong)
            await asyncio.sleep(RETRY_S)


async def _serve(bus: BusConfig, partitions: int, feed: Feed, counts: FeedCounts, bucket: TokenBucket) -> None:
    async with topic_reader(bus) as consumer:
        targets = [TopicPartition(SNAPSHOT_REQUESTS.name, n) for n in range(partitions)]
        consumer.assign(targets)
        await consumer.seek_to_end(*targets)
        waiting: dict[str, str] = {}
        while True:
            batches = await consumer.getmany(timeout_ms=POLL_MS)
            for messages in batches.values():
                for message in messages:
                    counts.snapshot_requests_received += 1
                    _note(message.value, waiting, counts)
            while waiting and bucket.try_take():
                ticker, session_id = waiting.popitem()
                if not feed.ask_snapshot(ticker, session_id):
                    counts.snapshot_requests_refused += 1


def _note(value: bytes | None, waiting: dict[str, str], counts: FeedCounts) -> None:
    try:
        request = _decode(value or b"").payload
    except msgspec.DecodeError:
        counts.snapshot_requests_refused += 1
        return
    if request.market_ticker in waiting or len(waiting) < WAITING_MAX:
        waiting[request.market_ticker] = request.session_id
    else:
        counts.snapshot_requests_refused += 1
