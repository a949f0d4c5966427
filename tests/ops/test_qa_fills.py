"""`qa fills` on a real ClickHouse and a real Postgres: clean when all is right, and each defect of the seeds, planted
in one of them, gives exit code 2 and its own line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fill_stores import COUNT, T0_MS, archive, fill_postgres, filled_clickhouse, position_report

from ops.qa_fills import check_fills
from ops.qa_report import CLEAN, FINDINGS, Report
from ops.qa_sources import Reader
from schemas.registry import POSITION_REPORTS
from sinks.clickhouse.store import Store

pytestmark = pytest.mark.engines
TABLES = ("mm_fills_raw", "mm_positions_raw", "mm_order_actions_raw", "mm_decision_links_raw")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One chDB path for the module."""
    return tmp_path_factory.mktemp("chdb_qa_fills") / "clickhouse"


@pytest.fixture(scope="module")
def good(engine: Path) -> Iterator[Store]:
    """A ClickHouse database with the fills in it, and a copy of its tables."""
    opened = filled_clickhouse("qa_fills", engine)
    for table in TABLES:
        opened.command(f"create table {{db}}.{table}_kept engine = Memory as select * from {{db}}.{table}")
    yield opened
    opened.close()


@pytest.fixture
def store(good: Store) -> Iterator[Store]:
    """The same; what a test plants in it is undone."""
    yield good
    for table in TABLES:
        good.command(f"truncate table {{db}}.{table}")
        # Without it ClickHouse takes the same rows for a repetition of the first insert.
        good.command(f"insert into {{db}}.{table} select * from {{db}}.{table}_kept settings insert_deduplicate = 0")


@pytest.fixture(scope="module")
def dsn(postgres: Any) -> Any:
    """A Postgres database with the same fills, for all tests: what they plant is rolled back."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("create database qa_fills")
        filled = postgres.dsn.replace("/postgres?", "/qa_fills?")
        fill_postgres(filled)
        yield filled
        connection.execute("drop database qa_fills with (force)")


@pytest.fixture
def audit(dsn: str) -> Iterator["psycopg.Connection[Any]"]:
    """An open transaction on it."""
    with psycopg.connect(dsn) as connection:
        yield connection
        connection.rollback()


def checked(store: Store, audit: "psycopg.Connection[Any] | None", parquet: Path | None = None) -> Report:
    """The report, without waiting for a sink to catch up."""
    report = Report()

    @contextmanager
    def connect() -> Iterator["psycopg.Connection[Any] | None"]:
        yield audit

    connected: Callable[[], Any] | None = None if audit is None else connect
    check_fills(Reader(store.client, store.database), connected, parquet, report, catch_up_s=0)
    return report


def test_clean_stores_are_clean(store: Any, audit: Any) -> None:
    """Every check was made that could be made, and found nothing."""
    report = checked(store, audit)

    assert report.findings == []
    assert report.exit_code == CLEAN
    for name in ("clickhouse", "postgres"):
        facts = [line for line in report.facts if line.startswith(f"{name}: ")]
        assert f"{name}: uniqueness 100.00 %: {COUNT} rows of {COUNT} fills and amendments" in facts
        assert any("full minutes, " in line for line in facts), facts
        assert any("time spread: 60 fills over" in line for line in facts), facts
        assert f"{name}: link rate: 50.0 % of {COUNT} fills since the first order action" in facts


def test_nothing_stored_is_clean() -> None:
    """Nothing stored yet is nothing wrong."""
    report = Report()
    check_fills(None, None, None, report)

    assert report.exit_code == CLEAN


CH_UPDATE = "alter table {db}.mm_fills_raw update "
CH_DELETE = "alter table {db}.mm_fills_raw delete "
SYNC = " settings mutations_sync = 1"
CH_AGAIN = "insert into {db}.mm_fills_raw select * replace(_offset + 1000 as _offset, {}) from {db}.mm_fills_raw"
PG_UPDATE = "update events_fills set "
_PG_COLUMNS = """event_type, schema_version, ts_event, ts_ingest, source, cause_topic, cause_partition, cause_offset,
    cause_n, _partition, _offset, payload, order_id, client_order_id, decision_id, revision, side, action, price, size,
    is_taker, fee, fill_ts, ts_source, venue_fill_id"""
PG_AGAIN = f"""insert into events_fills (idempotency_key, market_ticker, fill_id, {_PG_COLUMNS})
    select idempotency_key || '-again', {{}}, {_PG_COLUMNS} from events_fills"""
F3 = " where fill_id = 'f3'"
CH_NUMBER, PG_NUMBER = "toUInt32(substring(fill_id, 2))", "substr(fill_id, 2)::int"
#: Defect -> what plants it in ClickHouse, what plants it in Postgres, the words that name it.
DEFECTS: dict[str, tuple[str, str, str]] = {
    "blank order ids": (
        CH_UPDATE + "exchange_order_id = ''" + F3 + SYNC, PG_UPDATE + "order_id = ''" + F3, "blank order id: ",
    ),
    "blank fill ids": (
        CH_AGAIN.replace("{}", "'' as fill_id"), PG_AGAIN.format("market_ticker, ''"), "blank fill id: ",
    ),
    "no market": (
        CH_AGAIN.replace("{}", "'' as market_ticker"), PG_AGAIN.format("'', fill_id"), "blank market: ",
    ),
    "zero prices": (CH_UPDATE + "price = 0" + F3 + SYNC, PG_UPDATE + "price = 0" + F3, "price outside"),
    "zero sizes": (CH_UPDATE + "size = 0" + F3 + SYNC, PG_UPDATE + "size = 0" + F3, "zero size"),
    "no side": (CH_UPDATE + "side = ''" + F3 + SYNC, PG_UPDATE + "side = ''" + F3, "no side or action"),
    "our time instead of the fill's": (
        CH_UPDATE + "ts = ingest_ts + interval 1 hour" + F3 + SYNC,
        PG_UPDATE + "fill_ts = ts_ingest + interval '1 hour'" + F3,
        "time after we heard",
    ),
    "no time": (
        CH_UPDATE + "ts = toDateTime64(0, 3, 'UTC')" + F3 + SYNC,
        PG_UPDATE + "fill_ts = to_timestamp(0)" + F3,
        "time before 2020",
    ),
    "all at one time": (
        CH_UPDATE + "ts = toDateTime64('2026-10-20 10:00:00', 3, 'UTC') where 1" + SYNC,
        PG_UPDATE + "fill_ts = '2026-10-20 10:00:00Z'",
        "time spread: 60 fills heard of in",
    ),
    "a snapshot's one time": (
        CH_UPDATE + f"ts = fromUnixTimestamp64Milli({T0_MS - 120_000}) where {CH_NUMBER} > 19" + SYNC,
        PG_UPDATE + f"fill_ts = to_timestamp({(T0_MS - 120_000) // 1_000}) where {PG_NUMBER} > 19",
        "time spread: 40 fills share one time in each of 1 minutes",
    ),
    "the same fill stored by each poll": (
        CH_AGAIN.replace("{}", "'poll' as idempotency_key"), PG_AGAIN.format("market_ticker, fill_id"),
        "uniqueness: expected 100 %, was 50.00 %",
    ),
    "one fill twice": (
        CH_AGAIN.replace("{}", "'poll' as idempotency_key") + F3, PG_AGAIN.format("market_ticker, fill_id") + F3,
        "repeated fill: KX-A f3: expected 1 row, were 2",
    ),
    "the same fill under synthetic ids": (
        CH_AGAIN.replace("{}", "concat('s-', fill_id) as fill_id"), PG_AGAIN.format("market_ticker, 's-' || fill_id"),
        "more than the",
    ),
    "thousands of rows for an order nobody reported": (
        """insert into {db}.mm_fills_raw select one.* replace(_offset + 1000 + many.number as _offset,
        'o-x' as exchange_order_id, concat('x', toString(many.number)) as fill_id)
        from (select * from {db}.mm_fills_raw where fill_id = 'f3') as one cross join numbers(101) as many""",
        f"""insert into events_fills (idempotency_key, market_ticker, fill_id, {_PG_COLUMNS})
        select 'x' || n, market_ticker, 'x' || n, {_PG_COLUMNS.replace("order_id, client", "'o-x', client")}
        from events_fills, generate_series(1, 101) as n where fill_id = 'f3'""",
        "order o-x: 101 fills, and nobody reported the order",
    ),
    "a fill in two markets": (
        CH_AGAIN.replace("{}", "'KX-B' as market_ticker"), PG_AGAIN.format("'KX-B', fill_id"),
        "fill in several markets",
    ),
    "a poll's rhythm": (
        CH_UPDATE + f"ts = fromUnixTimestamp64Milli({T0_MS}) + toIntervalMinute({CH_NUMBER} % 15) where 1" + SYNC,
        PG_UPDATE + f"fill_ts = '2026-10-20 10:00:00Z'::timestamptz + make_interval(mins => {PG_NUMBER} % 15)",
        "period: exactly 4 fills",
    ),
    "lost links": (
        "alter table {db}.mm_decision_links_raw delete where exchange_order_id <> 'o0'" + SYNC,
        "delete from events_orders where event_type = 'decision_link' and order_id <> 'o0'",
        "link rate: expected at least 10 %, was 5.0 % of 60 fills",
    ),
    "a lost fill": (CH_DELETE + F3 + SYNC, "delete from events_fills" + F3, "lacks 1 fills"),
    "a lost amendment": (
        CH_UPDATE + "revision = 2" + F3 + SYNC, PG_UPDATE + "revision = 2" + F3, "1 fills differ",
    ),
    "a position without a fill": (
        "alter table {db}.mm_positions_raw update fills = 59 where 1" + SYNC, "update state_positions set fills = 59",
        "position KX-A: expected 60 fills folded, were 59",
    ),
}  # fmt: skip


def assert_named(report: Report, where: str, words: str) -> None:
    """Exit code 2, and a line of that store (or of the comparison of both) with these words."""
    assert report.exit_code == FINDINGS
    named = [line for line in report.findings if words in line]
    assert named, report.findings
    assert any(line.startswith(where) for line in named) or "lacks" in words or "differ" in words, named


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_planted_in_clickhouse_is_named(store: Any, audit: Any, defect: str) -> None:
    """Each of the seeds' defects gives exit code 2 and its own line."""
    statement, _, words = DEFECTS[defect]
    store.command(statement)

    assert_named(checked(store, audit), "clickhouse: ", words)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_planted_in_postgres_is_named(good: Any, audit: Any, defect: str) -> None:
    """The same in the other store."""
    _, statement, words = DEFECTS[defect]
    audit.execute(statement)

    assert_named(checked(good, audit), "postgres: ", words)


def test_a_lasting_drift_to_the_venue_is_named(good: Any, audit: Any) -> None:
    """Fills and positions travel apart; a difference that outlasts some polls is none of that."""
    audit.execute("""update state_positions set drift = -2, payload = payload ||
        '{"venue_as_of_ms": 190000, "drift_since_ms": 100000}'""")
    assert_named(checked(good, audit), "position KX-A: -2.00 contracts off the venue's own for 90 s", "off the venue's")

    audit.execute("update state_positions set payload = payload || '{\"drift_since_ms\": 150000}'")
    assert checked(good, audit).findings == []


@pytest.mark.parametrize(
    ("first_e2", "last_e2", "words"),
    [
        (0, COUNT * 100, None),
        (500_000, 500_000 + COUNT * 100, None),  # traded before the account was opened here
        (0, 5_900, "expected at most the venue's 59, was 60"),
        (0, 6_100, "expected the venue's growth of 61, was 60"),
        (500_000, 505_900, "expected the venue's growth of 59, was 60"),
    ],
)
def test_the_volume_is_that_of_the_venue(
    good: Any, audit: Any, tmp_path: Path, first_e2: int, last_e2: int, words: str | None
) -> None:
    """The last stored report of the venue's against the fills of either store, whatever came before the opening."""
    told = [position_report(0, T0_MS - 60_000, first_e2), position_report(1, T0_MS + 86_400_000, last_e2)]
    archive(tmp_path, POSITION_REPORTS.name, told)
    report = checked(good, audit, tmp_path)

    if words is None:
        assert report.findings == []
        return
    for name in ("clickhouse", "postgres"):
        assert_named(report, f"{name}: volume KX-A: ", words)


def test_what_needs_time_or_order_actions_is_not_judged_without_them(store: Any, audit: Any) -> None:
    """Of a young store nothing is concluded: no finding, and the reason is said."""
    for statement in (CH_DELETE + "where substring(fill_id, 2)::UInt32 > 2" + SYNC,
                      "alter table {db}.mm_positions_raw update fills = 3 where 1" + SYNC,
                      "alter table {db}.mm_order_actions_raw delete where 1" + SYNC):  # fmt: skip
        store.command(statement)
    audit.execute("delete from events_fills where substr(fill_id, 2)::int > 2")
    audit.execute("update state_positions set fills = 3")
    report = checked(store, audit)

    assert report.findings == []
    for line in (
        "clickhouse: period: not judged (expected 10 full minutes of fills, were 1)",
        "clickhouse: time spread: not judged (expected 10 full minutes of fills, were 1)",
        "clickhouse: link rate: not judged (no order actions stored)",
        "postgres: link rate: not judged (expected 10 full minutes of fills, were 1)",
        "volume: not judged (no position report of the venue's with a volume is archived)",
    ):
        assert line in report.facts, report.facts
