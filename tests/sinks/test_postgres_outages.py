"""Postgres that stops, freezes, or loses the connection at COMMIT: the store ends equal, nothing is retried blindly."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from postgres_topic import TOPIC, batch_of, expected_of, make_topic, quote, sink_for, source, stored_of

from ops.engines.postgres import PostgresEngine
from ops.migrate import migrate_postgres
from sinks.contract import SinkUnavailable
from sinks.postgres.sink import PostgresSink

pytestmark = pytest.mark.engines

RECOVERY_S_MAX = 120.0


@pytest.fixture
def dsn(new_database: Callable[[], str]) -> str:
    """A migrated database."""
    dsn = new_database()
    migrate_postgres(dsn)
    return dsn


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresEngine]:
    """A server that this test may stop."""
    engine = PostgresEngine(tmp_path / "pg")
    engine.start()
    yield engine
    engine.stop()


async def until_written(sink: PostgresSink, write: Callable[[], Awaitable[object]]) -> int:
    """Retry as the agent does, with a deadline. Returns how often the sink said no."""
    refusals = 0
    async with asyncio.timeout(RECOVERY_S_MAX):
        while True:
            try:
                await write()
            except SinkUnavailable:
                refusals += 1
                await asyncio.sleep(0.05)
            else:
                return refusals


class CommitCutter:
    """A socket in front of the server. While it is armed, the first connection to say COMMIT dies: before the server
    sees it, or after the server has done it and before its answer comes through."""

    def __init__(self, dsn: str, folder: Path, cut: Literal["before", "after"]) -> None:
        self.dsn = dsn.split("host=")[0] + f"host={folder}"
        self._path = folder / ".s.PGSQL.5432"
        self._real = dsn.split("host=")[1] + "/.s.PGSQL.5432"
        self._cut = cut
        self.is_armed = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "CommitCutter":
        self._server = await asyncio.start_unix_server(self._accept, str(self._path))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._serve(client_in, client_out)))

    async def _serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        server_in, server_out = await asyncio.open_unix_connection(self._real)
        answered, swallow = asyncio.Event(), asyncio.Event()

        async def answers() -> None:
            while data := await server_in.read(1 << 16):
                answered.set()
                if not swallow.is_set():
                    client_out.write(data)

        back = asyncio.create_task(answers())
        try:
            while data := await client_in.read(1 << 16):
                is_commit = self.is_armed and b"COMMIT\x00" in data
                if is_commit:
                    self.is_armed = False
                    swallow.set()
                    answered.clear()
                    if self._cut == "before":
                        break
                server_out.write(data)
                if is_commit:
                    await answered.wait()
                    break
        finally:
            back.cancel()
            for writer in (server_out, client_out):
                writer.close()


async def test_commit_whose_answer_is_lost_is_read_back_and_counts(dsn: str, tmp_path: Path) -> None:
    """The transaction happened, the connection died before its answer: write returns, nothing is written again."""
    async with CommitCutter(dsn, tmp_path, "after") as cutter:
        sink = sink_for(cutter.dsn)
        await sink.start()
        cutter.is_armed = True
        try:
            await sink.write(batch_of([source(0, quote())]))
            assert not cutter.is_armed
            assert sink.durable_next_offset(TOPIC, 0) == 1
            await sink.write(batch_of([source(1, quote(revision=2, cause_offset=1))]))
        finally:
            await sink.stop()

    with psycopg.connect(dsn) as connection:
        found = connection.execute("select _offset from events_quote_updates order by 1").fetchall()
    assert found == [(0,), (1,)]


async def test_commit_that_never_arrived_is_reported_and_written_again(dsn: str, tmp_path: Path) -> None:
    """The transaction did not happen: the agent is told to retry, and the retry lands once."""
    async with CommitCutter(dsn, tmp_path, "before") as cutter:
        sink = sink_for(cutter.dsn)
        await sink.start()
        cutter.is_armed = True
        try:
            batch = batch_of([source(0, quote()), source(1, quote(revision=2, cause_offset=1))])
            with pytest.raises(SinkUnavailable):
                await sink.write(batch)
            assert await until_written(sink, lambda: sink.write(batch)) == 0
        finally:
            await sink.stop()

    with psycopg.connect(dsn) as connection:
        assert connection.execute("select count(*) from events_quote_updates").fetchone() == (2,)


@pytest.mark.parametrize("step", ["begin", "copy_rows", "upsert_projection", "commit", "committed"])
async def test_server_stopped_at_a_step_loses_and_doubles_nothing(own_postgres: PostgresEngine, step: str) -> None:
    """An immediate stop of the server within a transaction, a start later: the store equals the topic."""
    dsn = own_postgres.dsn
    migrate_postgres(dsn)
    records = make_topic(seed=3, count=600)
    armed = False

    def stop_here(name: str) -> None:
        nonlocal armed
        if armed and name == step:
            armed = False
            assert own_postgres.pid is not None
            os.kill(own_postgres.pid, signal.SIGQUIT)  # immediate shutdown: no time for an open transaction

    sink = sink_for(dsn, on_step=stop_here, statement_timeout_ms=1_000)
    await sink.start()
    try:
        await sink.write(batch_of(records[:200]))
        armed = True
        try:
            await sink.write(batch_of(records[200:400]))
        except SinkUnavailable:
            with pytest.raises(SinkUnavailable):
                await sink.write(batch_of(records[200:400]))
        await wait_until_gone(own_postgres)
        await asyncio.to_thread(own_postgres.restart)
        await until_written(sink, lambda: sink.write(batch_of(records[200:])))
    finally:
        await sink.stop()

    expected, stored = expected_of(records), stored_of(dsn, 0)
    assert not armed
    assert stored.rows == expected.rows
    assert stored.latest == expected.latest


async def wait_until_gone(engine: PostgresEngine) -> None:
    """Until the postmaster has removed its pid file."""
    async with asyncio.timeout(RECOVERY_S_MAX):
        while engine.pid is not None:  # noqa: ASYNC110 - a file of another process
            await asyncio.sleep(0.05)


async def test_frozen_server_is_noticed_within_the_deadline_and_recovers(own_postgres: PostgresEngine) -> None:
    """SIGSTOP: no answer, no closed socket. The write ends by its own clock; after SIGCONT the retry lands once."""
    dsn = own_postgres.dsn
    migrate_postgres(dsn)
    frozen: list[int] = []

    def freeze(name: str) -> None:
        if name == "copy_events" and not frozen:
            with psycopg.connect(dsn) as connection:
                found = connection.execute(
                    "select pid from pg_stat_activity where application_name like '%sink-postgres'"
                )
                frozen.extend(pid for (pid,) in found)
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)

    sink = sink_for(dsn, on_step=freeze, statement_timeout_ms=500)
    await sink.start()
    batch = batch_of([source(0, quote())])
    try:
        with pytest.raises(SinkUnavailable):
            await sink.write(batch)
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        await until_written(sink, lambda: sink.write(batch))
    finally:
        for pid in frozen:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
        await sink.stop()

    with psycopg.connect(dsn) as connection:
        assert connection.execute("select count(*) from events_quote_updates").fetchone() == (1,)
