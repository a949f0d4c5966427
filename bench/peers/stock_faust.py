"""The book job on stock faust-streaming, as its documentation would write it: a Table in RocksDB, an agent, one event
at a time. Values are bytes, so that only Faust itself is measured; all other settings are its defaults, which suit it
best (a shorter commit interval or compression makes it slower).

Environment: BENCH_BROKER, BENCH_INPUT, BENCH_OUTPUT, BENCH_GROUP, BENCH_STATE_DIR.
"""

import os
import sys

import faust

from bench.peers.python_book import fold

app = faust.App(
    os.environ["BENCH_GROUP"],
    broker=f"kafka://{os.environ['BENCH_BROKER']}",
    store="rocksdb://?driver=rocksdict",
    datadir=os.environ["BENCH_STATE_DIR"],
    topic_partitions=int(os.environ["BENCH_PARTITIONS"]),
    web_enabled=False,
)
updates = app.topic(
    os.environ["BENCH_INPUT"], key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
)
quotes = app.topic(
    os.environ["BENCH_OUTPUT"], key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
)
books = app.Table("books", key_type=bytes, value_type=bytes)


@app.agent(updates)
async def maintain_books(stream: faust.StreamT[bytes]) -> None:
    """Load, compute, assign, send."""
    async for event in stream.events():
        message = event.message
        stored, quote = fold(books.get(event.key), event.value, message.topic, message.partition, message.offset)
        if stored is not None:
            books[event.key] = stored
        if quote is not None:
            await quotes.send(key=event.key, value=quote)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "-l", "warn", "--without-web"]
    app.main()
