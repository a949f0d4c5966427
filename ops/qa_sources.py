"""Where `qa` reads from: beside a running `up`, on a stopped data directory, or from the configured stores."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from app.settings import Settings
from domain.errors import UserMistake
from ops.data_dir import DataDir
from ops.engines import EngineFailed
from ops.engines.postgres import PostgresEngine
from ops.http_json import Pages
from sinks.clickhouse.sink import store_from_settings
from sinks.clickhouse.store import first_line
from sinks.contract import SinkUnavailable


class Reader:
    """Queries of one ClickHouse, with the call that the sink's store has (`rows`)."""

    def __init__(self, client: Any, database: str) -> None:
        self.client = client
        self.database = database

    def rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a query; `{db}` is the database. Raises SinkUnavailable."""
        try:
            return [tuple(row) for row in self.client.query(sql.replace("{db}", self.database), parameters).result_rows]
        except (ClickHouseError, OSError, RuntimeError) as wrong:
            raise SinkUnavailable(f"clickhouse: {first_line(wrong)}") from wrong

    def close(self) -> None:
        """Disconnect."""
        self.client.close()


class Sources:
    """The stores to compare. `clickhouse` is None when nothing was ever stored, `state_url` when no worker runs."""

    def __init__(self, clickhouse: Reader | None, parquet: Path, state_url: str | None) -> None:
        self.clickhouse = clickhouse
        self.parquet = parquet
        self.state_url = state_url

    def close(self) -> None:
        """Disconnect."""
        if self.clickhouse is not None:
            self.clickhouse.close()


def open_sources(settings: Settings, data_dir: Path) -> Sources:
    """Find the stores.

    Raises:
        UserMistake: no such data directory, or its ClickHouse does not answer while something runs there.
        SinkUnavailable: the configured server or the folder cannot be opened.
    """
    data = DataDir(data_dir)
    endpoints = data.read_endpoints() if data_dir.exists() else {}
    if settings.clickhouse_url is None and not data_dir.exists():
        raise UserMistake(f"--data-dir: expected a data directory, was {data_dir}")
    running = data_dir.exists() and data.in_use()
    parquet = Path(endpoints.get("parquet_dir") or settings.parquet_dir or data_dir / "parquet")
    state_url = endpoints.get("state_url") if running else None
    return Sources(_reader(settings, data_dir, running, endpoints), parquet, state_url)


@contextmanager
def reachable_postgres(settings: Settings, data_dir: Path) -> Iterator[str | None]:
    """The DSN of the configured Postgres, of the running one, or of the data directory's own, started for the block;
    None when nothing was ever stored.

    Raises:
        UserMistake: the data directory's Postgres does not start, or somebody else has taken the directory.
    """
    if settings.pg_dsn is not None:
        yield settings.pg_dsn.get_secret_value()
        return
    data = DataDir(data_dir)
    if data.in_use():
        yield data.read_endpoints().get("pg_dsn")
        return
    if not (data / "postgres" / "PG_VERSION").exists():
        yield None
        return
    data.lock("qa fills")
    engine = PostgresEngine(data / "postgres")
    try:
        engine.start()
        yield engine.dsn
    except EngineFailed as wrong:
        raise UserMistake(str(wrong)) from None
    finally:
        engine.stop()
        data.unlock()


def _reader(settings: Settings, data_dir: Path, running: bool, endpoints: dict[str, Any]) -> Reader | None:
    if settings.clickhouse_url is None and running:
        url = urlsplit(str(endpoints.get("clickhouse_url") or ""))
        try:
            client = clickhouse_connect.get_client(
                host=url.hostname or "127.0.0.1",
                port=url.port or settings.clickhouse_http_port,
                autogenerate_session_id=False,
            )
        except (ClickHouseError, OSError) as wrong:
            raise UserMistake(
                f"something runs on {data_dir}, and its ClickHouse does not answer: {first_line(wrong)}"
            ) from None
        return Reader(client, settings.clickhouse_database)
    if settings.clickhouse_url is None and not any((data_dir / "clickhouse").glob("*")):
        return None
    store = store_from_settings(settings.model_copy(update={"data_dir": data_dir}))
    return Reader(store.new_client(), settings.clickhouse_database)


def fetch_books(state_url: str, tickers: list[str]) -> dict[str, dict[str, Any] | None]:
    """The `/books/{ticker}` pages; None where there is none (removed, being restored, no answer)."""

    async def fetch() -> dict[str, dict[str, Any] | None]:
        async with Pages() as pages:
            found: dict[str, dict[str, Any] | None] = {}
            for ticker in tickers:
                answer = await pages.get(f"{state_url}/books/{ticker}")
                found[ticker] = answer[1] if answer is not None and answer[0] == 200 else None
            return found

    return asyncio.run(fetch())
