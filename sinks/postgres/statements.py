"""The SQL of one destination, composed once from its entry.

The straight way is COPY into the events and, of the batch's latest row per key, COPY into the stage and an upsert from
it. Where a key turns out to be stored already, all rows pass the stage and `insert .. on conflict`.
"""

from dataclasses import dataclass
from functools import cache

from psycopg import sql

from sinks.postgres.destinations import Destination, Projection


@dataclass(frozen=True)
class Statements:
    """All statements of one destination; None where it has no such table."""

    create_stage: sql.Composed
    copy_stage: sql.Composed
    copy_events: sql.Composed | None
    insert_events: sql.Composed | None
    upsert_projection: sql.Composed | None


@cache
def statements_of(destination: Destination) -> Statements:
    """Compose them."""
    return Statements(
        create_stage=_create_stage(destination),
        copy_stage=_copy(sql.Identifier("pg_temp", destination.stage), destination),
        copy_events=None
        if destination.events_table is None
        else _copy(sql.Identifier(destination.events_table), destination),
        insert_events=_insert_events(destination),
        upsert_projection=None if destination.projection is None else _upsert(destination, destination.projection),
    )


def _copy(table: sql.Identifier, destination: Destination) -> sql.Composed:
    return sql.SQL("copy {} ({}) from stdin (format binary)").format(table, _names(destination.staged_columns))


def _create_stage(destination: Destination) -> sql.Composed:
    """A temporary table with the target's own column types: binary COPY converts nothing. It has no index, writes no
    log, and empties itself at COMMIT."""
    target = destination.events_table or (destination.projection.table if destination.projection else None)
    if target is None:
        raise ValueError(f"expected an event table or a projection for {destination.event_type}, was neither")
    return sql.SQL(
        "create temporary table if not exists {} on commit delete rows as select {} from {} with no data"
    ).format(sql.Identifier(destination.stage), _names(destination.staged_columns), sql.Identifier(target))


def _insert_events(destination: Destination) -> sql.Composed | None:
    if destination.events_table is None:
        return None
    names = _names(destination.staged_columns)
    return sql.SQL("insert into {} ({}) select {} from {} on conflict (idempotency_key, ts_event) do nothing").format(
        sql.Identifier(destination.events_table), names, names, sql.Identifier("pg_temp", destination.stage)
    )


def _upsert(destination: Destination, projection: Projection) -> sql.Composed:
    """The latest row of the batch per key, if it is later than the one in the table.

    Later is (ts_event, idempotency_key), the key bytewise: its column is COLLATE "C". `distinct on` also orders the
    keys, so two writers take row locks in the same order.
    """
    key = sql.Identifier(projection.key)
    columns = projection.all_columns
    return sql.SQL(
        "insert into {table} as held ({names}) "
        "select distinct on ({key}) {names} from {stage} order by {key}, ts_event desc, idempotency_key desc "
        "on conflict ({key}) do update set {updates} "
        "where (excluded.ts_event, excluded.idempotency_key) > (held.ts_event, held.idempotency_key)"
    ).format(
        table=sql.Identifier(projection.table),
        names=_names(columns),
        key=key,
        stage=sql.Identifier("pg_temp", destination.stage),
        updates=sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns if name != projection.key
        ),
    )


def _names(columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
