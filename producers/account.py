"""producer account: what the venue says of our fills, orders, positions and settlements, to the account topics.

Push (`account_stream`) and poll (`account_poll`) both report; what is one and the same fill is decided downstream, by
agent dedup_fills. One process per data directory and key. No Faust here.
"""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.bus import BusConfig, aiokafka_options
from app.settings import Settings
from domain.errors import Fatal, KalshiStreamsError, UserMistake
from producers.account_mark import load_mark
from producers.account_poll import AccountPoller
from producers.account_reporter import AccountReporter
from producers.account_stream import AccountStream
from producers.kafka_start import check_topics, once_kafka_answers
from producers.market import stop_on_signals, venue_signer, websocket_url
from producers.publisher import Publisher
from producers.sole_producer import FeedLock
from producers.status_server import StatusServer
from producers.topic_reader import topic_reader
from schemas.registry import DLQ, FILL_REPORTS, ORDER_REPORTS, POSITION_REPORTS
from venues.kalshi.account_rest import AccountRest
from venues.kalshi.addresses import REST_URLS
from venues.kalshi.auth import RequestSigner
from venues.kalshi.subaccounts import PRIMARY

log = logging.getLogger("account")

STOP_FLUSH_S = 20.0  # for the last records at a clean stop
_TOPICS = [FILL_REPORTS, ORDER_REPORTS, POSITION_REPORTS, DLQ]


async def run(settings: Settings, stop: asyncio.Event | None = None) -> None:
    """Produce until SIGTERM, SIGINT or `stop`, then deliver what is queued and return.

    Raises:
        UserMistake: wrong settings or key, port in use, another producer account here, a mark of another log.
        KalshiStreamsError: the last records could not be delivered, or Kafka refuses what we send.
    """
    signer = venue_signer(settings)
    bus = aiokafka_options(settings)
    stop = stop or stop_on_signals()
    session_id = secrets.token_hex(6)
    lock = FeedLock(settings.data_dir, "account", session_id)
    lock.acquire()
    try:
        await _AccountProducer(settings, bus, signer, session_id, stop).run()
    finally:
        lock.release()


def _mark_name(kalshi_env: str, key: str, subaccount: int) -> str:
    """A mark belongs to one subaccount of one key: another one begins with its own opening."""
    return f"{kalshi_env}-{key}.json" if subaccount == PRIMARY else f"{kalshi_env}-{key}-sub{subaccount}.json"


def refuse_other_subaccount(mark: Path) -> None:
    """Positions of two subaccounts in one log would be summed by whoever reads it.

    Raises:
        UserMistake: this data directory has the mark of another one.
    """
    key = mark.stem.partition("-sub")[0]
    others = [path.name for path in mark.parent.glob(f"{key}*.json") if path.stem.partition("-sub")[0] == key]
    if others and mark.name not in others:
        raise UserMistake(
            f"KALSHI_SUBACCOUNT: expected the subaccount of this data directory ({others[0]}), would be {mark.name}; "
            "use another --data-dir for another subaccount"
        )


class _AccountProducer(Collector):
    def __init__(
        self, settings: Settings, bus: BusConfig, signer: RequestSigner | None, session_id: str, stop: asyncio.Event
    ) -> None:
        self._settings, self._bus, self._stop, self._session_id = settings, bus, stop, session_id
        key = hashlib.sha256((signer.key_id if signer else "").encode()).hexdigest()[:12]
        self._mark_path = (
            settings.data_dir / "account" / _mark_name(settings.kalshi_env, key, settings.kalshi_subaccount)
        )
        refuse_other_subaccount(self._mark_path)
        self._publisher = Publisher(bus, settings.topic_partitions, settings.producer_buffer_records)
        self._reporter = AccountReporter(self._publisher, session_id)
        url = settings.kalshi_rest_url or REST_URLS[settings.kalshi_env]
        self._rest = AccountRest(url, signer, settings.kalshi_tier, subaccount=settings.kalshi_subaccount)
        self._stream = AccountStream(
            websocket_url(settings),
            signer,
            self._reporter,
            self._publisher,
            settings.ws_silence_timeout_s,
            self._rest.subaccounts,
        )
        self._poller = AccountPoller(
            self._rest,
            self._reporter,
            self._publisher,
            self._mark_path,
            interval_s=settings.account_poll_interval_s,
            overlap_s=settings.account_poll_overlap_s,
            is_hurried=lambda: self._stream.problem is not None,
        )
        self._kafka_problem: str | None = "Kafka not reached yet"

    async def run(self) -> None:
        registry = CollectorRegistry()
        registry.register(self)
        server = StatusServer(self._settings, registry, self._status, self._problems)
        async with AsyncExitStack() as parts:
            parts.push_async_callback(self._publisher.stop)
            await server.start()
            parts.push_async_callback(server.stop)
            if not await self._wait_for_kafka():
                return
            await parts.enter_async_context(self._rest)
            try:
                await self._work()
            finally:
                flushed = await self._publisher.flush(STOP_FLUSH_S)
            if not flushed:
                raise KalshiStreamsError(
                    f"stopped, but Kafka did not take the last {self._publisher.unacked} records; they are read again"
                )

    async def _wait_for_kafka(self) -> bool:
        for ask in (self._publisher.start, self._check_log):
            if not await once_kafka_answers(ask, self._stop, self._set_kafka_problem):
                return False
        self._kafka_problem = None
        return True

    def _set_kafka_problem(self, problem: str) -> None:
        self._kafka_problem = problem

    async def _check_log(self) -> None:
        """A mark beside an empty log would skip every fill before it: the topics were made anew, or are others."""
        expected = self._settings.topic_partitions
        await check_topics(self._publisher, _TOPICS, expected)
        try:
            mark = load_mark(self._mark_path)
        except OSError as wrong:
            raise UserMistake(f"{self._mark_path}: {wrong.strerror}") from None
        if mark is None or mark.fills_ms <= mark.opening_ms:
            return
        partitions = [TopicPartition(FILL_REPORTS.name, n) for n in range(expected)]
        async with topic_reader(self._bus) as consumer:
            ends = await consumer.end_offsets(partitions)
        if not any(ends.values()):
            raise UserMistake(
                f"{self._mark_path}: fills were read before, but {FILL_REPORTS.name} is empty; "
                "another Kafka? Remove the file to begin anew with opening positions"
            )

    async def _work(self) -> None:
        jobs: list[Coroutine[Any, Any, None]] = [self._poll(), self._listen(), self._end_on_failure()]
        tasks = [asyncio.create_task(job) for job in jobs]
        stopped = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait((stopped, *tasks), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*tasks, stopped):
                task.cancel()
            await asyncio.gather(*tasks, stopped, return_exceptions=True)

    async def _poll(self) -> None:
        await self._rest.learn_limits()
        await self._poller.run()

    async def _listen(self) -> None:
        """Pushed fills count only after the account is open: before, the opening may or may not contain them."""
        await self._poller.opened.wait()
        await self._stream.run()

    async def _end_on_failure(self) -> None:
        while self._publisher.failure() is None:  # noqa: ASYNC110  the publisher cannot raise into this task
            await asyncio.sleep(0.2)
        raise Fatal(f"Kafka refuses what we send: {self._publisher.failure()!r}")

    def _problems(self) -> list[str]:
        stalled_s = self._publisher.stalled_s()
        # The poller's problem is of its last whole poll; the client's is of this moment, while it still retries.
        problems = [self._kafka_problem, self._rest.problem or self._poller.problem, self._stream.problem]
        if stalled_s > self._settings.send_stall_s:
            problems.append(f"Kafka has not answered for {stalled_s:.0f} s")
        if self._publisher.is_full:
            problems.append(f"buffer full ({self._publisher.unacked} records), the socket is not read")
        return [problem for problem in problems if problem]

    def _status(self) -> dict[str, Any]:
        return {
            "session_id": self._session_id,
            "connected": self._stream.connected,
            "polls": self._poller.polls,
            "frames": dict(self._stream.counts),
            "reports": dict(self._reporter.counts),
            "refused": dict(self._reporter.refused),
            "rest": dict(self._rest.counts),
            "subaccounts": self._rest.subaccounts.listed(),
            "records_sent": dict(self._publisher.records_sent),
            "records_acked": dict(self._publisher.records_acked),
            "unacked": self._publisher.unacked,
            "last_frame_ms": self._stream.last_frame_ms,
            "problems": self._problems(),
        }

    def collect(self) -> Iterator[Metric]:
        """The same numbers for /metrics, when somebody asks."""
        sources = {
            "frames": self._stream.counts,
            "reports": self._reporter.counts,
            "refused": self._reporter.refused,
            "rest": self._rest.counts,
        }
        for name, counts in sources.items():
            family = CounterMetricFamily(f"kalshi_account_{name}", f"Account producer: {name}", labels=["kind"])
            for kind, value in counts.items():
                family.add_metric([kind], value)
            yield family
        gauges = {"connected": float(self._stream.connected), "polls": float(self._poller.polls)}
        for name, number in {**self._publisher.gauges(), **gauges}.items():
            yield GaugeMetricFamily(f"kalshi_account_{name}", name.replace("_", " "), value=number)
