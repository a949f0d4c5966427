"""Every channel that a desk listens to, by a community's SDK, its order books kept through faults:
`python -m conformance.sdk.stream WS_URL KEY_ID KEY_FILE TICKER,TICKER..`

Says {"ready": true} when it listens; answers a line `books` on stdin with its books, and `end` with its report.
"""

import asyncio
import contextlib
import logging
import sys
from collections import Counter
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from kalshi.auth import KalshiAuth
from kalshi.config import KalshiConfig
from kalshi.errors import KalshiError
from kalshi.ws.client import KalshiWebSocket

from conformance.sdk.calls import say
from conformance.sdk.said import Said

QUEUE_FRAMES = 100_000  # between the SDK's reader and us; beyond it the SDK ends the session
RENEW_PAUSE_S = 0.2
#: The books come last: a frame that arrives while the SDK waits for another acknowledgement is dropped by it, and a
#: first snapshot that is lost is never asked for again.
CHANNELS = ("ticker", "trade", "fill", "market_positions", "user_orders", "order_group", "market_lifecycle")
BOOKS = "orderbook_delta"
_PARSE_COMPLAINTS = ("Failed to parse", "Skipping malformed", "Unknown message type", "Delta for unknown ticker")


class Complaints(logging.Handler):
    """Counts the SDK's warnings about frames that it could not use."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts: Counter[str] = Counter()
        self.texts: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the first text of each kind."""
        text = record.getMessage()
        kind = next((known for known in _PARSE_COMPLAINTS if text.startswith(known)), None)
        if kind is not None:
            cause = f": {record.exc_info[1]}" if record.exc_info else ""
            self.counts[kind] += 1
            self.texts.setdefault(kind, f"{text}{cause}"[:600])


class Listener:
    """Sessions of the SDK one after the other; what it parsed, by type."""

    def __init__(self, url: str, key_id: str, key_file: str, tickers: list[str]) -> None:
        # Both addresses must be of one environment; only the socket is used.
        rest_url = "http" + url.removeprefix("ws").replace("/ws/v2", "/v2")
        self.config = KalshiConfig(base_url=rest_url, ws_base_url=url, retry_base_delay=0.1, retry_max_delay=1.0)
        self.auth = KalshiAuth.from_key_path(key_id, key_file)
        self.tickers = tickers
        self.parsed: Counter[str] = Counter()
        self.said = Said()
        self.sessions = 0
        self.errors: Counter[str] = Counter()
        self.session: Any = None
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. A session that the SDK has given up is followed by another, as a desk would do."""
        while True:
            self.sessions += 1
            try:
                async with KalshiWebSocket(self.auth, self.config).connect() as self.session:
                    await self._listen()
            except (KalshiError, RuntimeError, AttributeError, UnicodeDecodeError) as ended:
                self.errors[f"{type(ended).__name__}: {ended}"[:120]] += 1
            await asyncio.sleep(RENEW_PAUSE_S)

    async def _listen(self) -> None:
        ws = self.session
        queues = []
        for channel in CHANNELS:
            of_markets = {"tickers": self.tickers} if channel in ("ticker", "trade") else {}
            queues.append(await getattr(ws, f"subscribe_{channel}")(maxsize=QUEUE_FRAMES, **of_markets))
        queues.append(await ws.subscribe_orderbook_delta(tickers=self.tickers, maxsize=QUEUE_FRAMES))
        self.ready.set()
        readers = [asyncio.create_task(self._read(queue)) for queue in queues]
        try:
            # The end of any of them is one that the SDK will not mend by itself.
            done, _ = await asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in readers:
                task.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def _read(self, queue: Any) -> None:
        async for message in queue:
            self.parsed[message.type] += 1
            if self.parsed[message.type] <= 2_000:
                self.said.hear(message)

    def books(self) -> dict[str, dict[str, list[list[int]]] | None]:
        """Ticker -> side -> ascending levels (1/10,000 dollar, 1/100 contract); None: it has no book."""
        manager = self.session._orderbook_mgr if self.session is not None else None
        told = {ticker: manager.get(ticker) if manager is not None else None for ticker in self.tickers}
        return {ticker: book and {"yes": _levels(book.yes), "no": _levels(book.no)} for ticker, book in told.items()}


def _levels(levels: list[Any]) -> list[list[int]]:
    return [[_scaled(level.price, 10_000), _scaled(level.quantity, 100)] for level in levels]


def _scaled(value: Decimal, scale: int) -> int:
    number = value * scale
    assert number == int(number), f"expected a multiple of 1/{scale}, was {value}"
    return int(number)


async def main(url: str, key_id: str, key_file: str, tickers: str) -> None:
    """Listen, and answer the lines on stdin until `end` or its end."""
    complaints = Complaints()
    logging.getLogger("kalshi.ws").addHandler(complaints)
    logging.getLogger("kalshi.ws").propagate = False
    listener = Listener(url, key_id, key_file, tickers.split(","))
    running = asyncio.create_task(listener.run())
    ready = asyncio.create_task(listener.ready.wait())
    await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
    say({"ready": listener.ready.is_set()})
    while (line := (await asyncio.to_thread(sys.stdin.readline)).strip()) == "books" and not running.done():
        say({"books": listener.books()})
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    if line == "end":
        say(
            {
                "sdk": "kalshi-sdk", "version": version("kalshi-sdk"), "parsed": dict(listener.parsed),
                "complaints": dict(complaints.counts), "texts": complaints.texts, "sessions": listener.sessions,
                "errors": dict(listener.errors), **listener.said.report(),
            }
        )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
