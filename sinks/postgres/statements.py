"""The SQL of one destination, composed once from its entry.

The straight way is COPY into the events and, of the batch's latest row per key, COPY into a temporary table (the stage)
and an upsert from it. Where a key turns out to be stored already, the rows pass a stage of their own and
`insert .. on conflict`.
"""

from dataclasses import dataclass
from functools import cache

from psycopg import sql

from sinks.postgres.destinations import Destination, Events, Projection


@dataclass(frozen=True)
class EventStatements:
    """All statements of one event table. `stage` is a temporary table; its making is repeatable."""

    stage: str
    copy: sql.Composed
    create_stage: sql.Composed
    copy_stage: sql.Composed
    insert: sql.Composed


@dataclass(frozen=True)
class StateStatements:
    """All statements of one projection. `stage` is a temporary table; its making is repeatable."""

    stage: str
    create_stage: sql.Composed
    copy_stage: sql.Composed
    upsert: sql.Composed


@cache
def event_statements(destination: Destination, events: Events) -> EventStatements:
    """Compose them."""
    stage, names = f"stage_{destination.event_type}", _names(events.all_columns)
    return EventStatements(
        stage=stage,
        copy=_copy(sql.Identifier(events.table), names),
        create_stage=_create_stage(stage, names, events.table),
        copy_stage=_copy(sql.Identifier("pg_temp", stage), names),
        insert=sql.SQL(
            "insert into {} ({}) select {} from {} on conflict (idempotency_key, ts_event) do nothing"
        ).format(sql.Identifier(events.table), names, names, sql.Identifier("pg_temp", stage)),
    )


@cache
def state_statements(destination: Destination, projection: Projection) -> StateStatements:
    """Compose them."""
    stage, names = f"latest_{destination.event_type}", _names(projection.all_columns)
    return StateStatements(
        stage=stage,
        create_stage=_create_stage(stage, names, projection.table),
        copy_stage=_copy(sql.Identifier("pg_temp", stage), names),
        upsert=_upsert(stage, projection),
    )


def _copy(table: sql.Identifier, names: sql.Composed) -> sql.Composed:
    return sql.SQL("copy {} ({}) from stdin (format binary)").format(table, names)


def _create_stage(stage: str, names: sql.Composed, target: str) -> sql.Composed:
    """A temporary table with the target's own column types: binary COPY converts nothing. It has no index, writes no
    log, and empties itself at COMMIT."""
    return sql.SQL(
        "create temporary table if not exists {} on commit delete rows as select {} from {} with no data"
    ).format(sql.Identifier(stage), names, sql.Identifier(target))


def _upsert(stage: str, projection: Projection) -> sql.Composed:
    """The batch's row of each key, if it is later than the one in the table.

    Later is (ts_event, idempotency_key), the key bytewise: its column is COLLATE "C". The order of the keys lets two
    writers take row locks in the same order.
    """
    key = sql.Identifier(projection.key)
    columns = projection.all_columns
    return sql.SQL(
        "insert into {table} as held ({names}) select {names} from {stage} order by {key} "
        "on conflict ({key}) do update set {updates} "
        "where (excluded.ts_event, excluded.idempotency_key) > (held.ts_event, held.idempotency_key)"
    ).format(
        table=sql.Identifier(projection.table),
        names=_names(columns),
        key=key,
        stage=sql.Identifier("pg_temp", stage),
        updates=sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns if name != projection.key
        ),
    )


def _names(columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
