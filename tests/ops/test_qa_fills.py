"""`qa fills` on a real ClickHouse: clean when all is right, and each defect of the seeds, planted, is named."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from book_topic import batch

from ops.migrate import migrate_clickhouse
from ops.qa_fills import Books, check_fills
from ops.qa_report import CLEAN, FINDINGS, Report
from ops.qa_sources import Reader
from schemas import account_records as a
from schemas import records as r
from schemas.codec import encode_record
from schemas.registry import FILLS
from sinks.clickhouse.sink import ClickHouseSink
from sinks.clickhouse.store import Store
from sinks.contract import SourceRecord

pytestmark = pytest.mark.engines
T0_MS = 1_793_000_040_123
MINUTES = 14
_numbers = itertools.count()


def fill(n: int) -> SourceRecord:
    """The n-th fill: some in each minute, not the same number in each."""
    minute = n * n % MINUTES if n > MINUTES else n
    ts_ms = T0_MS + minute * 60_000 + n * 37
    payload = a.FillPayload(
        market_ticker="KX-A", fill_id=f"f{n}", order_id=f"o{n % 20}", client_order_id=None, side="yes", action="buy",
        price_e4=4_250, count_e2=100, is_taker=True, fee_e6=0, ts_ms=ts_ms, ts_source="ts_ms", venue_fill_id=f"f{n}",
        sort_id=f"f{n}", decision_id=None, revision=1,
    )  # fmt: skip
    cause = r.Cause("account.fill_reports", 0, n, 0)
    record = a.Fill(
        ts_event=ts_ms, ts_ingest=ts_ms + 9, source="t", idempotency_key=f"k{n}", cause=cause, payload=payload
    )
    return SourceRecord(n, b"KX-A", encode_record(record), 0)


COUNT = 60
GOOD = Books(
    {("KX-A", f"f{n}"): 1 for n in range(COUNT)},
    {f"o{n}": Decimal(3) for n in range(20)},
    {"KX-A": (COUNT, Decimal(0), 0)},
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One chDB path for the module."""
    return tmp_path_factory.mktemp("chdb_qa_fills") / "clickhouse"


@pytest.fixture
async def store(engine: Path) -> Any:
    """A database with the fills in it."""
    name = f"qf{next(_numbers)}"
    opened = Store(name, engine)
    sink = ClickHouseSink(opened, migrate=lambda client: migrate_clickhouse(client, name))
    await sink.start()
    await sink.write(batch([fill(n) for n in range(COUNT)], FILLS.name))
    await sink.flush()
    yield opened
    opened.close()


def checked(store: Store, books: Callable[[], Books] | None = lambda: GOOD) -> Report:
    """The report, without waiting for a sink to catch up."""
    report = Report()
    check_fills(Reader(store.client, store.database), books, report, catch_up_s=0)
    return report


async def test_a_clean_store_is_clean(store: Any) -> None:
    """Every check was made that could be made, and found nothing."""
    report = checked(store)

    assert report.findings == []
    assert report.exit_code == CLEAN
    assert any(line.startswith("time spread: ") for line in report.facts)


def test_an_empty_store_is_clean() -> None:
    """Nothing stored yet is nothing wrong."""
    report = Report()
    check_fills(None, None, report)

    assert report.exit_code == CLEAN


UPDATE = "alter table {db}.mm_fills_raw update "
SYNC = " settings mutations_sync = 1"
AGAIN = "insert into {db}.mm_fills_raw select * replace(_offset + 1000 as _offset, {}) from {db}.mm_fills_raw"
DEFECTS: dict[str, tuple[str, str]] = {
    "blank order ids": (UPDATE + "exchange_order_id = '' where fill_id = 'f3'" + SYNC, "blank order id: "),
    "zero prices": (UPDATE + "price = 0 where fill_id = 'f3'" + SYNC, "price outside"),
    "zero sizes": (UPDATE + "size = 0 where fill_id = 'f3'" + SYNC, "zero size"),
    "no side": (UPDATE + "side = '' where fill_id = 'f3'" + SYNC, "no side or action"),
    "our time instead of the fill's": (
        UPDATE + "ts = ingest_ts + interval 1 hour where fill_id = 'f3'" + SYNC,
        "time after we heard",
    ),
    "no time": (UPDATE + "ts = toDateTime64(0, 3, 'UTC') where fill_id = 'f3'" + SYNC, "time before 2020"),
    "the same fill stored by each poll": (AGAIN.replace("{}", "'poll' as idempotency_key"), "repeated fill"),
    "the same fill under synthetic ids": (AGAIN.replace("{}", "concat('s-', fill_id) as fill_id"), "more than the"),
    "a fill in two markets": (AGAIN.replace("{}", "'KX-B' as market_ticker"), "fill in several markets"),
    "a poll's rhythm": (
        UPDATE
        + "ts = toDateTime64('2026-10-20 10:00:00', 3, 'UTC') + toIntervalMinute(toUInt32(substring(fill_id, 2)) % 15) "
        "+ toIntervalSecond(toUInt32(substring(fill_id, 2)) % 7) where 1" + SYNC,
        "period: exactly 4 fills",
    ),
    "lost fills": ("alter table {db}.mm_fills_raw delete where fill_id = 'f3'" + SYNC, "clickhouse lacks 1 fills"),
}


@pytest.mark.parametrize("defect", DEFECTS)
async def test_a_planted_defect_is_found(store: Any, defect: str) -> None:
    """Each of the seeds' defects gives exit code 2 and its own line."""
    statement, words = DEFECTS[defect]
    store.command(statement)
    report = checked(store)

    assert report.exit_code == FINDINGS
    assert any(words in line for line in report.findings), report.findings


BOOKS: dict[str, tuple[Books, str]] = {
    "a fill missing in Postgres": (
        replace(GOOD, fills={k: v for k, v in GOOD.fills.items() if k[1] != "f3"}),
        "postgres lacks 1 fills",
    ),
    "an amendment missing": (replace(GOOD, fills=GOOD.fills | {("KX-A", "f3"): 2}), "1 fills differ"),
    "a position without a fill": (replace(GOOD, positions={"KX-A": (59, None, 0)}), "expected 60 fills folded"),
    "a lasting drift": (replace(GOOD, positions={"KX-A": (60, Decimal(-2), 90_000)}), "off the venue's own"),
}


@pytest.mark.parametrize("defect", BOOKS)
async def test_a_difference_between_the_stores_is_found(store: Any, defect: str) -> None:
    """Postgres and ClickHouse are compared fill by fill, positions with their fills and with the venue."""
    books, words = BOOKS[defect]
    report = checked(store, lambda: books)

    assert report.exit_code == FINDINGS
    assert any(words in line for line in report.findings), report.findings
