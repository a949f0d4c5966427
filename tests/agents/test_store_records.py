"""The stage of a sink: which store is behind, by how much, and what `/metrics`, `/lag` and `/readyz` say of it."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from prometheus_client import generate_latest

from agents import store_records
from agents.store_records import SinkStage
from app.health import lags, not_ready_reasons
from app.metrics import registry_of
from domain.errors import Fatal
from sinks.contract import DeadLetterNote, SinkUnavailable, SourceBatch
from sinks.stats import SinkStats
from tables.run import Run

WHERE = TP("market.trades", 0)


class Shelf:
    """A store that keeps batches in memory, is away while `away`, and has made `durable` what was released."""

    name = "shelf"
    topics = (WHERE.topic,)

    def __init__(self) -> None:
        self.stats = SinkStats()
        self.away = self.away_to_flush = False
        self.flushes = 0
        self.tick: Any = None
        self.durable = 0
        self.end = 0

    async def start(self) -> None:
        """Nothing to connect."""

    async def assign(self, topic: str, partition: int) -> int | None:
        return self.end

    async def write(self, batch: SourceBatch) -> list[DeadLetterNote]:
        if self.away:
            raise SinkUnavailable("shelf: fallen down")
        self.end = batch.next_offset
        self.stats.landed("books", len(batch.records), 10 * len(batch.records))
        self.stats.flushed(0.02)
        return []

    async def flush(self) -> None:
        self.flushes += 1
        if self.away_to_flush:
            raise SinkUnavailable("shelf: fallen down")
        self.durable = self.end

    async def stop(self) -> None:
        """Nothing to close."""

    def durable_next_offset(self, topic: str, partition: int) -> int | None:
        return self.durable


class World:
    """A worker's application with one sink stage, without Faust and Kafka."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.acked: list[int] = []
        self.failures: list[BaseException] = []
        self.commits = {WHERE: 0}
        kernel = SimpleNamespace(
            begin=lambda _: True,
            settings=SimpleNamespace(send_stall_s=10),
            fail=lambda _, error: self.failures.append(error),
            committed=lambda topic, partition: self.commits[TP(topic, partition)],
            log_start=self._log_start,
            rewind=self._rewind,
        )
        self.stage = SinkStage(self.shelf, kernel, 100)  # type: ignore[arg-type]
        consumer = SimpleNamespace(
            assignment=lambda: {WHERE}, highwater=lambda _: 7, _committed_offset={}, hold_back=lambda _: None
        )
        self.app: Any = SimpleNamespace(stages=[self.stage], rebalancing=False, kernel=kernel, consumer=consumer)
        self.stage.assign({WHERE})
        self.feed = self.stage.feeds[WHERE]

    async def _log_start(self, topic: str, partition: int) -> int:
        return 0

    async def _rewind(self, topic: str, partition: int, offset: int) -> None:
        self.commits[TP(topic, partition)] = offset

    async def give(self, first: int, count: int, age_s: float) -> None:
        """A run of records that the broker appended `age_s` ago."""
        at_ms = int((time.time() - age_s) * 1_000)
        rows = [SimpleNamespace(offset=first + n, key=b"K", value=b"{}", timestamp=at_ms) for n in range(count)]
        message = SimpleNamespace(tp=WHERE, offset=first + count - 1)
        event = SimpleNamespace(message=message, value=Run(rows), ack=lambda: self.acked.append(message.offset))

        async def events() -> Any:
            yield event

        await self.stage.consume(SimpleNamespace(noack=lambda: SimpleNamespace(events=events)))

    async def until(self, done: Any) -> None:
        """Let the writer run until then."""
        async with asyncio.timeout(20):
            while not done():  # noqa: ASYNC110 - the writer has no event to wait for
                await asyncio.sleep(0.001)

    def metrics(self) -> dict[str, float]:
        """`/metrics` of the sink, by series."""
        lines = generate_latest(registry_of(self.app)).decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("kalshi_streams_sink"))
        return {name.removeprefix("kalshi_streams_"): float(value) for name, value in pairs}


async def test_a_store_that_is_away_is_named_with_the_records_and_seconds_it_is_behind() -> None:
    """The batch in the writer's hand counts too; back again, readiness returns and nothing is behind."""
    world = World()
    world.shelf.away = True
    await world.give(0, 3, age_s=40)
    await world.until(lambda: world.feed.unavailable)

    (reason,) = not_ready_reasons(world.app)
    assert reason.startswith("shelf: market.trades-0: shelf: fallen down; lag of 7 records and 4")
    row = lags(world.app)["market.trades-0"]
    assert (row["store"], row["lag_records"], row["unavailable"]) == ("shelf", 7, "shelf: fallen down")
    assert 40 <= row["lag_s"] < 50

    world.shelf.away = False
    await world.until(lambda: world.feed.written)
    await world.stage._flush()
    assert not_ready_reasons(world.app) == []
    assert lags(world.app)["market.trades-0"]["lag_s"] == 0
    world.stage.revoke()


async def test_a_store_that_goes_away_when_no_records_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds cannot be made final: not ready, and not our own standstill, until it answers again."""
    monkeypatch.setattr(store_records, "TICK_S", 0.0)
    world = World()
    world.shelf.away_to_flush = True
    world.shelf.tick = world.shelf.flush
    await world.give(0, 3, age_s=40)
    await world.until(lambda: world.feed.written and not_ready_reasons(world.app))
    world.feed.progress_s -= 1_000

    assert not_ready_reasons(world.app) == ["shelf: what was written is not final: shelf: fallen down"]
    assert world.stage.oldest_pending_s() == 0.0

    world.shelf.away_to_flush, world.shelf.end = False, 0  # it answers; nothing is final yet
    await world.until(lambda: not not_ready_reasons(world.app))
    assert world.stage.oldest_pending_s() < 1_000

    world.shelf.end = 3
    await world.until(lambda: world.acked)
    world.stage.revoke()


async def test_the_end_waits_for_a_store_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clean stop while the store is away: what was taken is final and acknowledged once it answers."""
    monkeypatch.setattr(store_records, "BACKOFF_MAX_S", 0.0)
    world = World()
    world.shelf.away_to_flush = True
    await world.give(0, 3, age_s=0)
    await world.until(lambda: world.feed.written)
    world.stage.hasten()
    await world.until(lambda: world.shelf.flushes >= 3)
    assert world.acked == []

    world.shelf.away_to_flush = False
    await world.until(lambda: world.acked == [2])
    world.stage.revoke()


async def test_what_is_written_and_not_yet_durable_is_behind() -> None:
    """An open Parquet file: acknowledged and no longer behind only when it has its final name."""
    world = World()
    await world.give(0, 3, age_s=40)
    await world.give(3, 2, age_s=20)
    await world.until(lambda: len(world.feed.written) == 2)
    assert 40 <= lags(world.app)["market.trades-0"]["lag_s"] < 50

    world.shelf.durable = 3
    world.stage._acknowledge(world.feed)
    assert world.acked == [2]
    assert 20 <= lags(world.app)["market.trades-0"]["lag_s"] < 30
    world.stage.revoke()


async def test_records_that_wait_to_be_durable_are_not_kept_beside_the_sink() -> None:
    """A Parquet file fills for up to a minute: its records must not stand in memory a second time."""
    world = World()
    await world.give(0, 50, age_s=40)
    await world.until(lambda: world.feed.written)

    assert [len(taken.rows) for taken in world.feed.written] == [1]
    assert [taken.event.value._rows for taken in world.feed.written] == [None]
    assert 40 <= lags(world.app)["market.trades-0"]["lag_s"] < 50
    await world.stage._flush()
    assert world.acked == [49]
    world.stage.revoke()


async def test_metrics_of_a_sink_are_its_rows_bytes_flushes_retries_and_lag() -> None:
    """Read from its own counters when scraped."""
    world = World()
    world.shelf.away = True
    await world.give(0, 3, age_s=40)
    await world.until(lambda: world.feed.retries_total >= 2)
    world.shelf.away = False
    await world.until(lambda: world.feed.written)
    world.shelf.stats.happened("skipped", 4)
    found = world.metrics()

    tp = 'sink="shelf",topic="market.trades"'
    assert found[f'sink_records_total{{partition="0",{tp}}}'] == 3
    assert found[f'sink_writes_total{{partition="0",{tp}}}'] == 1
    assert found[f'sink_retries_total{{partition="0",{tp}}}'] == world.feed.retries_total
    assert 40 <= found[f'sink_lag_s{{partition="0",{tp}}}'] < 50
    assert found['sink_rows_total{sink="shelf",table="books"}'] == 3
    assert found['sink_sent_bytes_total{sink="shelf",table="books"}'] == 30
    assert found['sink_events_total{event="skipped",sink="shelf"}'] == 4
    assert found['sink_flush_seconds_bucket{le="0.01",sink="shelf"}'] == 0
    assert found['sink_flush_seconds_bucket{le="0.025",sink="shelf"}'] == 1
    assert found['sink_flush_seconds_count{sink="shelf"}'] == 1
    assert found['sink_flush_seconds_sum{sink="shelf"}'] == 0.02
    world.stage.revoke()


@pytest.mark.parametrize(("log_has", "written"), [(3, 3), (6, 8)])
async def test_offsets_that_the_log_has_and_the_stage_did_not_get_end_the_process(log_has: int, written: int) -> None:
    """Records that got lost between broker and sink are read again by the next process; a hole of the log is passed."""
    world, failures = World(), []

    async def first_record(topic: str, partition: int, offset: int) -> int:
        assert (topic, partition, offset) == (*WHERE, 3)
        return log_has

    kernel: Any = world.stage._kernel
    kernel.first_record, kernel.fail = first_record, lambda _who, error: failures.append(str(error))
    await world.give(0, 3, age_s=0)
    await world.until(lambda: world.feed.written)
    await world.give(6, 2, age_s=0)
    await world.until(lambda: failures or world.shelf.end == 8)

    assert world.shelf.end == written
    assert len(failures) == (log_has < 6)
    world.stage.revoke()


async def test_a_commit_ahead_of_the_store_is_set_back_and_nothing_of_it_is_written() -> None:
    """The store lost what it had (a restored backup): the next start reads the log from where it ends."""
    world = World()
    world.shelf.end, world.commits[WHERE] = 2, 5
    await world.give(5, 3, age_s=1)
    await world.until(lambda: world.failures)

    assert isinstance(world.failures[0], Fatal)
    assert "the commit was ahead of store shelf, which ends at 2; the commit was set back" in str(world.failures[0])
    assert world.commits[WHERE] == 2
    assert world.shelf.stats.rows == {}
    world.stage.revoke()
