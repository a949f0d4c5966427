"""Book records of known content for tests of the state worker: deterministic by seed."""

import random
from collections.abc import Iterator
from typing import Any

from schemas import records as r
from schemas.codec import encode_record


class BookInput:
    """Book records of some markets: consistent books, one session, duplicates now and then; and on request poison,
    impossible deltas, gaps, and restarts of the session. Deterministic by seed."""

    def __init__(self, markets: int, seed: int, *, faults: bool = False) -> None:
        self._random = random.Random(seed)
        self._tickers = [f"KXTEST-{i:03d}" for i in range(markets)]
        self._faults = faults
        self._session = f"s{seed}"
        self._seq = 0
        self._ts_ms = 1_795_000_000_000
        self._books: dict[str, dict[str, dict[int, int]]] = {}
        self._last: tuple[str, bytes] | None = None

    def take(self, count: int) -> list[tuple[bytes, bytes]]:
        """The next `count` (key, value) pairs."""
        source = self._endless()
        return [next(source) for _ in range(count)]

    def _endless(self) -> Iterator[tuple[bytes, bytes]]:
        while True:
            for ticker in self._tickers:
                if ticker not in self._books:
                    yield self._reset(ticker, "session_start")
                    yield self._snapshot(ticker)
            yield self._any(self._random.choice(self._tickers))

    def _any(self, ticker: str) -> tuple[bytes, bytes]:
        draw = self._random.random()
        if draw < 0.01 and self._last is not None:
            return self._last[0].encode(), self._last[1]
        if draw < 0.02:
            return self._snapshot(ticker)
        if self._faults and draw < 0.024:
            return ticker.encode(), b'{"event_type":"book_delta","broken":' + str(self._seq).encode()
        if self._faults and draw < 0.028:
            return self._delta(ticker, "yes", 4_200, -(10**9))
        if self._faults and draw < 0.030:
            return self._reset(ticker, "gap")
        return self._walk(ticker)

    def _walk(self, ticker: str) -> tuple[bytes, bytes]:
        side = self._random.choice(["yes", "no"])
        levels = self._books[ticker][side]
        price_e4 = self._random.randrange(100, 4_900, 100)
        size_e2 = levels.get(price_e4, 0)
        delta_e2 = -size_e2 if size_e2 and self._random.random() < 0.4 else self._random.randrange(100, 5_000)
        levels[price_e4] = size_e2 + delta_e2
        if not levels[price_e4]:
            del levels[price_e4]
        return self._delta(ticker, side, price_e4, delta_e2)

    def _delta(self, ticker: str, side: str, price_e4: int, delta_e2: int) -> tuple[bytes, bytes]:
        payload = r.BookDeltaPayload(
            market_ticker=ticker, market_id=None, session_id=self._session, sid=1, seq=self._next(),
            side=side, price_e4=price_e4, delta_e2=delta_e2,
        )  # type: ignore[arg-type]  # fmt: skip
        record = r.BookDelta(**self._head(f"book_delta:v1:{self._session}:1:{self._seq}"), payload=payload)
        return self._sent(ticker, record)

    def _snapshot(self, ticker: str) -> tuple[bytes, bytes]:
        book = self._books.setdefault(ticker, {"yes": {}, "no": {}})
        for side in book.values():
            side.setdefault(self._random.randrange(100, 4_900, 100), 1_000)
        payload = r.BookSnapshotPayload(
            market_ticker=ticker, market_id="m", session_id=self._session, sid=1, seq=self._next(),
            yes=sorted(book["yes"].items()), no=sorted(book["no"].items()),
        )  # fmt: skip
        head = self._head(f"book_snapshot:v1:{self._session}:1:{self._seq}") | {"ts_event": None}
        return self._sent(ticker, r.BookSnapshot(**head, payload=payload))

    def _reset(self, ticker: str, reason: str) -> tuple[bytes, bytes]:
        payload = r.BookResetPayload(
            market_ticker=ticker, session_id=self._session, sid=1, seq=self._seq, reason=reason
        )  # type: ignore[arg-type]
        head = self._head(f"book_reset:v1:{self._session}:{ticker}:{self._next()}") | {"ts_event": None}
        return self._sent(ticker, r.BookReset(**head, payload=payload))

    def _sent(self, ticker: str, record: r.Record) -> tuple[bytes, bytes]:
        value = encode_record(record)
        self._last = ticker, value
        return ticker.encode(), value

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _head(self, key: str) -> dict[str, Any]:
        self._ts_ms += self._random.randrange(3)
        return {
            "ts_event": self._ts_ms, "ts_ingest": self._ts_ms + 5, "source": "test", "idempotency_key": key,
            "cause": None,
        }  # fmt: skip
