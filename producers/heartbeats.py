"""`feed_heartbeat` to every partition each second: a dead producer cannot say that it is dead."""

import asyncio

from producers.feed import Feed
from producers.ingest import now_ms
from producers.metrics import FeedCounts
from producers.publisher import Publisher
from schemas.codec import encode_record
from schemas.registry import FEED_STATUS
from venues.kalshi.translate import feed_heartbeat

PERIOD_S = 1.0


async def send_heartbeats(feed: Feed, publisher: Publisher, counts: FeedCounts, partitions: int) -> None:
    """Until cancelled. While Kafka owes us the last round none is added: only the newest matters."""
    topic = FEED_STATUS.name
    loop = asyncio.get_running_loop()
    n = 0
    next_s = loop.time()
    while True:
        if publisher.records_sent[topic] == publisher.records_acked[topic]:
            n += 1
            ts_ms = now_ms()
            for partition in range(partitions):
                record = feed_heartbeat(
                    partition, feed.session_id, n, feed.connected, counts.last_frame_ms, len(feed.markets), ts_ms
                )
                publisher.add_to(topic, partition, str(partition).encode(), encode_record(record), ts_ms)
        next_s = max(next_s + PERIOD_S, loop.time())
        await asyncio.sleep(next_s - loop.time())
