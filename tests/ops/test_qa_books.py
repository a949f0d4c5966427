"""`qa books` on real stores: clean when they agree, and each planted defect is named."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from book_topic import PARTITION, TOPIC, batch, make_book_topic

from domain.units import contracts_text, dollars_text
from ops import qa_books
from ops.migrate import migrate_clickhouse
from ops.qa_report import CLEAN, FINDINGS, Report
from ops.qa_sources import Reader, Sources
from schemas.registry import BOOK_UPDATES
from sinks.clickhouse.level_blocks import fold_block
from sinks.clickhouse.levels import LevelFold
from sinks.clickhouse.sink import ClickHouseSink
from sinks.clickhouse.store import Store
from sinks.columns import take_records
from sinks.contract import SourceRecord
from sinks.parquet.sink import ParquetSink, Rotation

pytestmark = pytest.mark.engines
_numbers = itertools.count()
RECORDS = make_book_topic(21, 2_400)  # 80 s of events


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One chDB path for the module."""
    return tmp_path_factory.mktemp("chdb_qa") / "clickhouse"


@pytest.fixture
async def stores(engine: Path, tmp_path: Path) -> Any:
    """A ClickHouse database and an archive with the same topic in them."""
    name = f"qa{next(_numbers)}"
    store = Store(name, engine)
    hot = ClickHouseSink(store, migrate=lambda client: migrate_clickhouse(client, name))
    cold = ParquetSink(tmp_path / "parquet", Rotation(400, 1 << 30, 3_600.0))
    for sink in (hot, cold):
        await sink.start()
        for at in range(0, len(RECORDS), 300):
            await sink.write(batch(RECORDS[at : at + 300]))
        await sink.flush()
    yield store, tmp_path / "parquet"
    store.close()


def checked(store: Store, parquet: Path, state_url: str | None = None) -> Report:
    """The report."""
    report = Report()
    qa_books.check_books(Sources(Reader(store.client, store.database), parquet, state_url), report, lambda _: None)
    return report


async def test_equal_stores_are_clean(stores: Any) -> None:
    """Events, levels and archive agree: no finding."""
    report = checked(*stores)

    assert report.findings == []
    assert report.exit_code == CLEAN
    assert any("latest_levels_lag_s_by_ticker" in line for line in report.facts)


async def test_an_empty_store_is_clean(tmp_path: Path) -> None:
    """Nothing stored yet is nothing wrong."""
    report = Report()
    qa_books.check_books(Sources(None, tmp_path, None), report)

    assert report.exit_code == CLEAN


LIVE = "(select argMax(market_ticker, _offset) from {db}.latest_levels where size > 0)"
DEFECTS: dict[str, tuple[str, str]] = {
    "a size that is wrong": (
        f"alter table {{db}}.latest_levels update size = size + 1 where size > 0 and market_ticker = {LIVE} "
        "settings mutations_sync = 1",
        "latest_levels at",
    ),
    "levels that were lost": (
        f"alter table {{db}}.latest_levels delete where market_ticker = {LIVE} settings mutations_sync = 1",
        "no level written",
    ),
    "levels that were no longer written": (
        "alter table {db}.latest_levels delete where _offset > 200 settings mutations_sync = 1",
        "events are fresh, levels are 7",
    ),
    "events that were lost": (
        "alter table {db}.orderbook_events_raw delete where type = 'delta' and _offset % 7 = 0 "
        "settings mutations_sync = 1",
        "events and parquet",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
async def test_a_planted_defect_is_found(stores: Any, defect: str) -> None:
    """Each store is distrusted."""
    store, parquet = stores
    statement, words = DEFECTS[defect]
    store.command(statement)
    report = checked(store, parquet)

    assert report.exit_code == FINDINGS
    assert any(words in line for line in report.findings)


async def test_stores_that_move_while_they_are_read_are_clean(engine: Path, tmp_path: Path) -> None:
    """Beside a running `up`: events, levels and files end at different offsets, and each further by the next look."""
    name = f"qa{next(_numbers)}"
    store = Store(name, engine)
    hot = ClickHouseSink(store, migrate=lambda client: migrate_clickhouse(client, name))
    cold = ParquetSink(tmp_path / "parquet", Rotation(400, 1 << 30, 3_600.0))
    await asyncio.gather(hot.start(), cold.start())
    sources = Sources(Reader(store.new_client(), name), tmp_path / "parquet", None)
    report, at, looks = Report(), 0, 0
    while at < len(RECORDS):
        looking = asyncio.create_task(asyncio.to_thread(qa_books.check_books, sources, report))
        while at < len(RECORDS) and not looking.done():
            for sink in (cold, hot):
                await sink.write(batch(RECORDS[at : at + 40]))
            await hot.flush()
            at += 40
        await looking
        looks += 1

    assert looks > 1, "expected the checks to overlap with writing: let the topic of this test be longer"
    assert report.findings == []
    assert report.exit_code == CLEAN
    await asyncio.gather(hot.stop(), cold.stop())
    sources.close()


async def test_a_lost_archive_file_is_named(stores: Any) -> None:
    """A gap in the archive is a finding with the file after it."""
    store, parquet = stores
    second = sorted(parquet.rglob("*.parquet"), key=lambda path: int(path.name.split("-")[0]))[1]
    second.unlink()
    report = checked(store, parquet)

    assert any("gap in the archive" in line for line in report.findings)


def pages_at(end: int, change: Callable[[dict[str, Any]], None]) -> dict[str, dict[str, Any]]:
    """The book pages of a worker that has folded up to `end`."""
    fold = LevelFold()
    fold_block(fold, take_records(BOOK_UPDATES, PARTITION, RECORDS[:end])[0])
    pages = {}
    for ticker, market in fold.markets.items():
        sides = {
            side: [[dollars_text(price), contracts_text(size)] for price, size in levels.items()]
            for side, levels in (("yes", market.book.yes), ("no", market.book.no))
        }
        pages[ticker] = {"offset": end, **sides}
    for page in pages.values():
        change(page)
    return pages


@pytest.mark.parametrize("end", [700, len(RECORDS)])
async def test_the_worker_s_table_is_compared_at_its_own_offset(
    stores: Any, end: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table behind the sink is right at its offset; one level too many is a finding."""
    good = pages_at(end, lambda _: None)
    monkeypatch.setattr(qa_books, "fetch_books", lambda *_: good)
    assert checked(*stores, "http://127.0.0.1:1").findings == []

    bad = pages_at(end, lambda page: page["yes"].append(["0.9990", "1.00"]))
    monkeypatch.setattr(qa_books, "fetch_books", lambda *_: bad)
    assert any("events and table" in line for line in checked(*stores, "http://127.0.0.1:1").findings)


def test_the_topic_is_the_one_of_the_catalogue() -> None:
    """The records of this test are market.book_updates of partition 0."""
    assert BOOK_UPDATES.name == TOPIC
    assert isinstance(RECORDS[0], SourceRecord)
