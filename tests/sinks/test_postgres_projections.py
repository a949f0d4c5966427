"""Projections are monotonic: any order and any repetition of the same events gives the same rows."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_topic import T0_MS, quote

from ops.migrate import migrate_postgres
from schemas import account_records as a
from schemas import records as r
from schemas.codec import numbered_key
from sinks.contract import SourceRecord
from sinks.postgres import binary
from sinks.postgres.destinations import Destination, event_time_ms, state_row
from sinks.postgres.entries import Entry, Latest, keep_latest, rows_of
from sinks.postgres.rows import DESTINATIONS
from sinks.postgres.statements import state_statements

pytestmark = pytest.mark.engines

BY_TYPE = {d.event_type: d for d in DESTINATIONS}
STATES = [d for d in DESTINATIONS if d.projection is not None]
NOWHERE = SourceRecord(0, None, None, 0)
# Few markets and times, revisions around a change of length: ties and late events are the rule.
EVENT = st.tuples(st.sampled_from(["A", "B"]), st.integers(0, 3), st.sampled_from([8, 9, 10, 11, 99, 100, 1_000]))


@pytest.fixture
def connection(new_database: Callable[[], str]) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """A migrated database. Temporary tables empty themselves at each COMMIT, hence autocommit."""
    dsn = new_database()
    migrate_postgres(dsn)
    with psycopg.connect(dsn, autocommit=True) as opened:
        for destination in STATES:
            assert destination.projection is not None
            opened.execute(state_statements(destination, destination.projection).create_stage)
        yield opened


def order_state(ticker: str, ts_ms: int, revision: int) -> a.OrderState:
    """The state of one order per market."""
    sizes = dict.fromkeys(("open_yes_bid_e2", "open_yes_ask_e2", "open_no_bid_e2", "open_no_ask_e2"), 0)
    payload = a.OrderStatePayload(
        market_ticker=ticker, order_id=f"o-{ticker}", client_order_id=None, decision_id=None, revision=revision,
        status="resting", side="yes", action="buy", price_e4=4_200, initial_e2=100, filled_e2=0, remaining_e2=100,
        created_ts_ms=T0_MS, updated_ts_ms=None, open_orders_count=1, pos_open_exposure_e2=revision, **sizes,
    )  # fmt: skip
    return a.OrderState(**envelope("order_state", ticker, ts_ms, revision), payload=payload)


def position(ticker: str, ts_ms: int, revision: int) -> a.Position:
    """A position that only differs by its revision."""
    zeros = dict.fromkeys(("bought_yes_e2", "sold_yes_e2", "bought_no_e2", "sold_no_e2", "cash_e6", "cost_e6"), 0)
    nulls = dict.fromkeys(
        ("last_fill_ts_ms", "settled_value_e4", "settled_ts_ms", "venue_position_e2", "venue_as_of_ms", "drift_e2",
         "drift_since_ms")
    )  # fmt: skip
    payload = a.PositionPayload(
        market_ticker=ticker, revision=revision, inv_convention="net_yes_avg_cost_v1", pos_filled_e2=-revision,
        realized_pnl_e6=-1, fees_e6=35_000, fills=revision, fills_without_fee=0, **zeros, **nulls,
    )  # fmt: skip
    return a.Position(**envelope("position", ticker, ts_ms, revision), payload=payload)


def envelope(kind: str, ticker: str, ts_ms: int, revision: int) -> dict[str, object]:
    """The fields that every record has."""
    key = numbered_key(kind, ticker, f"{revision:012d}")
    cause = r.Cause("x", 0, revision, 0)
    return {"ts_event": ts_ms, "ts_ingest": ts_ms, "source": "test", "idempotency_key": key, "cause": cause}


def make(destination: Destination, ticker: str, ts_ms: int, revision: int) -> r.Record:
    """A record of the destination's type."""
    if destination.event_type == "quote_update":
        return quote(ticker, revision, ts_ms, revision)
    return (
        order_state(ticker, ts_ms, revision)
        if destination.event_type == "order_state"
        else position(ticker, ts_ms, revision)
    )


def write(
    connection: "psycopg.Connection[tuple[object, ...]]", destination: Destination, records: list[r.Record]
) -> None:
    """A transaction like the sink's: latest per key, COPY, upsert. `_offset` is made equal: it is where, not what."""
    assert destination.projection is not None
    texts = state_statements(destination, destination.projection)
    latest: Latest = {}
    keep_latest(latest, destination, [Entry(NOWHERE, 0, destination, each, event_time_ms(each)) for each in records])
    rows = rows_of(state_row, destination, 0, [latest[key] for key in sorted(latest)])
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy(texts.copy_stage) as copy:
            copy.write(b"".join([binary.FILE_HEADER, rows, binary.FILE_TRAILER]))
        cursor.execute(texts.upsert)


def contents(
    connection: "psycopg.Connection[tuple[object, ...]]", destination: Destination
) -> list[tuple[object, ...]]:
    """All rows of the projection."""
    assert destination.projection is not None
    table, key = destination.projection.table, destination.projection.key
    return connection.execute(f"select * from {table} order by {key}").fetchall()  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("destination", STATES, ids=lambda d: d.event_type)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_and_any_repetition_gives_the_same_projection(
    connection: "psycopg.Connection[tuple[object, ...]]", destination: Destination, data: st.DataObject
) -> None:
    """Shuffled, repeated and cut into other transactions: the rows are those of the maximum per key."""
    events = data.draw(st.lists(EVENT, min_size=1, max_size=15, unique_by=lambda e: (e[0], e[2])))
    shuffled = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=8))))
    cut = data.draw(st.integers(0, len(shuffled)))
    assert destination.projection is not None
    results = []
    for runs in ([events], [shuffled[:cut], shuffled[cut:]]):
        connection.execute(f"truncate {destination.projection.table}")  # type: ignore[call-overload]
        for run in runs:
            if run:
                write(connection, destination, [make(destination, t, T0_MS + ms, rev) for t, ms, rev in run])
        results.append(contents(connection, destination))

    assert results[0] == results[1]
    winners = {ticker: max((ms, rev) for t, ms, rev in events if t == ticker) for ticker, _, _ in events}
    revisions = connection.execute(
        f"select market_ticker, revision from {destination.projection.table}"  # type: ignore[call-overload]
    ).fetchall()
    assert dict(revisions) == {ticker: rev for ticker, (_, rev) in winners.items()}


def test_time_of_an_event_is_a_function_of_its_key() -> None:
    """A derived record without a venue time takes its cause's ts_ingest, the same at every repetition."""
    record = quote(ts_ms=T0_MS)
    record.ts_event = None

    assert event_time_ms(record) == record.ts_ingest
