"""Numbered SQL, forward only: what brings Postgres and ClickHouse from any earlier form to the present one.

Reads migrations/<store>/NNNN_name.sql and the store's `schema_migrations`; writes both. A file that was applied is
frozen: its checksum is compared at every run, and an edited one is refused. Two runners at once wait for each other.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol

import psycopg
from psycopg import sql

from domain.errors import UserMistake
from sinks.postgres.pool import checked_dsn

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql\Z")
# Any constant will do as long as every runner uses the same.
_LOCK_ID = 7_021_946_511
LOCK_WAIT_S = 60  # a migration of an empty store takes a second; longer means a runner hangs, and that is to be seen
CONNECT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text as it stands, line ends made the same."""
        return hashlib.sha256(self.text.replace("\r\n", "\n").encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Applied:
    """What the store remembers of a migration that ran."""

    version: int
    name: str
    checksum: str


class MigrationStore(Protocol):
    """The little a store must offer to be migrated."""

    def prepare(self) -> None:
        """Make `schema_migrations` exist."""

    def applied(self) -> list[Applied]:
        """All that ran, by version; empty when `prepare` never ran here."""

    def apply(self, migration: Migration) -> None:
        """Run one and remember it: in one transaction where the store has them, else statement by statement."""


class ClickHouseClient(Protocol):
    """The two calls used of a clickhouse-connect client (embedded or server)."""

    def command(self, cmd: str, parameters: dict[str, Any] | None = None) -> Any: ...

    def query(self, query: str) -> Any: ...


def load_migrations(store: str) -> list[Migration]:
    """The files of one store in order.

    Raises:
        UserMistake: a file name that is not NNNN_name.sql, a number twice or left out.
    """
    found = []
    for entry in sorted(files("migrations").joinpath(store).iterdir(), key=lambda e: e.name):
        if not entry.name.endswith(".sql"):
            continue
        match = _FILE_NAME.match(entry.name)
        if match is None:
            raise UserMistake(f"migrations/{store}: expected NNNN_name.sql, was {entry.name}")
        found.append(Migration(int(match.group(1)), match.group(2), entry.read_text(encoding="utf-8")))
    check_numbering(store, found)
    return found


def check_numbering(store: str, migrations: Sequence[Migration]) -> None:
    """Raises UserMistake unless the versions are 1, 2, 3, .."""
    for expected, migration in enumerate(migrations, start=1):
        if migration.version != expected:
            raise UserMistake(f"migrations/{store}: expected number {expected:04d}, was {migration.version:04d}")


def pending(store: str, migrations: Sequence[Migration], applied: Sequence[Applied]) -> list[Migration]:
    """The migrations that have still to run.

    Raises:
        UserMistake: an applied file was edited or renamed, or the store is ahead of this version of the program.
    """
    by_version = {m.version: m for m in migrations}
    for done in applied:
        migration = by_version.get(done.version)
        if migration is None:
            raise UserMistake(
                f"{store} holds migration {done.version:04d}_{done.name}: newer than this program, update it"
            )
        if (migration.name, migration.checksum) != (done.name, done.checksum):
            raise UserMistake(
                f"migrations/{store}/{migration.version:04d}_{migration.name}.sql was changed after it was applied "
                f"(expected sha256 {done.checksum[:12]}, was {migration.checksum[:12]}); add a new migration instead"
            )
    versions = {done.version for done in applied}
    return [m for m in migrations if m.version not in versions]


def run_pending(store_name: str, store: MigrationStore, migrations: Sequence[Migration]) -> list[str]:
    """Apply what is missing, in order. Returns the names that ran."""
    store.prepare()
    todo = pending(store_name, migrations, store.applied())
    for migration in todo:
        store.apply(migration)
    return [f"{m.version:04d}_{m.name}" for m in todo]


class PostgresStore:
    """Postgres: one transaction per migration. The caller holds the advisory lock."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection

    def prepare(self) -> None:
        """Make `schema_migrations` exist."""
        self._connection.execute(
            "create table if not exists schema_migrations (version integer primary key, name text not null, "
            "checksum text not null, applied_at timestamptz not null default now())"
        )

    def applied(self) -> list[Applied]:
        """All that ran, by version."""
        known = self._connection.execute("select to_regclass('schema_migrations') is not null").fetchone()
        if known is None or not known[0]:
            return []
        rows = self._connection.execute("select version, name, checksum from schema_migrations order by version")
        return [Applied(*row) for row in rows]

    def apply(self, migration: Migration) -> None:
        """Run the file and remember it, or neither. Raises UserMistake with the server's message."""
        try:
            with self._connection.transaction():
                self._connection.execute(sql.SQL(migration.text))
                self._connection.execute(
                    "insert into schema_migrations (version, name, checksum) values (%s, %s, %s)",
                    (migration.version, migration.name, migration.checksum),
                )
        except psycopg.OperationalError:
            raise
        except psycopg.Error as wrong:
            raise UserMistake(f"migration {migration.version:04d}_{migration.name}: {_first_line(wrong)}") from wrong


class ClickHouseStore:
    """ClickHouse has no transactional DDL: each statement must be repeatable (`if not exists`), and a migration counts
    as applied when its last statement has run."""

    def __init__(self, client: ClickHouseClient, database: str = "kalshi") -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", database):
            raise UserMistake(f"expected a plain ClickHouse database name, was {database!r}")
        self._client = client
        self._database = database

    def prepare(self) -> None:
        """Make the database and `schema_migrations` exist."""
        self._client.command(f"create database if not exists {self._database}")
        self._client.command(
            f"create table if not exists {self._database}.schema_migrations (version UInt32, name String, "
            "checksum String, applied_at DateTime64(3) default now64(3)) "
            "engine = ReplacingMergeTree(applied_at) order by version"
        )

    def applied(self) -> list[Applied]:
        """All that ran, by version."""
        known = self._client.query(f"exists table {self._database}.schema_migrations").result_rows
        if not known[0][0]:
            return []
        rows = self._client.query(
            f"select version, name, checksum from {self._database}.schema_migrations final order by version"  # noqa: S608
        ).result_rows
        return [Applied(*row) for row in rows]

    def apply(self, migration: Migration) -> None:
        """Run the statements one by one, then remember. Raises UserMistake with the server's message."""
        for statement in split_statements(migration.text):
            try:
                self._client.command(statement.replace("{database}", self._database))
            except Exception as wrong:
                line = _first_line(wrong)
                raise UserMistake(f"migration {migration.version:04d}_{migration.name}: {line}") from wrong
        self._client.command(
            f"insert into {self._database}.schema_migrations (version, name, checksum) values "  # noqa: S608
            f"({migration.version}, '{migration.name}', '{migration.checksum}')"
        )


def split_statements(text: str) -> list[str]:
    """The statements of a ClickHouse file: each ends with `;` at the end of a line. Whole-line comments go."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    parts = re.split(r";[ \t]*$", "\n".join(lines), flags=re.MULTILINE)
    return [part.strip() for part in parts if part.strip()]


def migrate_postgres(dsn: str) -> list[str]:
    """Bring the database to the present schema. Returns the names of the migrations that ran.

    Raises:
        UserMistake: unreachable, refused, edited file, or a runner that holds the lock for more than LOCK_WAIT_S.
    """
    migrations = load_migrations("postgres")
    with _connected(dsn) as connection, _alone(connection):
        return run_pending("postgres", PostgresStore(connection), migrations)


def check_postgres(dsn: str) -> list[str]:
    """The names of the migrations that would run; changes nothing. Raises like `migrate_postgres`."""
    with _connected(dsn) as connection:
        todo = pending("postgres", load_migrations("postgres"), PostgresStore(connection).applied())
        return [f"{m.version:04d}_{m.name}" for m in todo]


def migrate_clickhouse(client: ClickHouseClient, database: str = "kalshi") -> list[str]:
    """Bring the database to the present schema. The caller is the only opener of an embedded path; on a server two
    runners may meet, which is why each statement is repeatable. `{database}` in the files is replaced."""
    return run_pending("clickhouse", ClickHouseStore(client, database), load_migrations("clickhouse"))


def check_clickhouse(client: ClickHouseClient, database: str = "kalshi") -> list[str]:
    """The names of the migrations that would run; changes nothing."""
    store = ClickHouseStore(client, database)
    return [f"{m.version:04d}_{m.name}" for m in pending("clickhouse", load_migrations("clickhouse"), store.applied())]


@contextmanager
def _connected(dsn: str) -> "Iterator[psycopg.Connection[Any]]":
    try:
        connection = psycopg.connect(
            checked_dsn(dsn),
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="kalshi-streams-migrate",
        )
    except psycopg.Error as wrong:
        raise UserMistake(f"expected Postgres at PG_DSN to answer: {_first_line(wrong)}") from None
    with connection:
        try:
            yield connection
        except psycopg.OperationalError as wrong:
            raise UserMistake(f"Postgres went away during the migration: {_first_line(wrong)}") from None


@contextmanager
def _alone(connection: "psycopg.Connection[Any]") -> Iterator[None]:
    """The advisory lock of migrations; a session lock, so that it spans the transactions of one run."""
    connection.execute(sql.SQL("set lock_timeout = {}").format(sql.Literal(f"{LOCK_WAIT_S}s")))
    try:
        connection.execute("select pg_advisory_lock(%s)", (_LOCK_ID,))
    except psycopg.errors.LockNotAvailable:
        raise UserMistake(f"another migration has been running for more than {LOCK_WAIT_S} s; see pg_locks") from None
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("select pg_advisory_unlock(%s)", (_LOCK_ID,))


def _first_line(wrong: BaseException) -> str:
    return (str(wrong).strip().splitlines() or [type(wrong).__name__])[0][:300]
