"""What a producer asks of Kafka at its start is asked until it answers."""

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError, UnknownTopicOrPartitionError

from domain.errors import UserMistake
from producers import kafka_start
from producers.kafka_start import check_topics, once_kafka_answers
from schemas.registry import TRADES


async def test_a_broker_that_goes_away_between_two_questions_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was asked: readiness says why, and the start goes on when it is back."""
    monkeypatch.setattr(kafka_start, "KAFKA_RETRY_S", 0.0)
    answers, told = [KafkaConnectionError(), OSError(), None], list[str]()

    async def ask() -> None:
        if (wrong := answers.pop(0)) is not None:
            raise wrong

    assert await once_kafka_answers(ask, asyncio.Event(), told.append)
    assert told == ["Kafka not reachable: KafkaConnectionError", "Kafka not reachable: OSError"]


async def test_a_stop_is_not_kept_waiting_by_a_broker_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is given up."""
    monkeypatch.setattr(kafka_start, "START_S_MAX", 0.0)
    stop, given_up = asyncio.Event(), asyncio.Event()

    async def ask() -> None:
        stop.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    assert not await once_kafka_answers(ask, stop, lambda _: None)
    assert given_up.is_set()


@pytest.mark.parametrize(
    ("counts", "said"), [(None, "topics are missing"), ({TRADES.name: 3}, "expected 4 partitions .*, was 3")]
)
async def test_wrong_topics_are_the_user_s_mistake(counts: dict[str, int] | None, said: str) -> None:
    """One line, not an outage that is waited out."""

    class Broker:
        async def partition_counts(self, topics: object) -> dict[str, int]:
            if counts is None:
                raise UnknownTopicOrPartitionError
            return counts

    with pytest.raises(UserMistake, match=said):
        await once_kafka_answers(
            lambda: check_topics(Broker(), [TRADES], 4),  # type: ignore[arg-type]
            asyncio.Event(),
            lambda _: None,
        )
