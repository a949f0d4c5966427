"""`replay --from-parquet`: the archive's records back onto empty topics, byte for byte, in the order they had.

Only what cannot be derived is published unless topics are named: everything that a producer wrote, and of the dead
letters those of frames. Quotes, fills, positions, order states, snapshot requests and the other dead letters come out
of the agents again.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from aiokafka.errors import KafkaConnectionError
from aiokafka.partitioner import murmur2

from app.bus import BusConfig, aiokafka_options
from app.settings import Settings
from domain.errors import KalshiStreamsError, UserMistake
from ops.data_dir import DataDir
from ops.display import Display
from ops.offsets import LogEnds, total
from ops.stack import running_engines
from ops.topics import apply_topics
from producers.market import stop_on_signals
from producers.publisher import Publisher
from schemas.records import DeadLetter
from schemas.registry import DLQ, FEED_STATUS, TOPICS, Topic, topic_named
from sinks.parquet import files
from sinks.parquet.reader import ArchivedRecord, iter_records

IN_FLIGHT_RECORDS_MAX = 20_000  # read and not yet acknowledged: about 10 MB of book records
CHUNK_RECORDS = 1_000  # decoded between two looks at the broker's answers: about 20 ms of one core
ROOM_POLL_S = 1.0  # how often a full buffer looks whether the broker still owes its answer
TERMINAL_S, PLAIN_S = 0.5, 5.0  # between two progress texts on a terminal, and in a log


class ReplayFailed(KalshiStreamsError):
    """The topics hold a part of the archive, or not what was sent."""


@dataclass(frozen=True)
class Part:
    """One archived partition: `records` of them from offset `first` on."""

    topic: Topic
    partition: int
    first: int
    records: int


def replay_archive(
    settings: Settings, archive: Path, names: Sequence[str], *, append: bool, after_holes: bool
) -> list[str]:
    """Publish the archive to BUS_URL, else to the embedded Kafka of the data directory (started when it is not running,
    and stopped again). Returns the lines of the summary. Blocking.

    Raises:
        UserMistake: no archive, gaps, overlaps or (unless `after_holes`) lost offsets in it, unknown topics, no broker,
            or (unless `append`) topics that hold records already.
        ReplayFailed: stopped on the way, or the broker refuses what is sent.
    """
    parts = plan(archive, names, after_holes)
    if settings.bus_url is None:
        DataDir(settings.data_dir).prepare()
    engines = nullcontext(settings) if settings.bus_url else running_engines(settings, settings.data_dir, "replay")
    with engines as reachable:
        return asyncio.run(_replay(reachable, archive, parts, bool(names), append))


def plan(archive: Path, names: Sequence[str], after_holes: bool) -> list[Part]:
    """What is to be published, from the names of the files alone. Raises UserMistake."""
    if not archive.is_dir():
        raise UserMistake(f"--from-parquet: expected a folder of Parquet files, was none at {archive}")
    try:
        topics = [topic_named(name) for name in names] or [topic for topic in TOPICS if _is_input(topic)]
    except KeyError as unknown:
        raise UserMistake(f"--topic: {unknown.args[0]}") from None
    found = [_part(archive, t, p, after_holes) for t in topics for p in files.partitions_of(archive, t.name)]
    parts = [part for part in found if part.records]
    if not parts:
        raise UserMistake(f"--from-parquet: expected records of {[t.name for t in topics]} in {archive}, were none")
    return parts


def _is_input(topic: Topic) -> bool:
    return topic.writer.startswith("producer ") or topic is DLQ


def _part(archive: Path, topic: Topic, partition: int, after_holes: bool) -> Part:
    spans = files.contiguous_spans(archive, topic.name, partition)
    holes = [span for span in spans if span.is_hole]
    # Nothing is folded over a hole at the start; over a later one, books would go on with deltas missing.
    inner = [hole for hole in holes if hole.first > 0]
    if inner and not after_holes:
        raise UserMistake(
            f"--from-parquet: {topic.name} lacks offsets {inner[0].first} to {inner[0].last} ({inner[0].path}); "
            f"with --after-holes each partition begins after its last hole"
        )
    first = holes[-1].last + 1 if holes else 0
    return Part(topic, partition, first, sum(s.last - s.first + 1 for s in spans if s.first >= first))


async def _replay(settings: Settings, archive: Path, parts: list[Part], named: bool, append: bool) -> list[str]:
    bus, topics = aiokafka_options(settings), list(dict.fromkeys(part.topic for part in parts))
    await apply_topics(bus, settings)
    before = await _ends(bus, topics)
    held = [f"{topic.name} ({total(before, topic.name)} records)" for topic in topics if total(before, topic.name)]
    if held and not append:
        raise UserMistake(
            f"expected empty topics, was {', '.join(held)}: use a new --data-dir, or --append to publish after them"
        )
    publisher = Publisher(bus, settings.topic_partitions, IN_FLIGHT_RECORDS_MAX)
    try:
        await publisher.start()
    except KafkaConnectionError as wrong:
        raise ReplayFailed(f"Kafka does not answer: {wrong}") from None
    try:
        run = _Run(publisher, Placement.of(archive, parts, settings.topic_partitions), sum(p.records for p in parts))
        with run.display:
            for part in parts:
                await run.publish(archive, part, whole=named)
            await run.finish()
    finally:
        await publisher.stop()
    after, sent = await _ends(bus, topics), publisher.records_sent
    for topic in topics:
        if (grown := total(after, topic.name) - total(before, topic.name)) != sent[topic.name]:
            raise ReplayFailed(f"{topic.name}: expected {sent[topic.name]} more records, was {grown}: who else writes?")
    return [f"{topic.name}: {sent[topic.name]} records" for topic in topics]


async def _ends(bus: BusConfig, topics: list[Topic]) -> dict[str, dict[int, int]]:
    async with LogEnds(bus) as logs:
        return await logs.ends([topic.name for topic in topics])


@dataclass(frozen=True)
class Placement:
    """Where records go: where they were, or with another partition count than the archive's, where their key belongs.

    Each producer heart-beats to every partition, so the archive of that topic tells the count.
    """

    partitions: int
    moves: bool

    @classmethod
    def of(cls, archive: Path, parts: list[Part], partitions: int) -> "Placement":
        """The placement of an archive on topics of so many partitions."""
        known = files.partitions_of(archive, FEED_STATUS.name)
        highest = max(part.partition for part in parts)
        return cls(partitions, highest >= partitions or bool(known and known[-1] + 1 != partitions))

    def skips(self, topic: Topic) -> bool:
        """Heartbeats name their partition: of another count they mean nothing."""
        return self.moves and topic is FEED_STATUS

    def partition(self, topic: Topic, archived: ArchivedRecord) -> int:
        """The partition of one record."""
        if not self.moves:
            return archived.partition
        if topic.key is None or archived.key is None:
            return archived.partition % self.partitions
        return _of_key(archived.key, self.partitions)


@lru_cache(maxsize=65_536)  # market tickers; more than a venue lists
def _of_key(key: bytes, partitions: int) -> int:
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


class _Run:
    """The loop from files to broker, bounded by what the broker owes, with its progress."""

    def __init__(self, publisher: Publisher, placement: Placement, total_records: int) -> None:
        self.display = Display()
        self._publisher = publisher
        self._placement = placement
        self._total = total_records
        self._read = 0
        self._shown_s = float("-inf")
        self._stop = stop_on_signals()
        self._room = asyncio.Event()
        publisher.on_room = self._room.set

    async def publish(self, archive: Path, part: Part, *, whole: bool) -> None:
        """One archived partition. `whole`: also letters that agents write again."""
        if self._placement.skips(part.topic):
            self._read += part.records
            return
        records = iter_records(archive, part.topic.name, part.partition, first_offset=part.first)
        while chunk := list(islice(records, CHUNK_RECORDS)):
            for archived in chunk if whole else inputs(part.topic, chunk):
                partition = self._placement.partition(part.topic, archived)
                self._publisher.add_to(part.topic.name, partition, archived.key, archived.value, 0)
            self._read += len(chunk)
            await asyncio.sleep(0)
            await self._until_room()

    async def _until_room(self) -> None:
        while self._publisher.is_full:
            self._look()
            self._room.clear()
            if self._publisher.is_full:
                await _set_within(self._room, ROOM_POLL_S)
        self._look()

    async def finish(self) -> None:
        """Until everything is acknowledged."""
        while not await self._publisher.flush(ROOM_POLL_S):
            self._look()
        self.display.step("replay", f"{self._read:,} records in {self.display.elapsed_s:.1f} s", done=True)

    def _look(self) -> None:
        if self._stop.is_set() or (failed := self._publisher.failure()) is not None:
            why = "stopped" if self._stop.is_set() else f"Kafka refused: {failed!r}"
            raise ReplayFailed(
                f"{why} after {self._read} of {self._total} records; the topics hold a part: begin again with a new "
                f"--data-dir"
            )
        now_s = time.monotonic()
        if now_s - self._shown_s < (TERMINAL_S if self.display.console.is_terminal else PLAIN_S):
            return
        self._shown_s = now_s
        rate = self._read / max(self.display.elapsed_s, 1e-9)
        text = f"{self._read:,} of {self._total:,} records, {100 * self._read // self._total} %, {rate:,.0f}/s"
        if rate:
            text += f", {(self._total - self._read) / rate:.0f} s left"
        if (silent_s := self._publisher.stalled_s()) > PLAIN_S:
            text += f"; Kafka has not answered for {silent_s:.0f} s"
        self.display.step("replay", text)


def inputs(topic: Topic, chunk: list[ArchivedRecord]) -> Iterator[ArchivedRecord]:
    """All of it; of dead letters, those of frames: the agents refuse refused records again."""
    for archived in chunk:
        if topic is not DLQ or (isinstance(archived.record, DeadLetter) and archived.record.payload.topic is None):
            yield archived


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
