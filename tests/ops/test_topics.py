"""Topics: created once, verified, never repartitioned."""

from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from app.bus import aiokafka_options
from app.settings import Settings
from domain.errors import UserMistake
from ops.engines.kafka import KafkaEngine
from ops.polling import until
from ops.topics import apply_topics, check_topics, topic_incarnations, topic_specs
from schemas.registry import DESK_TICKS


def _settings(bus_url: str = "127.0.0.1:1", **more: Any) -> Settings:
    return Settings(_env_file=None, bus_url=bus_url, **more)


@pytest.mark.engines
async def test_apply_twice_creates_once_and_changed_retention_is_set(empty_kafka: KafkaEngine) -> None:
    """The first run creates everything, the second nothing; a changed setting is applied and nothing else."""
    settings = _settings(empty_kafka.bus_url)
    bus = aiokafka_options(settings)
    names = [spec.name for spec in topic_specs(settings)]
    before = await check_topics(bus, settings)
    first = await apply_topics(bus, settings)
    second = await apply_topics(bus, settings)
    longer = _settings(empty_kafka.bus_url, bus_dlq_retention_hours=721)
    seen = await check_topics(bus, longer)
    third = await apply_topics(bus, longer)

    assert before.missing == names
    assert first.created == names
    assert (second.created, second.changed) == ([], [])
    assert seen.differing == ["dlq: retention.ms: expected 2595600000, was 2592000000"]
    assert third.changed == ["dlq"]
    assert (await check_topics(bus, longer)).clean

    with pytest.raises(UserMistake, match="TOPIC_PARTITIONS=4, or move the data"):
        await apply_topics(bus, _settings(empty_kafka.bus_url, topic_partitions=8))


@pytest.mark.engines
async def test_recreated_topic_has_another_incarnation(empty_kafka: KafkaEngine) -> None:
    """The id stays over runs and changes when a topic is deleted and made again; absent topics have none."""
    settings = _settings(empty_kafka.bus_url)
    bus = aiokafka_options(settings)
    await apply_topics(bus, settings)
    ids = await topic_incarnations(bus)
    again = await topic_incarnations(bus)
    admin = AIOKafkaAdminClient(**bus)
    await admin.start()
    await admin.delete_topics(["dlq"])
    await admin.close()

    async def gone() -> bool:
        return "dlq" not in await topic_incarnations(bus)

    deleted = await until(gone, 90)
    without = await topic_incarnations(bus)
    await apply_topics(bus, settings)
    after = await topic_incarnations(bus)

    assert set(ids) == {spec.name for spec in topic_specs(settings)}
    assert again == ids
    assert len(set(ids.values())) == len(ids)
    assert deleted
    assert set(ids) - set(without) == {"dlq"}
    assert {name for name in ids if ids[name] != after[name]} == {"dlq"}


def test_specs_follow_the_contract() -> None:
    """Changelogs are compacted with a lag of an hour; streams are bounded in time and bytes; all by append time."""
    specs = {spec.name: spec for spec in topic_specs(_settings(topic_partitions=2))}
    changelog = specs["kalshi-streams.order_books-changelog"].config

    assert changelog["cleanup.policy"] == "compact"
    assert int(changelog["min.compaction.lag.ms"]) >= 3_600_000
    assert int(specs["market.book_updates"].config["retention.bytes"]) == 2_048 << 20
    assert {spec.partitions for name, spec in specs.items() if name != DESK_TICKS.name} == {2}
    assert specs[DESK_TICKS.name].partitions == 1, "a desk topic is a total order"
    assert {spec.config["message.timestamp.type"] for spec in specs.values()} == {"LogAppendTime"}
    assert {spec.config["max.message.bytes"] for spec in specs.values()} == {str(8 << 20)}


async def test_no_broker_is_one_line_for_the_user() -> None:
    """Nothing listening at BUS_URL is the user's to mend, not a traceback."""
    with pytest.raises(UserMistake, match=r"BUS_URL: no broker answered at 127\.0\.0\.1:1"):
        await topic_incarnations(aiokafka_options(_settings()))
