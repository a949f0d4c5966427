"""A rebalance cancels writers at any point, and the partition may be ours again at once: what a thread or the server is
still doing then is waited for, or refused, and the store ends equal to the topic."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from book_store import assert_store_equals
from book_topic import PARTITION, TOPIC, batch, make_book_topic
from parquet_archive import assert_archive_equals, opened
from postgres_topic import TOPIC as QUOTES
from postgres_topic import batch_of, expected_of, make_topic, sink_for, stored_of

from ops.migrate import migrate_postgres
from sinks.parquet.sink import Rotation

WAIT_S = 60
TURNS = 100  # of the loop: more than anything here needs to come to where it waits


class Gate:
    """A step of a sink that a thread does not get past until `open`."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._reached, self._opened = threading.Event(), threading.Event()

    def __call__(self, step: str) -> None:
        if step == self._step:
            self._reached.set()
            assert self._opened.wait(WAIT_S)

    async def reached(self) -> None:
        """Until the thread stands there."""
        assert await asyncio.to_thread(self._reached.wait, WAIT_S)

    def open(self) -> None:
        """Let it go on."""
        self._opened.set()


async def assigned_after_cancels(sink: Any, gate: Gate) -> int | None:
    """What the sink says at the second of two assignments in a row, the first of them cancelled as well, when the
    thread's write comes late."""
    await gate.reached()
    for work in (sink.flush(), sink.assign(TOPIC, PARTITION)):
        cancelled = asyncio.create_task(work)
        await turns()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
    again = asyncio.create_task(sink.assign(TOPIC, PARTITION))
    await turns()
    gate.open()
    found: int | None = await again
    return found


async def turns() -> None:
    """Let the loop turn."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def test_parquet_counts_a_file_that_was_being_written(tmp_path: Path) -> None:
    """Or the next one would begin where it begins, and be refused for ever."""
    records, gate = make_book_topic(21, 500), Gate("file synced")
    sink = await opened(tmp_path, Rotation(200, 1 << 30, 3_600.0), gate)
    await sink.write(batch(records[:200]))
    assert await assigned_after_cancels(sink, gate) == 200

    await sink.write(batch(records))
    await sink.stop()
    assert_archive_equals(tmp_path, records)


@pytest.mark.engines
async def test_clickhouse_counts_a_block_that_was_being_inserted(
    new_sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or its rows would be inserted a second time."""
    records, gate = make_book_topic(22, 500), Gate("insert")
    sink = await new_sink(flush_rows=200)
    insert = sink.store.insert

    def late(table: str, rows: Any, token: str) -> None:
        gate("insert")
        insert(table, rows, token)

    monkeypatch.setattr(sink.store, "insert", late)
    await sink.write(batch(records[:200]))
    assert await assigned_after_cancels(sink, gate) == 200

    await sink.write(batch(records))
    await sink.flush()
    assert_store_equals(sink.store, records)
    raw, shown = (sink.store.rows(f"select count() from {{db}}.orderbook_events{end}")[0][0] for end in ("_raw", ""))
    assert raw == shown


@pytest.mark.engines
@pytest.mark.parametrize("step", ["begin", "copy_events", "upsert_projection", "commit", "committed"])
async def test_postgres_swaps_only_what_it_read_back(new_database: Callable[[], str], step: str) -> None:
    """A transaction is cancelled at a step; whether it happened says the store, not we."""
    dsn, records = new_database(), make_topic(seed=23, count=600)
    migrate_postgres(dsn)
    to_cancel: list[asyncio.Task[Any]] = []

    def cancel_here(name: str) -> None:
        if name == step and to_cancel:
            to_cancel.pop().cancel()

    sink = sink_for(dsn, on_step=cancel_here)
    await sink.start()
    try:
        await sink.write(batch_of(records[:200]))
        writing = asyncio.create_task(sink.write(batch_of(records[200:400])))
        to_cancel.append(writing)
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert 200 <= (await sink.assign(QUOTES, 0) or 0) <= 400
        await sink.write(batch_of(records[200:]))
    finally:
        await sink.stop()

    expected, stored = expected_of(records), stored_of(dsn, 0)
    assert (stored.rows, stored.latest) == (expected.rows, expected.latest)
