"""The check at the start that the database has every table the sink writes."""

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from domain.errors import UserMistake
from sinks.postgres.destinations import Destination


async def check_schema(connection: "AsyncConnection[Any]", destinations: Sequence[Destination]) -> None:
    """Raises UserMistake that names the missing tables."""
    wanted = {"sink_offsets", "sink_holes", "sink_dead_letters", "state_risk_limits"}
    wanted |= {d.events_table for d in destinations if d.events_table is not None}
    wanted |= {d.projection.table for d in destinations if d.projection is not None}
    found = await connection.execute(
        "select t from unnest(%s::text[]) t where to_regclass(t) is null", [sorted(wanted)]
    )
    missing = [row[0] for row in await found.fetchall()]
    if missing:
        raise UserMistake(f"expected a migrated database (kalshi-streams migrate), missing: {', '.join(missing)}")
