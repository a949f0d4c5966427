"""What a job left in its output topic: the number of quotes, the final best prices, and when they were written.

    python -m bench.check BROKER TOPIC

prints one JSON object. The times are the broker's (LogAppendTime), so they mean the same for every peer. Runs in the
peers' environment.
"""

import json
import sys
import time
from typing import Any

import msgspec

from bench.input import final_checksum

READ_S_MAX = 120.0


class Payload(msgspec.Struct, gc=False):
    """The part of a quote that is compared."""

    market_ticker: str
    status: str
    yes_bb_px_e4: int | None
    yes_bb_sz_e2: int | None
    no_bb_px_e4: int | None
    no_bb_sz_e2: int | None


class Quote(msgspec.Struct, gc=False):
    """A quote_update, without its envelope."""

    payload: Payload


def read(broker: str, topic: str) -> dict[str, Any]:
    """Read the topic from its start to its present end."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {"bootstrap.servers": broker, "group.id": f"bench-check-{time.time()}", "enable.auto.commit": False}
    )
    partitions = consumer.list_topics(topic).topics[topic].partitions
    ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p))[1] for p in partitions}
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    left = {p for p, end in ends.items() if end}
    last: dict[bytes, bytes] = {}
    records = stale = 0
    first_ms, last_ms = 1 << 60, 0
    deadline = time.monotonic() + READ_S_MAX
    while left and time.monotonic() < deadline:
        for message in consumer.consume(10_000, 1):
            value = message.value()
            partition, offset, ms = message.partition(), message.offset(), message.timestamp()[1]
            records += 1
            stale += b'"status":"stale"' in value
            last[message.key()] = value
            first_ms, last_ms = min(first_ms, ms), max(last_ms, ms)
            if offset + 1 >= ends[partition]:
                left.discard(partition)
    consumer.close()
    finals = {}
    for value in last.values():
        quote = msgspec.json.decode(value, type=Quote).payload
        finals[quote.market_ticker] = (
            quote.yes_bb_px_e4 or 0,
            quote.yes_bb_sz_e2 or 0,
            quote.no_bb_px_e4 or 0,
            quote.no_bb_sz_e2 or 0,
        )
    return {
        "quotes": records - stale,
        "stale": stale,
        "markets": len(finals),
        "final_sha": final_checksum(finals),
        "first_ms": first_ms,
        "last_ms": last_ms,
        "complete": not left,
    }


if __name__ == "__main__":
    print(json.dumps(read(*sys.argv[1:3])))
