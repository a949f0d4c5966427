"""Fill a changelog: `python -m bench.changelog BROKER TOPIC RECORDS KEYS`. Prints the bytes of one value.

The values are books of 60 levels as table order_books stores them, header included; every key comes again
RECORDS / KEYS times, as dirty keys do at each checkpoint. Any table restores them: what a value means is not looked at.
"""

import sys

from bench.input import FLUSH_S_MAX, SESSION, Feed
from tables.changelog import header
from tables.order_books import BookState, encode

#: Next source offset in the header of each value: nothing of the (empty) source is included.
NEXT_OFFSET = 0


def values(keys: int) -> list[tuple[str, bytes]]:
    """(key, value) of each market."""
    rows = []
    for number, market in enumerate(Feed(0, keys).markets):
        state = BookState(market.ticker, number)
        state.start_session(SESSION)
        state.apply_snapshot(SESSION, market.sid, 1 + number, market.yes.items(), market.no.items())
        state.published = state.top()
        state.revision = 1
        rows.append((market.ticker, header([NEXT_OFFSET]) + encode(state)))
    return rows


def main() -> None:
    """See the module's docstring."""
    from confluent_kafka import Producer

    broker, topic, records, keys = sys.argv[1:5]
    settings = {"compression.type": "lz4", "partitioner": "murmur2_random", "linger.ms": 20, "batch.size": 262_144}
    producer = Producer({"bootstrap.servers": broker, "queue.buffering.max.messages": 500_000, **settings})
    rows = values(int(keys))
    for number in range(int(records)):
        ticker, value = rows[number % len(rows)]
        while True:
            try:
                producer.produce(topic, value, key=ticker)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 2_000 == 0:
            producer.poll(0)
    if producer.flush(FLUSH_S_MAX):
        sys.exit("the broker did not take all of the changelog")
    print(len(rows[0][1]))


if __name__ == "__main__":
    main()
