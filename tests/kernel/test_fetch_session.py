"""Fetch sessions: the bytes are those of aiokafka's own schemas, and what the broker remembers is what we want."""

import uuid
from io import BytesIO
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.consumer import consumer as aiokafka_consumer
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v11, FetchResponse_v11
from hypothesis import given
from hypothesis import strategies as st

from app.fetch_session import FetchSession, SessionRequest
from app.fetching import fetch_in_sessions
from ops.engines.kafka import KafkaEngine

OFFSETS = st.integers(0, 2**62)
ROWS = st.lists(st.tuples(st.integers(0, 63), OFFSETS, st.integers(1, 2**30)), max_size=4, unique_by=lambda row: row[0])
TOPICS = st.dictionaries(st.text("abc.é", min_size=1, max_size=6), ROWS, max_size=4).map(lambda d: list(d.items()))
ANSWERED = st.tuples(
    st.integers(0, 63), st.integers(-1, 99), OFFSETS, OFFSETS, OFFSETS,
    st.none() | st.lists(st.tuples(OFFSETS, OFFSETS), max_size=3), st.integers(-1, 9), st.binary(max_size=40),
)  # fmt: skip
ANSWER = st.lists(st.tuples(st.text("abc.é", min_size=1, max_size=6), st.lists(ANSWERED, max_size=3)), max_size=3)


def request(topics: list[Any], wait_ms: int = 500) -> FetchRequest:
    """What aiokafka's fetcher makes."""
    return FetchRequest(wait_ms, 1, 1 << 20, 0, topics, rack_id="")


def answer(topics: list[Any], error: int = 0, session: int = 7) -> BytesIO:
    """A response after its header."""
    return BytesIO(FetchResponse_v11(0, error, session, topics).encode())


def named(body: bytes) -> tuple[int, int, dict[str, list[tuple[int, int]]], dict[str, list[int]]]:
    """(session, epoch, topic -> (partition, offset), topic -> forgotten partitions) of a request."""
    sent = FetchRequest_v11.decode(body)
    wanted = {topic: [(row[0], row[2]) for row in rows] for topic, rows in sent.topics}  # type: ignore[attr-defined]
    return sent.session_id, sent.session_epoch, wanted, dict(sent.forgotten_topics_data)  # type: ignore[attr-defined]


@given(TOPICS)
def test_the_first_request_is_aiokafkas_own_that_asks_for_a_session(topics: list[Any]) -> None:
    """Byte for byte, but for the epoch: aiokafka's says that it wants none. A topic without partitions is left out."""
    topics = [(topic, rows) for topic, rows in topics if rows]
    theirs = request(topics).build(FetchRequest_v11)
    theirs.session_epoch = 0  # type: ignore[attr-defined]

    assert FetchSession().encode(request(topics)) == theirs.encode()


@given(ANSWER)
def test_an_answer_is_read_as_aiokafka_reads_it(topics: list[Any]) -> None:
    """Every field of every partition."""
    theirs = FetchResponse_v11.decode(answer(topics))

    ours = FetchSession().decode(answer(topics))

    assert [(topic, [tuple(row) for row in rows]) for topic, rows in ours.topics] == theirs.topics  # type: ignore[attr-defined]


def test_only_what_changed_is_named_and_what_is_no_longer_wanted_is_taken_back() -> None:
    """Offsets that moved, partitions that came, partitions that went."""
    session = FetchSession()
    session.encode(request([("a", [(0, 5, 100), (1, 5, 100)]), ("b", [(0, 1, 100)])]))
    session.decode(answer([]))

    body = session.encode(request([("a", [(0, 5, 100), (1, 9, 100), (2, 0, 100)])]))

    assert named(body) == (7, 1, {"a": [(1, 9), (2, 0)]}, {"b": [0]})


@pytest.mark.parametrize("error", [70, 71])
def test_a_refused_session_is_followed_by_a_new_one_with_everything(error: int) -> None:
    """The broker forgot it, or counts otherwise."""
    session, wanted = FetchSession(), [("a", [(0, 5, 100)])]
    session.encode(request(wanted))
    session.decode(answer([]))
    session.encode(request(wanted))
    session.decode(answer([], error, 0))

    assert named(session.encode(request(wanted))) == (0, 0, {"a": [(0, 5)]}, {})


def test_a_request_without_an_answer_is_followed_by_a_new_session_in_place_of_the_old() -> None:
    """Cancelled or cut off: nobody knows whether the broker took it."""
    session, wanted = FetchSession(), [("a", [(0, 5, 100)])]
    session.encode(request(wanted))
    session.decode(answer([]))
    session.encode(request(wanted))
    session.settle()

    assert named(session.encode(request(wanted))) == (7, 0, {"a": [(0, 5)]}, {})


def test_a_broker_that_keeps_no_more_sessions_is_asked_for_everything_each_time() -> None:
    """Its answer names session 0."""
    session, wanted = FetchSession(), [("a", [(0, 5, 100)])]
    for _ in range(2):
        assert named(session.encode(request(wanted))) == (0, 0, {"a": [(0, 5)]}, {})
        session.decode(answer([], session=0))


def test_an_old_broker_gets_aiokafkas_own_request() -> None:
    """It does not speak the version that has sessions."""
    prepared = SessionRequest(request([("a", [(0, 5, 100)])]), FetchSession()).prepare({1: (0, 6)})

    assert prepared.API_VERSION == 6


@pytest.mark.engines
async def test_a_session_of_many_partitions_delivers_each_record_once_also_after_a_seek_and_a_lost_session(
    kafka: KafkaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records in some of twelve partitions, round after round; in the third the broker's side is out of step, in the
    fifth we go back to the beginning of one partition."""
    monkeypatch.setattr(aiokafka_consumer, "Fetcher", aiokafka_fetcher.Fetcher)
    fetch_in_sessions()
    tps = await _topic(kafka.bus_url, 12)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bus_url, linger_ms=0)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bus_url, enable_auto_commit=False, auto_offset_reset="earliest")
    await producer.start()
    await consumer.start()
    try:
        consumer.assign(tps)
        expected: list[tuple[int, bytes]] = []
        seen: list[tuple[int, bytes]] = []
        for number in range(8):
            for tp in tps[number % 5 :: 5]:
                value = f"{number}-{tp.partition}".encode()
                await producer.send_and_wait(tp.topic, value, partition=tp.partition)
                expected.append((tp.partition, value))
            if number == 2:
                (session,) = consumer._fetcher._sessions.values()
                session._epoch += 5
            if number == 4:
                consumer.seek(tps[0], 0)
                expected += [row for row in expected if row[0] == 0]
            while len(seen) < len(expected):
                for tp, rows in (await consumer.getmany(timeout_ms=1_000)).items():
                    seen += [(tp.partition, row.value) for row in rows]

        assert sorted(seen) == sorted(expected)
    finally:
        await consumer.stop()
        await producer.stop()


async def _topic(bus_url: str, partitions: int) -> list[TopicPartition]:
    name = f"session-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bus_url)
    await admin.start()
    await admin.create_topics([NewTopic(name, partitions, 1)])
    await admin.close()
    return [TopicPartition(name, partition) for partition in range(partitions)]
