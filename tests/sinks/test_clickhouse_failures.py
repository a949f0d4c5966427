"""The ClickHouse sink when an insert fails, or may have failed, or is not waited for: nothing lost, nothing doubled."""

import asyncio
import itertools
import math
import threading
from typing import Any

import pytest
from book_store import assert_store_equals, written
from book_topic import PARTITION, TOPIC, batch, make_book_topic

from sinks.contract import SinkUnavailable

pytestmark = pytest.mark.engines


@pytest.mark.parametrize("applied", [True, False])
async def test_an_insert_of_unknown_outcome_is_neither_lost_nor_doubled(
    new_sink: Any, applied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time-out after (or before) the insert was applied: the store is asked where it ends, then goes on."""
    records = make_book_topic(6, 2_000)
    sink = await new_sink(flush_rows=400)
    insert, calls = sink.store.insert, itertools.count()

    def flaky(table: str, rows: Any, token: str) -> None:
        broken = next(calls) % 3 == 1
        if applied or not broken:
            insert(table, rows, token)
        if broken:
            raise SinkUnavailable("clickhouse: timed out")

    monkeypatch.setattr(sink.store, "insert", flaky)
    at = 0
    while at < len(records):
        try:
            await sink.write(batch(records[at : at + 300]))
            at += 300
        except SinkUnavailable:
            continue
    monkeypatch.setattr(sink.store, "insert", insert)
    await sink.flush()

    assert_store_equals(sink.store, records)
    raw, shown = (sink.store.rows(f"select count() from {{db}}.orderbook_events{end}")[0][0] for end in ("_raw", ""))
    assert raw == shown


async def test_no_block_passes_one_whose_wait_was_cancelled(new_sink: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write is cancelled while its block waits for the one before: its records are held again, and stored."""
    records, first_is_in, go_on = make_book_topic(7, 600), threading.Event(), threading.Event()

    def hold(_step: str) -> None:
        first_is_in.set()
        go_on.wait(60)

    sink = await new_sink(flush_rows=200, on_step=hold)
    await sink.write(batch(records[:200]))
    await asyncio.to_thread(first_is_in.wait, 60)
    settle, is_waiting = sink._settle, asyncio.Event()

    async def told(held: Any) -> None:
        is_waiting.set()
        await settle(held)

    monkeypatch.setattr(sink, "_settle", told)
    second = asyncio.create_task(sink.write(batch(records[200:400])))
    await asyncio.wait_for(is_waiting.wait(), 60)
    second.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await second
    await written(sink, records[400:])

    assert_store_equals(sink.store, records)


@pytest.mark.parametrize("finish", ["tick", "flush"])
async def test_a_partition_that_cannot_be_stored_does_not_keep_others_waiting(
    new_sink: Any, finish: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two fails: the second is stored all the same, and the first by the next try."""
    records = make_book_topic(7, 300)
    sink = await new_sink(flush_age_s=math.inf)
    for number in (PARTITION, PARTITION + 1):
        await sink.write(batch(records, partition=number))
    sink._flush_age_s = 0.0  # both are due
    insert = sink.store.insert

    def picky(table: str, rows: Any, token: str) -> None:
        if rows["_partition"][0].as_py() == PARTITION:
            raise SinkUnavailable("clickhouse: too many parts")
        insert(table, rows, token)

    with monkeypatch.context() as patched:
        patched.setattr(sink.store, "insert", picky)
        with pytest.raises(SinkUnavailable, match="too many parts"):
            await getattr(sink, finish)()
    assert sink.durable_next_offset(TOPIC, PARTITION) is None
    assert sink.durable_next_offset(TOPIC, PARTITION + 1) == 300

    await getattr(sink, finish)()
    assert sink.durable_next_offset(TOPIC, PARTITION) == 300
