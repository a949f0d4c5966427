"""producer market: the venue's WebSocket to market.book_updates, market.trades, market.feed_status and dlq.

`run` puts the parts together: lock, status server, publisher, recorder, feed, heartbeats, snapshot requests, list of
markets. No Faust here. One process per live feed; see docs/dataflow.md for the walk of a delta through the parts.
"""

import asyncio
import logging
import secrets
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiokafka.errors import KafkaError

from app.bus import BusConfig, aiokafka_options
from app.settings import Settings
from domain.errors import Fatal, KalshiStreamsError, UserMistake
from producers.exchange_watch import ExchangeWatch
from producers.feed import Feed
from producers.heartbeats import send_heartbeats
from producers.kafka_start import KAFKA_RETRY_S, check_topics, once_kafka_answers
from producers.market_list import MarketList
from producers.metrics import FeedCounts, feed_registry
from producers.publisher import Publisher
from producers.recorder import Recorder
from producers.snapshot_requests import serve_snapshot_requests
from producers.sole_producer import FeedLock, refuse_second, watch_for_second
from producers.status_server import StatusServer
from schemas.registry import BOOK_UPDATES, DLQ, FEED_STATUS, SNAPSHOT_REQUESTS, TRADES
from venues.kalshi.addresses import REST_URLS, WS_URLS, KeySettings, signer_for
from venues.kalshi.auth import RequestSigner
from venues.kalshi.rest import KalshiRest

log = logging.getLogger(__name__)

STOP_FLUSH_S = 20.0  # for the last records at a clean stop; a supervisor waits longer than this before it kills
_TOPICS = [BOOK_UPDATES, FEED_STATUS, SNAPSHOT_REQUESTS, TRADES, DLQ]


async def run(settings: Settings, stop: asyncio.Event | None = None) -> None:
    """Produce until SIGTERM, SIGINT or `stop`; then publish `book_reset(stopped)` for every market and return.

    Raises:
        UserMistake: wrong settings or key, port in use, another producer of this feed, 401 on the first connect.
        KalshiStreamsError: the last records could not be delivered, or Kafka refuses what we send.
    """
    signer = venue_signer(settings)
    bus = aiokafka_options(settings)
    stop = stop or stop_on_signals()
    instance = secrets.token_hex(6)
    lock = FeedLock(settings.data_dir, "market", instance)
    lock.acquire()
    try:
        await _MarketProducer(settings, bus, signer, instance, stop).run(lock.predecessor)
    finally:
        lock.release()


def venue_signer(settings: Settings) -> RequestSigner | None:
    """The signer of KALSHI_ENV; for the simulator a key is optional. Raises UserMistake."""
    env = settings.kalshi_env
    secret = getattr(settings, f"{env}_keyid")
    password = getattr(settings, f"{env}_keyfile_password", None)
    keys = KeySettings(
        env.upper(),
        secret.get_secret_value() if secret else None,
        getattr(settings, f"{env}_keyfile"),
        password.get_secret_value() if password else None,
    )
    return signer_for(keys, required=env != "sim")


def websocket_url(settings: Settings) -> str:
    """KALSHI_WS_URL, else the environment's own."""
    return settings.kalshi_ws_url or WS_URLS[settings.kalshi_env]


def make_recorder(settings: Settings) -> Recorder:
    """Capture files under `<data-dir>/raw`, bounded in size, age and number."""
    return Recorder(
        settings.data_dir / "raw",
        settings.recorder_file_mb << 20,
        settings.recorder_file_age_s,
        settings.recorder_keep_files,
    )


class _MarketProducer:
    def __init__(
        self, settings: Settings, bus: BusConfig, signer: RequestSigner | None, instance: str, stop: asyncio.Event
    ) -> None:
        self._settings, self._bus, self._signer, self._stop = settings, bus, signer, stop
        self._counts = FeedCounts()
        self._recorder = make_recorder(settings) if settings.use_recorder else None
        self._publisher = Publisher(bus, settings.topic_partitions, settings.producer_buffer_records)
        self._feed = Feed(
            websocket_url(settings),
            signer,
            instance,
            self._publisher,
            self._counts,
            self._recorder,
            group_size=settings.markets_per_subscription,
            silence_timeout_s=settings.ws_silence_timeout_s,
        )
        self._list: MarketList | None = None
        self._exchange = ExchangeWatch()
        self._kafka_problem: str | None = "Kafka not reached yet"

    async def run(self, predecessor: str | None) -> None:
        async with AsyncExitStack() as parts:
            parts.push_async_callback(self._publisher.stop)
            await parts.enter_async_context(self._status_server())
            if self._recorder is not None:
                self._start_recorder(self._recorder)
                parts.push_async_callback(asyncio.to_thread, self._recorder.stop)
            if not await self._wait_for_kafka(predecessor):
                return
            try:
                await self._work()
            finally:
                flushed = await self._publisher.flush(STOP_FLUSH_S)
            if not flushed:
                raise KalshiStreamsError(
                    f"stopped, but Kafka did not take the last {self._publisher.unacked} records; the next start resets"
                )

    def _start_recorder(self, recorder: Recorder) -> None:
        try:
            recorder.start()
        except OSError as wrong:
            raise UserMistake(f"{self._settings.data_dir / 'raw'}: {wrong.strerror}") from None

    async def _wait_for_kafka(self, predecessor: str | None) -> bool:
        """Kafka, our topics, and no other producer of this feed. False when told to stop meanwhile."""
        for ask in (
            self._publisher.start,
            lambda: check_topics(self._publisher, _TOPICS, self._settings.topic_partitions),
            lambda: refuse_second(self._bus, self._feed.instance, predecessor),
        ):
            if not await once_kafka_answers(ask, self._stop, self._set_kafka_problem):
                return False
        self._kafka_problem = None
        return True

    def _set_kafka_problem(self, problem: str) -> None:
        self._kafka_problem = problem

    async def _work(self) -> None:
        """All tasks until stop; the first that fails ends all, the feed's last resets included."""
        settings, feed, publisher = self._settings, self._feed, self._publisher
        partitions = settings.topic_partitions
        others: list[Coroutine[Any, Any, None]] = [
            send_heartbeats(feed, publisher, self._counts, partitions),
            serve_snapshot_requests(self._bus, partitions, feed, self._counts, settings.snapshot_requests_per_s),
            self._end_on_failure(),
            self._give_way(),
            self._follow_markets(),
        ]
        tasks = [asyncio.create_task(other) for other in others]
        running = asyncio.create_task(feed.run())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait((running, stopped, *tasks), return_when=asyncio.FIRST_COMPLETED)
            feed.stop()
            for task in done:
                task.result()
            await running
        finally:
            feed.stop()
            for task in (*tasks, stopped):
                task.cancel()
            await asyncio.gather(running, *tasks, stopped, return_exceptions=True)

    async def _follow_markets(self) -> None:
        settings = self._settings
        if settings.market_tickers:
            self._feed.set_markets(settings.market_tickers)
            await asyncio.Event().wait()
        url = settings.kalshi_rest_url or REST_URLS[settings.kalshi_env]
        async with KalshiRest(url, self._signer) as rest:
            self._list = MarketList(
                rest, settings.market_series, settings.market_events, settings.market_poll_interval_s
            )
            await asyncio.gather(self._list.watch(self._feed.set_markets), self._exchange.watch(rest))

    async def _end_on_failure(self) -> None:
        while self._publisher.failure() is None:  # noqa: ASYNC110  the publisher cannot raise into this task
            await asyncio.sleep(0.2)
        raise Fatal(f"Kafka refuses what we send: {self._publisher.failure()!r}")

    async def _give_way(self) -> None:
        while True:
            try:
                other = await watch_for_second(self._bus, self._feed.instance)
            except (KafkaError, OSError):
                await asyncio.sleep(KAFKA_RETRY_S)
                continue
            raise UserMistake(f"another producer market feeds this Kafka (session {other}), this one gives way")

    @asynccontextmanager
    async def _status_server(self) -> AsyncIterator[None]:
        registry = feed_registry(
            self._counts, [self._publisher, self._feed, self._exchange, *([self._recorder] if self._recorder else [])]
        )
        server = StatusServer(self._settings, registry, self._status, self._problems)
        await server.start()
        try:
            yield
        finally:
            await server.stop()

    def _problems(self) -> list[str]:
        """Why this producer is not ready; empty when it is."""
        publisher, list_ = self._publisher, self._list
        stalled_s = publisher.stalled_s()
        feed = self._feed
        problems = [self._kafka_problem, feed.problem, list_.problem if list_ else None, feed.waiting_problem()]
        if stalled_s > self._settings.send_stall_s:
            problems.append(f"Kafka has not answered for {stalled_s:.0f} s")
        if publisher.is_full:
            problems.append(f"buffer full ({publisher.unacked} records), the socket is not read")
        if self._recorder is not None:
            problems.append(self._recorder.failure)
        return [problem for problem in problems if problem]

    def _status(self) -> dict[str, Any]:
        counts, publisher, feed = self._counts, self._publisher, self._feed
        return {
            "session_id": feed.session_id,
            "connected": feed.connected,
            "markets": feed.market_states(),
            "exchange_pause": self._exchange.pause,
            "frames_in": counts.frames_in,
            "records_caused_by_frames": counts.records_caused_by_frames,
            "control_frames": counts.control_frames,
            "duplicates_ignored": counts.duplicates_ignored,
            "dead_letters": counts.dead_letters,
            "records_sent": dict(publisher.records_sent),
            "records_acked": dict(publisher.records_acked),
            "unacked": publisher.unacked,
            "gaps": counts.gaps,
            "frames_missing": counts.frames_missing,
            "resets": dict(counts.resets),
            "venue_errors": {str(code): n for code, n in counts.venue_errors.items()},
            "refusals": dict(counts.refusals),
            "unknown_fields": dict(feed.parser.unknown_fields),
            "last_frame_ms": counts.last_frame_ms,
            "problems": self._problems(),
            "recorder": self._recorder.gauges() if self._recorder else None,
        }


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; for the one loop of this process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
