"""The book job on Quix Streams: a stateful apply over its RocksDB state with changelog, quotes to a topic.

State and records are bytes, so that only Quix itself is measured. Environment: as in stock_faust.py.
"""

import os
from typing import Any

from quixstreams import Application, State, message_context

from bench.peers.python_book import fold

app = Application(
    broker_address=os.environ["BENCH_BROKER"],
    consumer_group=os.environ["BENCH_GROUP"],
    state_dir=os.environ["BENCH_STATE_DIR"],
    auto_offset_reset="earliest",
    commit_interval=1.0,  # the same commit interval for all peers
    producer_extra_config={"compression.type": "lz4", "partitioner": "murmur2_random"},
    loglevel="WARNING",
)
updates = app.topic(os.environ["BENCH_INPUT"], key_deserializer="bytes", value_deserializer="bytes")
quotes = app.topic(os.environ["BENCH_OUTPUT"], key_serializer="bytes", value_serializer="bytes")


def maintain_book(value: bytes, key: Any, timestamp: int, headers: Any, state: State) -> list[bytes]:
    """The quote that this record causes, if any."""
    context = message_context()
    stored, quote = fold(state.get_bytes("book"), value, context.topic, context.partition, context.offset)
    if stored is not None:
        state.set_bytes("book", stored)
    return [] if quote is None else [quote]


frame = app.dataframe(updates)
frame.apply(maintain_book, stateful=True, expand=True, metadata=True).to_topic(quotes)

if __name__ == "__main__":
    app.run()
