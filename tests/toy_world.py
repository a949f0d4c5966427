"""A world of toy processors: their topics, their input, and the judge, which knows only the logs."""

import asyncio
import json
import random
import time
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from kernel_judge import repeats_differ
from kernel_world import DEADLINE_S, PARTITIONS, WorkerProcess, World
from toy_app import GROUP, SLICES, TABLES, TOTALS, slice_of, total_of

from schemas.clock_records import Tick, TickEpoch
from schemas.registry import DESK_TICKS, MARKET_TICKS, QUOTE_UPDATES, TRADES, Topic, changelog_topic, decoder
from tables.ticks import At

TICK_STEPS = ("tick.before_epoch", "tick.epoch_acked", "tick.before_send", "tick.acked", "tick.computed")
Logs = dict[int, list[Any]]


class ToyWorld(World):
    """Kafka, the toys' topics, and workers of the toy application."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.app = "toy_app"
        self.dice = random.Random(7)
        asyncio.run(self._administer(self._create))

    async def _create(self, admin: AIOKafkaAdminClient) -> None:
        compacted = {"cleanup.policy": "compact", "min.compaction.lag.ms": "3600000"}
        topics = [NewTopic(SLICES.name, 1, 1), NewTopic(TOTALS.name, PARTITIONS, 1)]
        topics += [NewTopic(changelog_topic(table), PARTITIONS, 1, topic_configs=compacted) for table in TABLES]
        await admin.create_topics(topics)

    def partitions_of(self, topic: str) -> int:
        """One, of topics of the desk."""
        return 1 if topic == SLICES.name else super().partitions_of(topic)

    def start_toys(self, *, instance: str = "0", crash_at: str | None = None, **env: str) -> WorkerProcess:
        """A worker of both toys."""
        return self.start(instance=instance, crash_at=crash_at, WORKER_ROLE=GROUP, **env)

    def feed(self, count: int) -> None:
        """Numbers for both sources, each under one of forty keys."""
        for topic in (TRADES.name, QUOTE_UPDATES.name):
            pairs = [(b"KX-%d" % self.dice.randrange(40), b"%d" % self.dice.randrange(1, 100)) for _ in range(count)]
            self.produce(pairs, topic)

    def wait_told(self, more: int, worker: WorkerProcess) -> None:
        """Until totals have grown by that many records."""
        until = time.monotonic() + DEADLINE_S
        first = sum(self.ends(TOTALS.name).values())
        while sum(self.ends(TOTALS.name).values()) < first + more:
            assert time.monotonic() < until, f"no totals:\n{worker.tail()}"
            assert worker.process.poll() is None, worker.tail()
            time.sleep(0.05)


def valid_ticks(rows: list[Any], topic: Topic, processor: str) -> list[tuple[At, dict[str, int]]]:
    """The ticks of one processor in one partition that count, with their cuts, in order."""
    holder, found = None, []
    for row in rows:
        record = decoder(topic).decode(row.value)
        payload = record.payload
        if payload.processor != processor:
            continue
        if isinstance(record, TickEpoch):
            holder = payload.incarnation
        elif isinstance(record, Tick) and payload.incarnation == holder:
            at = At(payload.asof_ms, record.ts_ingest, topic.name, payload.partition, row.offset, payload.incomplete)
            found.append((at, {source.topic: source.next_offset for source in payload.cut}))
    return found


def _firsts(rows: list[Any]) -> dict[str, bytes]:
    assert repeats_differ(rows) == [], "two results under one key"
    told: dict[str, bytes] = {}
    for row in rows:
        told.setdefault(json.loads(row.value)["idempotency_key"], row.value)
    return told


def assert_replayable(world: ToyWorld) -> tuple[int, int]:
    """Every output is what the logs say, to the byte, once per key. Returns (ticks, repeated outputs)."""
    slices, totals = world.read(SLICES.name)[0], world.read(TOTALS.name)
    sources = {topic: world.read(topic) for topic in (TRADES.name, QUOTE_UPDATES.name)}
    ticks, wanted, last = 0, {}, set()
    for partition, rows in world.read(MARKET_TICKS.name).items():
        for at, cut in valid_ticks(rows, MARKET_TICKS, "slice_toy"):
            sums = {t: sum(int(r.value) for r in sources[t][partition] if r.offset < cut[t]) for t in sources}
            wanted[f"{partition}:{at.asof_ms}"] = slice_of(sums, at)
            ticks += 1
        last.add(next(reversed(wanted), ""))
    told = _firsts(slices)
    assert told == {key: wanted[key] for key in told}, "a slice is not what the log says"
    # The last tick of a partition may wait in the log for its next owner.
    missing = wanted.keys() - told.keys() - last
    assert not missing, f"slices of {len(missing)} ticks were never published"
    totals_wanted = _totals(world, slices)
    told_totals = {k: v for rows in totals.values() for k, v in _firsts(rows).items()}
    waiting = list(totals_wanted)[-PARTITIONS:]
    totals_wanted = {k: v for k, v in totals_wanted.items() if k in told_totals or k not in waiting}
    assert told_totals == totals_wanted, f"{len(told_totals)} totals, expected {len(totals_wanted)}"
    assert all(json.loads(row.value)["n"] == p for p, rows in totals.items() for row in rows), "a copy went astray"
    repeats = len(slices) - len(told) + sum(map(len, totals.values())) - len(told_totals)
    return ticks + len(totals_wanted) // PARTITIONS, repeats


def _totals(world: ToyWorld, slices: list[Any]) -> dict[str, bytes]:
    wanted: dict[str, bytes] = {}
    newest: dict[str, list[int]] = {}
    highest: dict[int, int] = {}
    left = list(slices)
    for at, cut in valid_ticks(world.read(DESK_TICKS.name)[0], DESK_TICKS, "total_toy"):
        while left and left[0].offset < cut[SLICES.name]:
            row = left.pop(0)
            told = json.loads(row.value)
            partition, offset = told["cause"]["partition"], told["cause"]["offset"]
            if offset > highest.get(partition, -1):
                highest[partition] = offset
                newest[row.key.decode()] = [told["asof_ms"], sum(told["sums"].values())]
        wanted |= {f"{key.decode()}:{at.asof_ms}": value for key, value in total_of(newest, at)}
    return wanted
