"""Create and verify topics: exactly those of the catalogue, and one changelog per table.

Reads the catalogue (`schemas.registry`) and settings, writes to Kafka. Never deletes a topic and never changes a
partition count: keys would move to other partitions, and state with them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from app.bus import MESSAGE_BYTES_MAX, BusConfig
from app.settings import Settings
from domain.errors import UserMistake
from ops.polling import until
from ops.topic_ids import read_topic_ids
from schemas.registry import TOPICS, RetentionClass, changelog_topic

HOUR_MS = 3_600_000
SEGMENT_BYTES = 64 << 20
CHANGELOG_DELETE_RETENTION_MS = 7 * 24 * HOUR_MS  # a worker that was away for less still meets every tombstone
LEADERS_S_MAX = 30.0  # a new topic has its leaders within a second; a loaded machine takes longer
_SOURCE_TOPIC = 1  # DescribeConfigs: the value was set on the topic itself


@dataclass(frozen=True)
class TopicSpec:
    """What a topic must look like. `config` holds every setting that we decide, as Kafka's own text."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str]


@dataclass
class TopicReport:
    """What `apply` did or `check` found; names in the order of the catalogue."""

    created: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing missing, nothing different (`check`)."""
        return not self.missing and not self.differing


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Every topic that must exist: the catalogue, then the changelogs."""
    partitions, replication = settings.topic_partitions, settings.bus_replication_factor
    specs = [TopicSpec(t.name, t.partitions(partitions), replication, _config(t.retention, settings)) for t in TOPICS]
    changelog = _base_config(settings) | {
        "cleanup.policy": "compact",
        # Recovery of a worker that lags a little must find every record, not only the last one of each key.
        "min.compaction.lag.ms": str(HOUR_MS),
        "delete.retention.ms": str(CHANGELOG_DELETE_RETENTION_MS),
    }
    return specs + [TopicSpec(changelog_topic(t), partitions, replication, changelog) for t in _tables()]


def _tables() -> tuple[str, ...]:
    try:
        from app.topics import TABLES
    except ImportError:
        return ("order_books",)
    return tuple(TABLES)


def _base_config(settings: Settings) -> dict[str, str]:
    return {
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "message.timestamp.type": "LogAppendTime",
        "segment.bytes": str(SEGMENT_BYTES),
        "min.insync.replicas": "2" if settings.bus_replication_factor >= 3 else "1",
    }


def _config(retention: RetentionClass, settings: Settings) -> dict[str, str]:
    # BUS_STREAM_RETENTION_MB bounds a topic, Kafka's setting a partition. Two segments are the least that can rotate.
    stream_bytes = max(2 * SEGMENT_BYTES, (settings.bus_stream_retention_mb << 20) // settings.topic_partitions)
    own: dict[RetentionClass, dict[str, str]] = {
        "stream": {"retention.ms": _hours(settings.bus_stream_retention_hours), "retention.bytes": str(stream_bytes)},
        "forever": {"retention.ms": "-1", "retention.bytes": "-1", "flush.messages": "1"},
        # Segments roll by time, or an hour's retention waits for 64 MiB of heartbeats.
        "status": {
            "retention.ms": str(HOUR_MS),
            "retention.bytes": str(2 * SEGMENT_BYTES),
            "segment.ms": str(HOUR_MS // 4),
        },
        "dead_letter": {"retention.ms": _hours(settings.bus_dlq_retention_hours), "retention.bytes": str(stream_bytes)},
    }
    return _base_config(settings) | {"cleanup.policy": "delete"} | own[retention]


def _hours(hours: int) -> str:
    return str(hours * HOUR_MS)


@asynccontextmanager
async def admin_client(bus: BusConfig) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client. Raises UserMistake when no broker answers."""
    admin = AIOKafkaAdminClient(**bus, request_timeout_ms=15_000)
    try:
        try:
            await admin.start()
        except (KafkaError, OSError) as wrong:
            where = bus["bootstrap_servers"]
            raise UserMistake(f"BUS_URL: no broker answered at {where} ({type(wrong).__name__})") from None
        yield admin
    finally:
        await admin.close()


async def apply_topics(bus: BusConfig, settings: Settings) -> TopicReport:
    """Create what is missing and set what differs; a second run changes nothing.

    Raises:
        UserMistake: a topic has another partition count, or the broker refused one.
    """
    specs = topic_specs(settings)
    async with admin_client(bus) as admin:
        report = await _compare(admin, specs)
        new = [spec for spec in specs if spec.name in report.missing]
        await _create(admin, new)
        await _wait_for_leaders(admin, [spec.name for spec in new])
        differing = {line.split(":")[0] for line in report.differing}
        for spec in specs:
            if spec.name in differing:
                await _set_config(admin, spec)
                report.changed.append(spec.name)
        if report.changed:
            await _wait_until_applied(admin, specs)
        report.created, report.missing, report.differing = report.missing, [], []
    return report


async def check_topics(bus: BusConfig, settings: Settings) -> TopicReport:
    """Compare without changing anything. Raises UserMistake for another partition count."""
    async with admin_client(bus) as admin:
        return await _compare(admin, topic_specs(settings))


async def topic_incarnations(bus: BusConfig, topics: list[str] | None = None) -> dict[str, str]:
    """Topic name -> Kafka's topic id, for those that exist (default: the catalogue and all changelogs).

    A topic that was deleted and created again has another id, so whoever kept the old one knows that its offsets
    mean nothing any more.
    """
    wanted = topics or [t.name for t in TOPICS] + [changelog_topic(t) for t in _tables()]
    async with admin_client(bus) as admin:
        return await read_topic_ids(admin._client, wanted)


async def _compare(admin: AIOKafkaAdminClient, specs: list[TopicSpec]) -> TopicReport:
    report = TopicReport()
    present = {t["topic"]: t for t in await admin.describe_topics(None)}
    for spec in specs:
        if spec.name not in present:
            report.missing.append(spec.name)
        elif (count := len(present[spec.name]["partitions"])) != spec.partitions:
            raise wrong_partitions(spec.name, spec.partitions, count)
    found = [spec for spec in specs if spec.name in present]
    actual = await _read_configs(admin, [spec.name for spec in found])
    for spec in found:
        for name, value in spec.config.items():
            was = actual[spec.name].get(name, ("", 0))[0]
            if was != value:
                report.differing.append(f"{spec.name}: {name}: expected {value}, was {was}")
    return report


def wrong_partitions(topic: str, expected: int, was: int) -> UserMistake:
    """The count is fixed for the life of the data: another one would move keys away from their state."""
    return UserMistake(
        f"{topic}: expected TOPIC_PARTITIONS={expected} partitions, was {was}; the count is fixed for the life of the "
        f"data: set TOPIC_PARTITIONS={was}, or move the data with `kalshi-streams replay --from-parquet` into a new "
        f"--data-dir"
    )


async def _create(admin: AIOKafkaAdminClient, specs: list[TopicSpec]) -> None:
    if not specs:
        return
    answer = await admin.create_topics(
        [NewTopic(s.name, s.partitions, s.replication, topic_configs=s.config) for s in specs]
    )
    for topic, code, *message in answer.topic_errors:
        # Another `apply` at the same moment made it: the same catalogue, so the same topic.
        if code and code != TopicAlreadyExistsError.errno:
            raise UserMistake(
                f"{topic}: the broker refused it: {for_code(code).__name__} {' '.join(map(str, message))}"
            )


async def _wait_for_leaders(admin: AIOKafkaAdminClient, topics: list[str]) -> None:
    if not topics:
        return

    async def all_led() -> bool:
        rows = await admin.describe_topics(topics)
        partitions = [p for row in rows for p in row["partitions"]]
        return len(rows) == len(topics) and bool(partitions) and all(p["leader"] >= 0 for p in partitions)

    if not await until(all_led, LEADERS_S_MAX):
        raise UserMistake(f"topics: expected leaders within {LEADERS_S_MAX:.0f} s, was none for some of {topics}"[:300])


async def _wait_until_applied(admin: AIOKafkaAdminClient, specs: list[TopicSpec]) -> None:
    # The controller has acknowledged; the broker shows the change a moment later.
    async def applied() -> bool:
        return (await _compare(admin, specs)).clean

    if not await until(applied, LEADERS_S_MAX):
        raise UserMistake("topics: expected the broker to show the new settings, was still showing the old ones")


async def _read_configs(admin: AIOKafkaAdminClient, topics: list[str]) -> dict[str, dict[str, tuple[str, int]]]:
    """Topic -> setting -> (value, where it comes from)."""
    if not topics:
        return {}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics])
    return {
        resource[3]: {entry[0]: (entry[1], entry[3]) for entry in resource[4]}
        for answer in answers
        for resource in answer.resources
    }


async def _set_config(admin: AIOKafkaAdminClient, spec: TopicSpec) -> None:
    # This request replaces the whole configuration of the topic: what somebody else set on it is sent along.
    present = (await _read_configs(admin, [spec.name]))[spec.name]
    kept = {name: value for name, (value, source) in present.items() if source == _SOURCE_TOPIC}
    answers = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, spec.name, kept | spec.config)])
    for answer in answers:
        for code, message, *_ in answer.resources:
            if code:
                raise UserMistake(f"{spec.name}: the broker refused its settings: {for_code(code).__name__} {message}")
