"""The migration runner: forward only, checksummed, one at a time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest

from domain.errors import UserMistake
from ops import migrate
from ops.migrate import Migration, check_postgres, load_migrations, migrate_postgres, split_statements

NAMES = [f"{m.version:04d}_{m.name}" for m in load_migrations("postgres")]


class ClickHouseDouble:
    """Remembers commands; answers `schema_migrations` from what was inserted."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.rows: list[tuple[int, str, str]] = []
        self.refuses = ""

    def command(self, cmd: str, parameters: dict[str, Any] | None = None) -> None:
        if self.refuses and self.refuses in cmd:
            raise RuntimeError("Code: 62. Syntax error")
        self.commands.append(cmd)
        if cmd.startswith("insert into kalshi.schema_migrations"):
            version, name, checksum = cmd.split("values (")[1].rstrip(")").replace("'", "").split(", ")
            self.rows.append((int(version), name, checksum))

    def query(self, query: str) -> Any:
        result = [(1,)] if query.startswith("exists") else self.rows
        return type("Result", (), {"result_rows": result})()


@pytest.mark.engines
def test_empty_database_gets_every_migration_once(new_database: Callable[[], str]) -> None:
    """The first run applies all in order, the second nothing; --check tells the same and changes nothing."""
    dsn = new_database()

    assert check_postgres(dsn) == NAMES
    assert check_postgres(dsn) == NAMES
    assert migrate_postgres(dsn) == NAMES
    assert check_postgres(dsn) == []
    assert migrate_postgres(dsn) == []


@pytest.mark.engines
def test_two_runners_at_once_apply_each_migration_once(new_database: Callable[[], str]) -> None:
    """The second waits for the first one's lock and then finds nothing to do."""
    dsn = new_database()
    barrier = Barrier(3)

    def run(_: int) -> list[str]:
        barrier.wait()
        return migrate_postgres(dsn)

    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(run, range(3)))

    assert sorted(results) == [[], [], NAMES]


@pytest.mark.engines
def test_edited_migration_is_refused_by_name(new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was applied is frozen; both run and check say which one was touched."""
    dsn = new_database()
    migrate_postgres(dsn)
    edited = [Migration(m.version, m.name, m.text + " " * (m.version == 2)) for m in load_migrations("postgres")]
    monkeypatch.setattr(migrate, "load_migrations", lambda _: edited)

    for call in (migrate_postgres, check_postgres):
        with pytest.raises(UserMistake, match=r"0002_events\.sql was changed"):
            call(dsn)


@pytest.mark.engines
def test_database_ahead_of_the_program_is_refused(new_database: Callable[[], str]) -> None:
    """An old program must not write into a newer schema."""
    dsn = new_database()
    migrate_postgres(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("insert into schema_migrations (version, name, checksum) values (9999, 'later', 'x')")

    with pytest.raises(UserMistake, match="9999_later"):
        migrate_postgres(dsn)


@pytest.mark.engines
def test_failing_migration_leaves_nothing_behind(
    new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration and its mark are one transaction; what ran before it stays."""
    dsn = new_database()
    bad = [Migration(1, "good", "create table a (x int)"), Migration(2, "bad", "create table b (x int); select 1/0")]
    monkeypatch.setattr(migrate, "load_migrations", lambda _: bad)

    with pytest.raises(UserMistake, match="0002_bad: division by zero"):
        migrate_postgres(dsn)
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "select to_regclass('a')::text, to_regclass('b')::text, (select max(version) from schema_migrations)"
        )
        assert found.fetchone() == ("a", None, 1)


def test_unreachable_database_is_one_line_without_the_password() -> None:
    """The person sees where it tried to connect."""
    with pytest.raises(UserMistake, match="PG_DSN") as caught:
        migrate_postgres("postgresql://someone:secret123@127.0.0.1:1/kalshi")

    assert "secret123" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gap_in_the_numbers_is_refused() -> None:
    """A number left out or used twice is a merge gone wrong."""
    with pytest.raises(UserMistake, match="expected number 0002, was 0003"):
        migrate.check_numbering("postgres", [Migration(1, "a", ""), Migration(3, "c", "")])


def test_clickhouse_statements_run_one_by_one_in_the_chosen_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """`{database}` is replaced, comments go, a second run does nothing."""
    text = "-- why; and why not\ncreate table if not exists {database}.t (a String default ';');\n\nselect 1;\n"
    monkeypatch.setattr(migrate, "load_migrations", lambda _: [Migration(1, "first", text)])
    client = ClickHouseDouble()

    assert migrate.migrate_clickhouse(client) == ["0001_first"]
    assert migrate.migrate_clickhouse(client) == []
    assert client.commands.count("create table if not exists kalshi.t (a String default ';')") == 1
    assert "select 1" in client.commands


def test_clickhouse_migration_that_fails_half_way_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as applied only when its last statement ran."""
    monkeypatch.setattr(migrate, "load_migrations", lambda _: [Migration(1, "first", "create a;\ncreate b;")])
    client = ClickHouseDouble()
    client.refuses = "create b"
    with pytest.raises(UserMistake, match="0001_first: Code: 62"):
        migrate.migrate_clickhouse(client)
    client.refuses = ""

    assert migrate.migrate_clickhouse(client) == ["0001_first"]
    assert client.commands.count("create a") == 2


def test_statements_split_only_at_the_end_of_a_line() -> None:
    """A semicolon inside a line belongs to its statement."""
    assert split_statements("select ';' as a;  \nselect 2") == ["select ';' as a", "select 2"]


def test_database_name_that_is_not_plain_is_refused() -> None:
    """The name goes into statements."""
    with pytest.raises(UserMistake, match="database name"):
        migrate.migrate_clickhouse(ClickHouseDouble(), "kalshi; drop database x")
