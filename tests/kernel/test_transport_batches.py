"""Batched transport: how runs are cut, and what may be committed. A real Faust consumer that is not started."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from app import transport
from app.settings import load_settings
from app.transport import BatchConsumer, LeanPartitionRecords, batch_message
from app.worker import build_app

TOPIC = "market.book_updates"
ONE = TP(TOPIC, 0)


def row(offset: int, size: int = 10) -> Any:
    """A raw record."""
    return SimpleNamespace(offset=offset, timestamp=1_000, timestamp_type=1, key=b"k", value=b"v" * size)


def rows(first: int, last: int) -> list[Any]:
    """Records of these offsets, both included."""
    return [row(offset) for offset in range(first, last + 1)]


@pytest.fixture
def consumer(tmp_path: Path) -> BatchConsumer:
    """The consumer of a worker."""
    return build_app(load_settings(data_dir=tmp_path), transient=True).consumer  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def shared_consumer(tmp_path_factory: pytest.TempPathFactory) -> BatchConsumer:
    """One for all examples of a property: an application for each would take minutes."""
    folder = tmp_path_factory.mktemp("app")
    return build_app(load_settings(data_dir=folder), transient=True).consumer  # type: ignore[no-any-return]


def taken(consumer: BatchConsumer, first: int, last: int, tp: TP = ONE) -> Any:
    """A batch that was delivered, and that the agent took."""
    message = batch_message(tp, rows(first, last), consumer.app.consumer_generation_id)
    consumer.track_message(message)
    assert consumer.begin(message)
    return message


def committable(consumer: BatchConsumer) -> dict[TP, int]:
    """What a commit would send now; from then on it counts as sent."""
    offsets = consumer._filter_committable_offsets(list(consumer._filter_tps_with_pending_acks()))
    consumer._committed_offset.update(offsets)
    return dict(offsets)


# --- cutting ---


@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=30), max_size=8))
def test_cut_keeps_every_record_in_order_within_its_bounds(sizes: list[list[int]]) -> None:
    """Whatever record batches come, events hold the same records, at most 7 of them and 100 bytes, or one record."""
    offsets = iter(range(10_000))
    runs = [[row(next(offsets), size) for size in run] for run in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "BATCH_RECORDS_MAX", 7)
        patch.setattr(transport, "BATCH_BYTES_MAX", 100)
        events = list(transport._cut(runs))
    assert [r for event in events for r in event] == [r for run in runs for r in run]
    for event in events:
        assert 1 <= len(event) <= 7
        assert len(event) == 1 or sum(len(r.value) for r in event) <= 100


def test_event_takes_offset_and_time_of_its_last_record() -> None:
    """What Faust sees of a run is its end."""
    message = batch_message(ONE, rows(5, 9), 3)
    assert (message.offset, message.timestamp, message.generation_id) == (9, 1.0, 3)


# --- committing ---


@given(order=st.permutations(range(12)), data=st.data())
def test_commit_is_the_longest_acknowledged_prefix_in_any_order_of_acks(
    shared_consumer: BatchConsumer, order: list[int], data: st.DataObject
) -> None:
    """After every acknowledgement, commits stand at the end of the batches that are all done, never beyond."""
    consumer = shared_consumer
    consumer._in_flight.clear()
    consumer._committed_offset.clear()
    messages = [taken(consumer, 10 * i, 10 * i + 9) for i in range(12)]
    done: set[int] = set()
    for index in order:
        consumer.ack(messages[index])
        done.add(index)
        if data.draw(st.booleans()):
            committable(consumer)
            prefix = next((i for i in range(12) if i not in done), 12)
            assert (consumer._committed_offset[ONE] or 0) == 10 * prefix
    committable(consumer)
    assert consumer._committed_offset[ONE] == 120
    assert not consumer.unacked
    assert consumer.batches_in_flight(ONE) == 0


def test_unfinished_first_batch_holds_the_commit_back(consumer: BatchConsumer) -> None:
    """All later batches done: nothing is committable until the first one is."""
    first, *later = [taken(consumer, 10 * i, 10 * i + 9) for i in range(5)]
    for message in later:
        consumer.ack(message)
    assert committable(consumer) == {}
    consumer.ack(first)
    assert committable(consumer) == {ONE: 50}


def test_batch_that_no_agent_took_never_commits(consumer: BatchConsumer) -> None:
    """Faust acknowledges messages that it drops (another generation, a cleared queue): no offset follows from that."""
    dropped = batch_message(ONE, rows(0, 9), consumer.app.consumer_generation_id)
    consumer.track_message(dropped)
    consumer.ack(dropped)
    assert committable(consumer) == {}
    consumer.ack(taken(consumer, 10, 19))
    assert committable(consumer) == {ONE: 20}


def test_batch_of_an_older_generation_is_let_go_and_never_commits(consumer: BatchConsumer) -> None:
    """It does not hold up the rebalance that waits for unacknowledged messages, and its late ack counts nothing."""
    stale = batch_message(ONE, rows(0, 9), consumer.app.consumer_generation_id - 1)
    consumer.track_message(stale)
    assert not consumer.begin(stale)
    assert not consumer.unacked
    consumer.ack(stale)
    assert committable(consumer) == {}


def test_batch_delivered_again_below_the_commit_moves_nothing_back(consumer: BatchConsumer) -> None:
    """After a rebalance a committed batch may come again: its ack is ignored, the next one counts."""
    consumer._committed_offset[ONE] = 30
    again = taken(consumer, 10, 19)
    consumer.ack(again)
    assert committable(consumer) == {}
    consumer.ack(taken(consumer, 30, 39))
    assert committable(consumer) == {ONE: 40}


def test_compacted_gap_between_batches_is_passed(consumer: BatchConsumer) -> None:
    """Offsets that no record has do not stall the commit, inside a run or between two."""
    message = batch_message(ONE, [row(0), row(7)], consumer.app.consumer_generation_id)
    consumer.track_message(message)
    consumer.begin(message)
    consumer.ack(message)
    consumer.ack(taken(consumer, 100, 104))
    assert committable(consumer) == {ONE: 105}


def test_partitions_commit_independently(consumer: BatchConsumer) -> None:
    """A batch that waits in one partition does not hold back another."""
    taken(consumer, 0, 9)
    two = TP(TOPIC, 1)
    consumer.ack(taken(consumer, 0, 4, two))
    assert committable(consumer) == {two: 5}


def test_second_acknowledgement_of_a_batch_is_ignored(consumer: BatchConsumer) -> None:
    """An ack that comes twice counts once."""
    message = taken(consumer, 0, 9)
    assert consumer.ack(message)
    assert not consumer.ack(message)
    assert committable(consumer) == {ONE: 10}


async def test_getmany_survives_a_seek_that_fails_while_the_flow_is_stopped(
    consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partitions may be lost while a rebalance stops the flow: the seek fails, the fetcher must live on."""

    async def nothing(timeout: float) -> tuple[dict[Any, Any], set[TP]]:
        return {}, {ONE}

    async def lost() -> None:
        raise RuntimeError("partition is not assigned")

    monkeypatch.setattr(consumer, "_wait_next_records", nothing)
    monkeypatch.setattr(consumer, "perform_seek", lost)
    consumer.stop_flow()
    assert [event async for event in consumer.getmany(0.1)] == []


async def test_batches_done_before_a_revoke_are_committed_by_it(
    consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust forgets a revoked partition's acknowledgements before it commits: ours are found again."""
    commits: list[dict[TP, int]] = []

    async def record(offsets: dict[TP, int], start_new_transaction: bool = True) -> bool:
        commits.append(dict(offsets))
        return True

    async def revoke(revoked: set[TP]) -> None:
        await consumer.wait_empty()

    monkeypatch.setattr(consumer, "_commit_offsets", record)
    monkeypatch.setattr(consumer, "_on_partitions_revoked", revoke)
    consumer.loop = asyncio.get_running_loop()
    consumer.ack(taken(consumer, 0, 9))
    await consumer.on_partitions_revoked({ONE})
    assert commits == [{ONE: 10}]
    assert consumer.batches_in_flight(ONE) == 0


async def test_drain_that_cannot_end_ends_the_process(consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch whose outputs the broker never takes: a rebalance or the end must not wait for it for ever."""
    consumer.loop = asyncio.get_running_loop()
    message = taken(consumer, 0, 9)
    kernel = consumer.app.kernel
    failures: list[str] = []

    def fail(where: str, error: BaseException) -> None:
        failures.append(f"{where}: {error}")
        consumer.ack(message)

    async def no_commit() -> bool:
        return False

    monkeypatch.setattr(kernel, "settings", kernel.settings.model_copy(update={"commit_stall_s": 0.05}))
    monkeypatch.setattr(kernel, "fail", fail)
    monkeypatch.setattr(consumer, "commit", no_commit)
    monkeypatch.setattr(consumer, "commit_and_end_transactions", no_commit)
    await consumer.wait_empty()
    assert failures == ["drain: expected all batches to be done within 0.05 s, 1 were not"]


# --- whole record batches from the fetcher ---


class _Batch:
    """What aiokafka's record batches offer."""

    def __init__(self, first: int, offsets: list[int], end: int, *, control: bool = False, producer: int = -1) -> None:
        self.base_offset, self.next_offset = first, end
        self.is_control_batch, self.is_transactional = control, producer >= 0
        self.producer_id = producer
        self._rows = [row(offset) for offset in offsets]

    def __iter__(self) -> Any:
        return iter(self._rows)

    def validate_crc(self) -> bool:
        return True


class _Records:
    def __init__(self, batches: list[_Batch]) -> None:
        self._batches = batches

    def has_next(self) -> bool:
        return bool(self._batches)

    def next_batch(self) -> _Batch:
        return self._batches.pop(0)


def unpack(batches: list[_Batch], fetch_offset: int = 0) -> tuple[list[list[int]], int]:
    """The offsets of each run, and where the next fetch begins."""
    transport.read_lean([TOPIC])
    part = LeanPartitionRecords(ONE, _Records(batches), [], fetch_offset, None, None, True, 0)
    runs = [[r.offset for r in run] for run in part]
    return runs, part.next_fetch_offset


def test_fetch_from_the_middle_of_a_record_batch_skips_what_was_read() -> None:
    """The broker returns whole compressed batches: the records before the position are not delivered again."""
    assert unpack([_Batch(0, [0, 1, 2, 3], 4)], fetch_offset=2) == ([[2, 3]], 4)


def test_position_passes_compacted_and_control_batches() -> None:
    """Empty batches and transaction markers give no event and do not stop the fetch."""
    batches = [_Batch(0, [], 5), _Batch(5, [5], 6, control=True), _Batch(6, [6, 9], 12), _Batch(12, [], 20)]
    assert unpack(batches) == ([[6, 9]], 20)


def test_agents_that_share_an_event_each_get_its_records_and_the_last_one_lets_them_go() -> None:
    """Faust's compiled conductor gives one event to all agents of a topic: none may take it from another."""
    records = rows(0, 9)
    value = batch_message(ONE, records, 3, takers=2).value
    assert value.take() == records
    assert value.take() == records
    assert value._rows is None
    with pytest.raises(AssertionError, match="one take for each agent"):
        value.take()
