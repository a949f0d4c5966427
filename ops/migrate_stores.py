"""`kalshi-streams migrate`: the configured Postgres, and the ClickHouse server if one is configured.

Embedded stores need no command: `up` migrates Postgres, the sink-clickhouse worker its chDB (one opener per path).
"""

from app.settings import Settings
from domain.errors import UserMistake


def migrate_stores(settings: Settings, check: bool) -> list[str]:
    """Apply (or, with `check`, only name) the pending migrations. Returns their names with the store in front.

    Raises:
        UserMistake: neither PG_DSN nor CLICKHOUSE_URL is set, or a store cannot be reached.
    """
    from ops import migrate

    names = []
    if settings.pg_dsn is not None:
        run = migrate.check_postgres if check else migrate.migrate_postgres
        names += [f"postgres {name}" for name in run(settings.pg_dsn.get_secret_value())]
    if settings.use_clickhouse and settings.clickhouse_url is not None:
        names += [f"clickhouse {name}" for name in _clickhouse(settings, check)]
    elif settings.pg_dsn is None:
        raise UserMistake("PG_DSN, CLICKHOUSE_URL: expected one of them, was none (`up` migrates embedded stores)")
    return names


def _clickhouse(settings: Settings, check: bool) -> list[str]:
    import clickhouse_connect

    from ops import migrate

    password = settings.clickhouse_password.get_secret_value() if settings.clickhouse_password else ""
    try:
        client = clickhouse_connect.get_client(
            dsn=settings.clickhouse_url, username=settings.clickhouse_user, password=password
        )
    except Exception as wrong:
        # clickhouse-connect's own tree; its text may hold the URL with a password.
        raise UserMistake(f"CLICKHOUSE_URL: expected a server that answers, was {type(wrong).__name__}") from None
    run = migrate.check_clickhouse if check else migrate.migrate_clickhouse
    try:
        return run(client, settings.clickhouse_database)
    finally:
        client.close()
