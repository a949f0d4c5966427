"""The Postgres sink on a real server: what lands, what is passed by, what is refused."""

import asyncio
from collections.abc import AsyncIterator, Callable

import psycopg
import pytest
import pytest_asyncio
from postgres_topic import (
    DAY_MS,
    T0_MS,
    TOPIC,
    batch_of,
    expected_of,
    make_topic,
    quote,
    sink_for,
    source,
    stored_of,
)

from app.settings import load_settings
from domain.errors import Fatal, UserMistake
from ops.migrate import migrate_postgres
from sinks.contract import SinkUnavailable
from sinks.postgres import sink as sink_module
from sinks.postgres.sink import PostgresSink

pytestmark = pytest.mark.engines


@pytest.fixture
def dsn(new_database: Callable[[], str]) -> str:
    """A migrated database."""
    dsn = new_database()
    migrate_postgres(dsn)
    return dsn


@pytest_asyncio.fixture
async def sink(dsn: str) -> AsyncIterator[PostgresSink]:
    """A started sink, assigned to partition 0."""
    started = sink_for(dsn)
    await started.start()
    assert await started.assign(TOPIC, 0) is None
    yield started
    await started.stop()


def rows(dsn: str, query: str, *parameters: object) -> list[tuple[object, ...]]:
    """All rows of a query."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(query, parameters).fetchall()  # type: ignore[call-overload,no-any-return]


KEYS = "select right(idempotency_key, 2), _offset from events_quote_updates order by _offset"


async def test_quote_lands_with_exact_decimals_and_exact_time(sink: PostgresSink, dsn: str) -> None:
    """Integers of the topic become the same decimals under the seeds' names; the time keeps its millisecond."""
    await sink.write(batch_of([source(0, quote(ts_ms=T0_MS + 123, price_e4=4_201))]))

    found = rows(
        dsn,
        "select market_ticker, yes_bb_px::text, yes_bb_sz::text, no_ba_px::text, yes_ba_px, "
        "to_char(ts_event, 'YYYY-MM-DD HH24:MI:SS.US'), payload->>'yes_bb_px_e4', cause_topic, cause_offset, status "
        "from events_quote_updates",
    )
    assert found == [
        (
            "KXBTC-A",
            "0.4201",
            "13.00",
            "0.5799",
            None,
            "2026-01-23 00:00:00.123000",
            "4201",
            "market.book_updates",
            0,
            "live",
        )
    ]
    assert rows(dsn, "select market_ticker, yes_bb_px::text, revision from state_quote_latest") == [
        ("KXBTC-A", "0.4201", 1)
    ]
    assert sink.durable_next_offset(TOPIC, 0) == 1
    assert sink.stats.rows == {"events_quote_updates": 1}
    assert sink.stats.sent_bytes["events_quote_updates"] > 100
    assert sink.stats.flushes == 1


async def test_batch_written_again_after_a_restart_changes_nothing(sink: PostgresSink, dsn: str) -> None:
    """A longer batch that overlaps what is stored lands only its new records."""
    records = [source(i, quote(revision=i + 1, cause_offset=i)) for i in range(4)]
    await sink.write(batch_of(records[:2]))
    again = sink_for(dsn)
    await again.start()
    try:
        assert await again.assign(TOPIC, 0) == 2
        await again.write(batch_of(records))
        await again.write(batch_of(records[:3]))
    finally:
        await again.stop()

    assert rows(dsn, KEYS) == [("01", 0), ("02", 1), ("03", 2), ("04", 3)]
    assert rows(dsn, "select next_offset from sink_offsets") == [(4,)]


async def test_derived_record_repeated_at_a_new_offset_is_skipped(sink: PostgresSink, dsn: str) -> None:
    """What is not above the highest (offset, n) of its cause partition was stored before; n tells two of one cause."""
    first = quote(revision=1, cause_offset=10, n=0)
    second = quote(revision=2, cause_offset=10, n=1)
    await sink.write(batch_of([source(0, first), source(1, second)]))
    await sink.write(batch_of([source(2, first), source(3, second), source(4, quote(revision=3, cause_offset=11))]))

    assert rows(dsn, KEYS) == [("01", 0), ("02", 1), ("03", 4)]
    assert rows(dsn, "select cause_high from sink_offsets") == [({"market.book_updates:0": [11, 0]},)]


async def test_equal_key_is_stored_once_even_when_its_cause_looks_new(sink: PostgresSink, dsn: str) -> None:
    """The unique key is the second line behind the causes."""
    await sink.write(batch_of([source(0, quote(cause_offset=1)), source(1, quote(cause_offset=2))]))

    assert rows(dsn, KEYS) == [("01", 0)]


async def test_poison_rows_are_found_and_their_neighbours_land(sink: PostgresSink, dsn: str) -> None:
    """What the server refuses, what fits no column and what cannot be decoded costs only itself."""
    records = [source(i, quote(revision=i + 1, cause_offset=i)) for i in range(50)]
    records[7] = source(7, quote(revision=8, cause_offset=7, session_id="nul\x00"))
    records[8] = source(8, quote(revision=9, cause_offset=8, session_id="nul\x00"))
    records[20] = source(20, quote(revision=21, cause_offset=20))
    records[20] = source(20, (records[20].value or b"").replace(b"market.book_updates", b"no\\u0000topic"))
    records[30] = source(30, b"\xff\xfe")
    records[31] = source(31, quote(revision=32, cause_offset=31, sid=1 << 70))
    records[32] = source(32, quote(revision=33, cause_offset=1 << 70))
    records[49] = source(49, quote(revision=50, cause_offset=49, ts_ms=10_000_000_000_000))

    notes = await sink.write(batch_of(records))

    reasons = {note.record.offset: note.reason for note in notes}
    assert reasons == {
        7: "postgres_22p05",
        8: "postgres_22p05",
        20: "unknown_cause",
        30: "undecodable",
        31: "no_row",
        32: "unknown_cause",
        49: "implausible_event_time",
    }
    assert [offset for _, offset in rows(dsn, KEYS)] == [i for i in range(50) if i not in reasons]
    assert rows(dsn, "select next_offset from sink_offsets") == [(50,)]


async def test_dead_letter_not_known_to_be_sent_comes_again_after_a_crash(sink: PostgresSink, dsn: str) -> None:
    """The offset has passed the refused record: the outbox brings it back until a next write shows it was sent."""
    assert len(await sink.write(batch_of([source(0, b"junk")]))) == 1
    restarted = sink_for(dsn)
    await restarted.start()
    try:
        assert await restarted.assign(TOPIC, 0) == 1
        notes = await restarted.write(batch_of([source(1, quote())]))
        assert [(n.record.offset, n.record.value, n.record.key, n.reason) for n in notes] == [
            (0, b"junk", b"k", "undecodable")
        ]
        assert await restarted.write(batch_of([source(2, quote(revision=2, cause_offset=1))])) == []
    finally:
        await restarted.stop()

    assert rows(dsn, "select count(*) from sink_dead_letters") == [(0,)]


async def test_transactions_stay_at_five_thousand_records(
    sink: PostgresSink, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch above the ceiling is cut, and each piece is its own transaction."""
    monkeypatch.setattr(sink_module, "EVENTS_PER_TRANSACTION_MAX", 100)
    await sink.write(batch_of([source(i, quote(revision=i + 1, cause_offset=i)) for i in range(250)]))

    found = rows(dsn, "select count(*) from events_quote_updates group by xmin order by 1")
    assert found == [(50,), (100,), (100,)]


async def test_partition_for_a_day_outside_the_window_is_made_on_demand(sink: PostgresSink, dsn: str) -> None:
    """Old captures make their days' partitions; one removed behind our back is made again."""
    await sink.write(
        batch_of([source(i, quote(revision=i + 1, cause_offset=i, ts_ms=T0_MS + i * DAY_MS)) for i in range(3)])
    )
    with psycopg.connect(dsn) as connection:
        connection.execute("drop table events_quote_updates_p20260123")
    await sink.write(batch_of([source(3, quote(revision=4, cause_offset=3))]))

    found = rows(dsn, "select tableoid::regclass::text, _offset from events_quote_updates order by _offset")
    assert found == [
        ("events_quote_updates_p20260124", 1),
        ("events_quote_updates_p20260125", 2),
        ("events_quote_updates_p20260123", 3),
    ]


async def test_retention_drops_old_days_but_not_a_replayed_capture(sink: PostgresSink, dsn: str) -> None:
    """Both the day and the making of the partition must be past the retention."""
    await sink.write(
        batch_of([source(0, quote(ts_ms=T0_MS)), source(1, quote(revision=2, cause_offset=1, ts_ms=T0_MS + DAY_MS))])
    )
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update event_partitions set created_at = now() - interval '40 days' where day = '2026-01-23'"
        )
        assert connection.execute("select drop_event_partitions(30)").fetchone() == (1,)
        assert connection.execute("select _offset from events_quote_updates").fetchall() == [(1,)]


async def test_zombie_lands_nothing_and_catches_up_from_the_store(sink: PostgresSink, dsn: str) -> None:
    """Two workers hold one partition: the slower one's swap fails, it reads back, and only new records land."""
    zombie = sink_for(dsn)
    await zombie.start()
    try:
        records = [source(i, quote(revision=i + 1, cause_offset=i)) for i in range(6)]
        await zombie.assign(TOPIC, 0)
        await zombie.write(batch_of(records[:2]))
        await sink.write(batch_of(records[:5]))
        await zombie.write(batch_of(records[2:4]))
        await zombie.write(batch_of(records[2:6]))
        await sink.write(batch_of(records[5:6]))
    finally:
        await zombie.stop()

    assert [offset for _, offset in rows(dsn, KEYS)] == [0, 1, 2, 3, 4, 5]
    assert rows(dsn, "select next_offset from sink_offsets") == [(6,)]


async def test_two_writers_racing_over_one_partition_leave_each_record_once(dsn: str) -> None:
    """A zombie and the new owner write the same topic at the same time, cut differently: the store equals the topic."""
    records = make_topic(seed=11, count=800)

    async def write_all(size: int) -> None:
        sink = sink_for(dsn)
        await sink.start()
        try:
            await sink.assign(TOPIC, 0)
            for first in range(0, len(records), size):
                await sink.write(batch_of(records[first : first + size]))
        finally:
            await sink.stop()

    await asyncio.gather(write_all(70), write_all(110))

    expected, stored = expected_of(records), stored_of(dsn, 0)
    assert stored.rows == expected.rows
    assert stored.latest == expected.latest
    assert rows(dsn, "select next_offset from sink_offsets") == [(800,)]


async def test_database_that_went_back_ends_the_worker(sink: PostgresSink, dsn: str) -> None:
    """A restored backup must not make a hole: the process ends, its successor reads the log again from there."""
    await sink.write(batch_of([source(i, quote(revision=i + 1, cause_offset=i)) for i in range(3)]))
    with psycopg.connect(dsn) as connection:
        connection.execute("update sink_offsets set next_offset = 1")

    with pytest.raises(Fatal, match="went back"):
        await sink.write(batch_of([source(3, quote(revision=4, cause_offset=3))]))


async def test_offsets_the_log_no_longer_holds_are_recorded_as_a_hole(sink: PostgresSink, dsn: str) -> None:
    """Missing data is data."""
    await sink.write(batch_of([source(0, quote())]))
    await sink.write(batch_of([source(5, quote(revision=2, cause_offset=9))]))

    assert rows(dsn, "select topic, partition, from_offset, to_offset from sink_holes") == [(TOPIC, 0, 1, 5)]


async def test_compacted_tail_of_a_batch_moves_the_offset(sink: PostgresSink, dsn: str) -> None:
    """The batch says where the next one continues; that is no hole."""
    await sink.write(batch_of([source(0, quote())], next_offset=4))
    await sink.write(batch_of([source(4, quote(revision=2, cause_offset=9))]))

    assert rows(dsn, "select count(*) from sink_holes") == [(0,)]
    assert rows(dsn, "select next_offset from sink_offsets") == [(5,)]


async def test_recreated_topic_is_refused_at_assignment(sink: PostgresSink, dsn: str) -> None:
    """Another incarnation counts its offsets from 0 again."""
    sink.expect_incarnations({TOPIC: "first"})
    await sink.assign(TOPIC, 0)
    await sink.write(batch_of([source(0, quote())]))
    sink.expect_incarnations({TOPIC: "second"})

    with pytest.raises(UserMistake, match="re-created"):
        await sink.assign(TOPIC, 0)


async def test_database_without_migrations_is_one_clear_line(new_database: Callable[[], str]) -> None:
    """The person is told the command."""
    sink = sink_for(new_database())
    try:
        with pytest.raises(UserMistake, match="kalshi-streams migrate"):
            await sink.start()
    finally:
        await sink.stop()


async def test_absent_server_is_named_and_the_password_is_not() -> None:
    """The reason says who refused; no secret in it."""
    sink = sink_for("postgresql://someone:secret123@127.0.0.1:1/kalshi", statement_timeout_ms=500)
    try:
        with pytest.raises(SinkUnavailable, match=r"127\.0\.0\.1") as caught:
            await sink.start()
    finally:
        await sink.stop()

    assert "secret123" not in str(caught.value)


def test_settings_without_dsn_are_a_user_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """PG_DSN is named."""
    monkeypatch.delenv("PG_DSN", raising=False)
    with pytest.raises(UserMistake, match="PG_DSN"):
        PostgresSink.from_settings(load_settings(pg_dsn=None))


async def test_risk_limits_follow_the_settings_and_keep_their_time(dsn: str) -> None:
    """A changed setting changes its row, an equal one leaves it, a row of another writer is not ours."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into state_risk_limits values ('max_open_orders', 7, 'orders', 'desk', '2026-01-01')"
        )
        connection.execute("insert into state_risk_limits values ('gone', 7, 'orders', 'settings', '2026-01-01')")
    seen = []
    for contracts in (10, 10, 25):
        sink = PostgresSink.from_settings(load_settings(pg_dsn=dsn, risk_max_order_contracts=contracts))
        await sink.start()
        await sink.stop()
        query = (
            "select limit_value::int, unit, updated_at from state_risk_limits where limit_name = 'max_order_contracts'"
        )
        seen.append(rows(dsn, query)[0])

    assert [row[:2] for row in seen] == [(10, "contracts"), (10, "contracts"), (25, "contracts")]
    assert seen[0] == seen[1]
    names = "select limit_name, source from state_risk_limits where limit_name in ('gone', 'max_open_orders')"
    assert rows(dsn, names) == [("max_open_orders", "desk")]


async def test_writer_role_suffices_for_the_sink(dsn: str) -> None:
    """No ownership, no DDL rights: partitions are made by a function with the owner's rights; reader only reads."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop role if exists t_sink_user")
        connection.execute("create role t_sink_user login in role writer")
        connection.execute("drop role if exists t_desk_user")
        connection.execute("create role t_desk_user login in role reader")
    sink = sink_for(dsn.replace("://postgres:@", "://t_sink_user:@"))
    try:
        await sink.start()
        await sink.write(batch_of([source(0, quote())]))
    finally:
        await sink.stop()
    with psycopg.connect(dsn.replace("://postgres:@", "://t_desk_user:@"), autocommit=True) as reader:
        assert reader.execute("select count(*) from events_quote_updates").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("delete from events_quote_updates")
