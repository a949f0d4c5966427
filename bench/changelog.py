"""Fill a changelog: `python -m bench.changelog BROKER TOPIC RECORDS KEYS`. Prints the bytes of one value.

The values are books of 60 levels as table order_books stores them, header included; every key comes again
RECORDS / KEYS times, as dirty keys do at each checkpoint. Any table restores them: what a value means is not looked at.
"""

import sys
from itertools import cycle, islice

from bench.input import SESSION, Feed, produce
from schemas.registry import BOOK_UPDATES
from tables.headers import header
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
        rows.append((market.ticker, header({BOOK_UPDATES.name: NEXT_OFFSET}) + encode(state)))
    return rows


def main() -> None:
    """See the module's docstring."""
    broker, topic, records, keys = sys.argv[1:5]
    rows = values(int(keys))
    produce(broker, topic, islice(cycle(rows), int(records)))
    print(len(rows[0][1]))


if __name__ == "__main__":
    main()
