"""The live feed: connect, run one session until it ends, begin the next. The owner of what is connected now.

Every session starts with `book_reset(session_start)` and ends with `book_reset` (disconnect or stopped) for each of its
markets, so that nobody reads a book whose source is gone.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from enum import Enum

from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from domain.errors import Fatal, UserMistake
from producers.backoff import Backoff
from producers.commands import CommandDesk
from producers.connection import CommandSender, FrameConnection, open_connection
from producers.ingest import Ingest, names
from producers.metrics import FeedCounts, GaugeSource
from producers.publisher import Publisher
from producers.recorder import Recorder
from producers.subscriptions import Subscriptions
from producers.venue_answers import on_unanswered
from schemas.records import ResetReason
from venues.kalshi.auth import RequestSigner
from venues.kalshi.frames import FrameParser

log = logging.getLogger(__name__)

TICK_S = 0.05  # how often retries, pauses and the watchdog are looked at
UNAUTHORIZED = frozenset({401, 403})
TOO_MANY_REQUESTS = 429
SNAPSHOT_S_MAX = 2.0  # a book that waits longer for its snapshot is a reason to be not ready


class Outcome(Enum):
    """How a session ended."""

    STOPPED = "stopped"
    LOST = "lost"


class Feed(GaugeSource):
    """One venue connection at a time. `markets` is what should be subscribed; change it with `set_markets`."""

    def __init__(
        self,
        url: str,
        signer: RequestSigner | None,
        instance: str,
        publisher: Publisher,
        counts: FeedCounts,
        recorder: Recorder | None,
        *,
        group_size: int,
        silence_timeout_s: float,
    ) -> None:
        """`instance` is this process's random name, the head of its session ids."""
        self.instance = instance
        self.markets: dict[str, None] = {}
        self.parser = FrameParser()
        self.problem: str | None = "not connected yet"
        self.session_id = f"{instance}-0"
        self._url = url
        self._signer = signer
        self._publisher = publisher
        self._counts = counts
        self._recorder = recorder
        self._group_size = group_size
        self._silence_timeout_s = silence_timeout_s
        self._sessions = 0
        self._ingest: Ingest | None = None  # of the last session, also after its end
        self._subscriptions: Subscriptions | None = None
        self._connection: FrameConnection | None = None
        self._sender: CommandSender | None = None
        self._stop = asyncio.Event()
        publisher.on_room = self._resume

    # --- what others ask ---

    @property
    def connected(self) -> bool:
        """The venue's socket is open."""
        return self._connection is not None

    def market_states(self) -> dict[str, str]:
        """One word per wanted market."""
        subscriptions = self._subscriptions
        return {
            ticker: subscriptions.state(ticker) if subscriptions else "disconnected" for ticker in tuple(self.markets)
        }

    def waiting_problem(self) -> str | None:
        """Which books have waited for their snapshot for too long; None when none has, or nothing is connected."""
        subscriptions = self._subscriptions
        late = subscriptions.books.waits.longer_than(SNAPSHOT_S_MAX) if subscriptions else []
        if not late:
            return None
        return f"{len(late)} {'markets wait' if len(late) > 1 else 'market waits'} for a snapshot: {names(late)}"

    def gauges(self) -> dict[str, float]:
        """For /metrics."""
        states = self.market_states().values()
        return {
            "connected": float(self.connected),
            "markets": len(self.markets),
            "markets_live": sum(state == "live" for state in states),
            "reading_paused": float(self._connection is not None and self._connection.is_paused),
            "unknown_fields": sum(self.parser.unknown_fields.values()),
        }

    def set_markets(self, wanted: Iterable[str]) -> None:
        """Subscribe what is new and unsubscribe what is gone, without reconnecting."""
        new = dict.fromkeys(wanted)
        joining = [ticker for ticker in new if ticker not in self.markets]
        leaving = [ticker for ticker in self.markets if ticker not in new]
        self.markets.update(dict.fromkeys(joining))
        if self._ingest is not None and self._subscriptions is not None:
            self._ingest.reset(joining, "session_start")
            self._subscriptions.add(joining)
        for ticker in leaving:
            del self.markets[ticker]
        if self._subscriptions is not None:
            self._subscriptions.remove(leaving)
        elif self._ingest is not None:
            self._ingest.reset(leaving, "removed")

    def ask_snapshot(self, ticker: str, session_id: str) -> bool:
        """Somebody found this market's book broken. False for another session's or an unknown market's."""
        if self._subscriptions is None or session_id != self.session_id or ticker not in self.markets:
            return False
        self._counts.snapshots_asked += 1
        self._subscriptions.ask_snapshots([ticker])
        return True

    def stop(self) -> None:
        """End the session cleanly; `run` then returns."""
        self._stop.set()

    # --- life ---

    async def run(self) -> None:
        """Sessions until `stop`.

        Raises:
            UserMistake: the address is no WebSocket, or the venue refuses our key on the very first connect.
        """
        backoff = Backoff()
        ever_connected = False
        while not self._stop.is_set():
            is_refused = False
            try:
                connection = await self._connect()
            except UserMistake as mistake:
                if not ever_connected:
                    raise
                self.problem, is_refused = str(mistake), True
            except (OSError, TimeoutError, WebSocketException) as wrong:
                self.problem = f"venue unreachable: {type(wrong).__name__} {wrong}"[:200]
                is_refused = isinstance(wrong, InvalidStatus) and wrong.response.status_code == TOO_MANY_REQUESTS
            else:
                ever_connected = True
                backoff.session_ended(is_good=await self._session(connection))
                self._counts.reconnects += 1
            if self._stop.is_set():
                return
            pause_s = backoff.next_pause_s(is_refused)
            log.warning("%s; connecting again in %.1f s", self.problem, pause_s)
            await self._sleep(pause_s)

    async def _connect(self) -> FrameConnection:
        headers = self._signer.headers("GET", self._url, time.time_ns() // 1_000_000) if self._signer else {}
        self._sessions += 1
        ingest = Ingest(f"{self.instance}-{self._sessions}", self._publisher, self._counts, self.parser, self._recorder)
        desk = CommandDesk(self._say, time.monotonic)
        # Before the first frame can come, and it may come with the handshake's answer.
        gone = lambda tickers: self._on_removed(ingest, tickers)  # noqa: E731
        ingest.attach(Subscriptions(desk, self._group_size, time.monotonic, ingest.reset, gone))
        try:
            connection = await open_connection(self._url, headers, ingest.on_frame, self._pace)
        except InvalidStatus as refused:
            status = refused.response.status_code
            if status in UNAUTHORIZED:
                raise UserMistake(
                    f"the venue answers {status}: expected a valid key id, its key file, and this machine's clock right"
                ) from None
            raise
        except InvalidURI:
            raise UserMistake(f"KALSHI_WS_URL: expected ws://host or wss://host, was {self._url!r}") from None
        except InvalidHandshake as wrong:
            raise OSError(f"no WebSocket at {self._url}: {wrong}") from None
        self._ingest = ingest
        return connection

    def _pace(self, connection: FrameConnection) -> None:
        """Stop reading while the publisher is full: memory stays bounded, TCP holds the venue back, nothing is lost."""
        if self._publisher.is_full:
            connection.pause()

    def _resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    async def _session(self, connection: FrameConnection) -> bool:
        """One session, from its first reset to its last. True if it ever gave a book."""
        ingest = self._ingest
        assert ingest is not None
        sender = self._sender = CommandSender(connection)
        subscriptions = self._subscriptions = ingest.subscriptions
        self._connection, self.session_id = connection, ingest.session_id
        markets = list(self.markets)
        log.info("connected to %s, session %s, %d markets", self._url, ingest.session_id, len(markets))
        ingest.reset(markets, "session_start")
        subscriptions.add(markets)
        self.problem = None
        reason: ResetReason = "disconnect"
        try:
            if await self._run_until_over(connection, subscriptions) is Outcome.STOPPED:
                reason = "stopped"
        finally:
            await sender.stop()
            await connection.close()  # frames that still arrive are published before the last reset
            ingest.reset(list(self.markets), reason)
            self._connection = self._subscriptions = self._sender = None
        if connection.failure is not None:
            raise Fatal("the handling of a frame failed") from connection.failure
        return ingest.saw_snapshot

    async def _run_until_over(self, connection: FrameConnection, subscriptions: Subscriptions) -> Outcome:
        closed = asyncio.create_task(connection.wait_closed())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            while True:
                await asyncio.wait((closed, stopped), timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
                if stopped.done():
                    return Outcome.STOPPED
                if closed.done():
                    self.problem = f"the venue hung up: {connection.close_code} {connection.close_reason or ''}".strip()
                    return Outcome.LOST
                for command in subscriptions.tick():
                    on_unanswered(subscriptions, command)
                if connection.silent_s() > self._silence_timeout_s:
                    subscriptions.reconnect_reason = f"silence for {self._silence_timeout_s:.0f} s"
                if subscriptions.reconnect_reason is not None:
                    self.problem = subscriptions.reconnect_reason
                    connection.transport.abort()
                    return Outcome.LOST
        finally:
            for task in (closed, stopped):
                task.cancel()
            await asyncio.gather(closed, stopped, return_exceptions=True)

    def _on_removed(self, ingest: Ingest, tickers: Iterable[str]) -> None:
        # A market that came back meanwhile is subscribed anew, it has had its own session_start.
        ingest.reset([ticker for ticker in tickers if ticker not in self.markets], "removed")

    def _say(self, text: str) -> None:
        if self._sender is not None:
            self._sender.send(text)

    async def _sleep(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._stop.wait()
        except TimeoutError:
            pass
