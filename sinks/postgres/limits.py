"""`state_risk_limits`: what the settings say, written at each start until execution exists and writes it itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

PREFIX = "risk_"


@dataclass(frozen=True, slots=True)
class RiskLimit:
    """One limit; the unit is the last word of its setting's name (contracts, orders, usd)."""

    name: str
    value: int
    unit: str


def limits_from_settings(settings: object) -> tuple[RiskLimit, ...]:
    """Every setting named `risk_*`, by name."""
    names = sorted(name for name in getattr(type(settings), "model_fields", {}) if name.startswith(PREFIX))
    return tuple(
        RiskLimit(name.removeprefix(PREFIX), int(getattr(settings, name)), name.rpartition("_")[2]) for name in names
    )


async def write_limits(connection: "AsyncConnection[Any]", limits: Sequence[RiskLimit]) -> None:
    """Make the rows from settings equal to these; rows of another source are left alone. Unchanged rows keep their
    time, so `updated_at` says since when a limit holds."""
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute(
            "delete from state_risk_limits where source = 'settings' and limit_name <> all(%s)",
            ([limit.name for limit in limits],),
        )
        await cursor.executemany(
            "insert into state_risk_limits as held (limit_name, limit_value, unit, source) "
            "values (%s, %s, %s, 'settings') on conflict (limit_name) do update "
            "set limit_value = excluded.limit_value, unit = excluded.unit, updated_at = now() "
            "where held.source = 'settings' "
            "and (held.limit_value, held.unit) is distinct from (excluded.limit_value, excluded.unit)",
            [(limit.name, limit.value, limit.unit) for limit in limits],
        )
