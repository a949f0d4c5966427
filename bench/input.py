"""The input of the book job: consistent books of many markets, as exactly the records our market producer writes.

Each market starts with a `book_reset(session_start)` and a snapshot of `LEVELS` levels a side; deltas follow,
concentrated near the touch, as recorded feeds are. The generator keeps the books, so that no level goes negative and
none crosses; one market's previous record comes again once in 1,000. Deterministic by seed.

    python -m bench.input BROKER TOPIC RECORDS MARKETS

prints one JSON object: what was produced and what a right job must end with. Runs in the peers' environment, because
librdkafka produces faster than anything we could write here.
"""

import json
import random
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from schemas.codec import encode_record, numbered_key
from schemas.records import (
    BookDelta,
    BookDeltaPayload,
    BookReset,
    BookResetPayload,
    BookSnapshot,
    BookSnapshotPayload,
    Record,
)

SEED = 20_261_121
LEVELS = 30  # a side at the start; the walk keeps it around that
LEVELS_MIN = 20  # a side; below it no level is emptied
DUPLICATE_ONE_IN = 1_000
MARKETS_PER_SID = 50  # as our producer subscribes
SESSION = "5f0c1a9e"
T0_MS = 1_795_224_000_000
FLUSH_S_MAX = 120.0


@dataclass(frozen=True)
class Expected:
    """What a right job ends with: quotes (changes of best price or size) and the checksum of the final ones."""

    records: int
    markets: int
    bytes_each: float
    quotes: int
    final_sha: str


def final_checksum(rows: dict[str, tuple[int, int, int, int]]) -> str:
    """One number for all markets' final best YES price, size, best NO price, size."""
    lines = (f"{ticker} {' '.join(map(str, top))}" for ticker, top in sorted(rows.items()))
    return sha256("\n".join(lines).encode()).hexdigest()[:16]


class Market:
    """One market's book and its next change. Prices in e4 on whole cents, sizes in e2."""

    def __init__(self, number: int, rnd: random.Random) -> None:
        self.ticker = f"KXBTCD-26NOV2017-T{91_000 + 250 * number}"
        self.sid = 1 + number // MARKETS_PER_SID
        self._rnd = rnd
        fair = rnd.randint(35, 65)
        self.yes = {100 * (fair - 1 - i): rnd.randint(100, 50_000) for i in range(LEVELS)}
        self.no = {100 * (99 - fair - i): rnd.randint(100, 50_000) for i in range(LEVELS)}
        self.best = [max(self.yes), max(self.no)]
        self.last = b""

    def top(self) -> tuple[int, int, int, int]:
        """Best YES price, its size, best NO price, its size. Neither side is ever empty."""
        yes, no = self.best
        return yes, self.yes[yes], no, self.no[no]

    def change(self) -> tuple[str, int, int]:
        """(side, price, delta) of the next delta, already applied here."""
        rnd = self._rnd.random
        is_no = rnd() < 0.5
        levels = self.no if is_no else self.yes
        best, other = self.best[is_no], self.best[not is_no]
        price, delta = self._pick(levels, best, other)
        size = levels.get(price, 0) + delta
        if size:
            levels[price] = size
            self.best[is_no] = max(best, price)
        else:
            del levels[price]
            if price == best:
                self.best[is_no] = max(levels)
        return ("no" if is_no else "yes"), price, delta

    def _pick(self, levels: dict[int, int], best: int, other: int) -> tuple[int, int]:
        rnd = self._rnd.random
        kind = rnd()
        fresh = 100 + int(rnd() * 49_900)
        if kind < 0.06 and best + 100 + other < 10_000:
            return best + 100, fresh
        price = max(100, best - 100 * int(self._rnd.expovariate(1 / 3)))
        size = levels.get(price)
        if size is None or kind > 0.5:
            return price, fresh
        if kind < 0.14 and len(levels) > LEVELS_MIN:
            return price, -size
        return price, -int(rnd() * size)


class Feed:
    """All records in order, as (market, bytes), and what they imply."""

    def __init__(self, records: int, markets: int) -> None:
        self._rnd = random.Random(SEED)
        self.records = records
        self.markets = [Market(number, self._rnd) for number in range(markets)]
        self._seq = [0] * (2 + markets // MARKETS_PER_SID)
        self.quotes = 0
        self.bytes_total = 0

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        ts_ms = T0_MS
        for market in self.markets:
            yield market.ticker, self._emit(_reset(market, ts_ms))
        for market in self.markets:
            market.last = self._emit(_snapshot(market, self._next_seq(market), ts_ms))
            self.quotes += 1
            yield market.ticker, market.last
        rnd, markets = self._rnd.random, self.markets
        for number in range(self.records - 2 * len(markets)):
            market = markets[int(rnd() * len(markets))]
            if rnd() * DUPLICATE_ONE_IN >= 1:
                before = market.top()
                delta = _delta(market, self._next_seq(market), ts_ms + number // 10)
                self.quotes += market.top() != before
                market.last = encode_record(delta)
            self.bytes_total += len(market.last)
            yield market.ticker, market.last

    def expected(self) -> Expected:
        """Valid once the feed was read to its end."""
        finals = {market.ticker: market.top() for market in self.markets}
        mean = round(self.bytes_total / self.records, 1)
        return Expected(self.records, len(self.markets), mean, self.quotes, final_checksum(finals))

    def _emit(self, record: Record) -> bytes:
        body = encode_record(record)
        self.bytes_total += len(body)
        return body

    def _next_seq(self, market: Market) -> int:
        self._seq[market.sid] += 1
        return self._seq[market.sid]


def _reset(market: Market, ts_ms: int) -> BookReset:
    payload = BookResetPayload(
        market_ticker=market.ticker, session_id=SESSION, sid=None, seq=None, reason="session_start"
    )
    key = numbered_key("book_reset", SESSION, market.ticker)
    return BookReset(
        ts_event=None, ts_ingest=ts_ms, source="kalshi_ws", idempotency_key=key, cause=None, payload=payload
    )


def _snapshot(market: Market, seq: int, ts_ms: int) -> BookSnapshot:
    payload = BookSnapshotPayload(
        market_ticker=market.ticker,
        market_id=None,
        session_id=SESSION,
        sid=market.sid,
        seq=seq,
        yes=sorted(market.yes.items()),
        no=sorted(market.no.items()),
    )
    key = numbered_key("book_snapshot", SESSION, market.sid, seq)
    return BookSnapshot(
        ts_event=None, ts_ingest=ts_ms, source="kalshi_ws", idempotency_key=key, cause=None, payload=payload
    )


def _delta(market: Market, seq: int, ts_ms: int) -> BookDelta:
    side, price_e4, delta_e2 = market.change()
    payload = BookDeltaPayload(
        market_ticker=market.ticker,
        market_id=None,
        session_id=SESSION,
        sid=market.sid,
        seq=seq,
        side=side,  # type: ignore[arg-type]
        price_e4=price_e4,
        delta_e2=delta_e2,
    )
    key = f"book_delta:v1:{SESSION}:{market.sid}:{seq}"
    return BookDelta(
        ts_event=ts_ms, ts_ingest=ts_ms + 3, source="kalshi_ws", idempotency_key=key, cause=None, payload=payload
    )


def produce(broker: str, topic: str, rows: Iterable[tuple[str, bytes]]) -> None:
    """Send all (key, value), partitioned by murmur2 as Java, Faust and our producer do, and wait for the acks."""
    from confluent_kafka import Producer

    producer = Producer(
        {
            "bootstrap.servers": broker,
            "linger.ms": 20,
            "queue.buffering.max.messages": 500_000,
            "compression.type": "lz4",
            "batch.size": 262_144,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
        }
    )
    for number, (ticker, body) in enumerate(rows):
        while True:
            try:
                producer.produce(topic, body, key=ticker)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 2_000 == 0:
            producer.poll(0)
    if producer.flush(FLUSH_S_MAX):
        sys.exit("the broker did not take all of it")


def main() -> None:
    """See the module's docstring."""
    broker, topic, records, markets = sys.argv[1:5]
    started = time.monotonic()
    feed = Feed(int(records), int(markets))
    produce(broker, topic, feed)
    expected = feed.expected()
    print(json.dumps(vars(expected) | {"seconds": round(time.monotonic() - started, 1)}))


if __name__ == "__main__":
    main()
