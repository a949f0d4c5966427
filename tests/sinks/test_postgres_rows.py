"""The table of destinations fits the database and the records; binary fields are what Postgres reads."""

from collections.abc import Callable
from decimal import Decimal
from struct import unpack

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.migrate import migrate_postgres
from schemas import registry
from sinks.postgres import binary
from sinks.postgres.rows import DESTINATIONS
from sinks.postgres.statements import event_statements, state_statements


def numeric_text(field: bytes) -> str:
    """Read a binary numeric as the manual says, independently of the writer."""
    length, count, weight, sign, scale = unpack(">ihhHH", field[:12])
    digits = unpack(f">{count}H", field[12:])
    assert length == len(field) - 4
    value = sum((Decimal(digit) * Decimal(10_000) ** (weight - i) for i, digit in enumerate(digits)), Decimal(0))
    return f"{-value if sign else value:.{scale}f}"


def exact(value: int, scale: int) -> str:
    """The decimal text of value / 10**scale."""
    return f"{Decimal(value).scaleb(-scale):.{scale}f}"


@given(st.integers(-(1 << 62), 1 << 62), st.sampled_from([2, 4, 6]))
def test_numeric_field_is_the_exact_decimal(value: int, scale: int) -> None:
    """No digit is lost at any magnitude or sign."""
    assert numeric_text(binary.numeric(value, scale)) == exact(value, scale)


@given(st.one_of(st.integers(0, 1_100_000), st.integers(-(1 << 62), 1 << 62)))
def test_size_field_is_the_exact_decimal(size_e2: int) -> None:
    """Usual sizes are written by a shorter way: the same field."""
    assert numeric_text(binary.size(size_e2)) == exact(size_e2, 2)
    assert binary.size(size_e2) == binary.numeric(size_e2, 2)


@pytest.mark.engines
def test_binary_fields_mean_the_same_to_the_server(new_database: Callable[[], str]) -> None:
    """Each kind of field, with its edge values, comes back as it was meant."""
    values = [0, 1, -1, 9_999, 10_000, 10_001, 123_456_789, -100_000_000, 1 << 53, -(1 << 53)]
    times_ms = [abs(v) % 4 * 10**12 + 1 for v in values]
    with psycopg.connect(new_database()) as connection:
        connection.execute(
            "create table t (n numeric(20, 2), p numeric(20, 4), m numeric(24, 6), ts timestamptz, b bigint)"
        )
        rows = [
            b"".join(
                [
                    binary.row_head(5),
                    binary.size(v),
                    binary.price(v),
                    binary.money(v),
                    binary.timestamp(ms),
                    binary.int8(v),
                ]
            )
            for v, ms in zip(values, times_ms, strict=True)
        ]
        with connection.cursor() as cursor, cursor.copy("copy t from stdin (format binary)") as copy:
            copy.write(b"".join([binary.FILE_HEADER, *rows, binary.FILE_TRAILER]))
        found = connection.execute(
            "select n::text, p::text, m::text, (extract(epoch from ts) * 1000)::bigint, b from t order by ctid"
        ).fetchall()

    assert found == [(exact(v, 2), exact(v, 4), exact(v, 6), ms, v) for v, ms in zip(values, times_ms, strict=True)]


@pytest.mark.engines
def test_every_destination_has_its_tables_and_columns(new_database: Callable[[], str]) -> None:
    """All statements of all entries can be prepared by a migrated database."""
    dsn = new_database()
    migrate_postgres(dsn)
    with psycopg.connect(dsn) as connection:
        for destination in DESTINATIONS:
            if destination.events is not None:
                events = event_statements(destination, destination.events)
                connection.execute(events.create_stage)
                connection.execute(events.insert)
            if destination.projection is not None:
                states = state_statements(destination, destination.projection)
                connection.execute(states.create_stage)
                connection.execute(states.upsert)


@pytest.mark.parametrize("destination", DESTINATIONS, ids=lambda d: d.event_type)
def test_destination_names_a_record_of_its_topic(destination: object) -> None:
    """An entry for a record that its topic does not carry would never be used."""
    assert any(d is destination and d.record in d.topic.records for d in DESTINATIONS)


def test_every_record_of_a_stored_topic_has_a_destination() -> None:
    """A record type added to a stored topic needs an entry, else it would be passed by in silence."""
    stored = {d.topic.name for d in DESTINATIONS}
    wanted = {record for topic in registry.TOPICS if topic.name in stored for record in topic.records}

    assert {d.record for d in DESTINATIONS} == wanted
