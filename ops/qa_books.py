"""`qa books`: the order books in every store, against each other, per market.

For each partition the events are folded once; the fold is compared with `latest_levels` (at the offset they show), with
the fold of the Parquet archive (at the offset where the archive ends), and with the book table of the running worker
(at the offset the page names). Beside a running `up` the stores move while they are read, and an open Parquet file
holds nothing yet: hence each comparison at the offset that both have reached. The seeds' mismatch detector is the lag
line: events fresh, levels stale.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from domain.errors import UserMistake
from domain.units import parse_scaled
from ops.qa_fold import TOPIC, BookAt, PartitionFold, fold_events, fold_parquet
from ops.qa_report import Report
from ops.qa_sources import Reader, Sources, fetch_books
from sinks.clickhouse.levels import LevelKey, LevelRow
from sinks.parquet import files

LAG_LIMIT_S = 60  # events of the last minute imply level writes
ACTIVE_MS = 24 * 3_600_000  # markets without events for a day before the newest one decide no fold's beginning
CATCH_UP_S_MAX = 20.0  # the sink flushes each second; a running one that lags more is a finding of /lag, not of qa
Books = dict[str, dict[str, Any]]  # `/books/{ticker}` pages by ticker
WORST_SHOWN = 5  # markets in the lag line
LAGGARDS_MAX = 50  # markets that become findings by their lag, worst first

_TABLES = """
select count() from system.tables where database = {d:String} and name in ('orderbook_events_raw', 'latest_levels')"""
_ENDS = "select _partition, min(_offset), max(_offset) + 1 from {db}.orderbook_events_raw group by 1 order by 1"
_STARTS = """
select market_ticker, maxIf(_offset, type = 'reset' and reason = 'session_start' and _offset < {upto:Int64}),
       countIf(type = 'reset' and reason = 'session_start' and _offset < {upto:Int64}),
       toUnixTimestamp64Milli(max(ingest_ts))
from {db}.orderbook_events_raw where _partition = {p:UInt16} and market_ticker != '' group by 1"""
_TICKERS = "select distinct _partition, market_ticker from {db}.orderbook_events_raw where market_ticker != ''"
_LEVELS = """
select market_ticker, side, toInt64(price * 10000), toInt64(argMax(l.size, _offset) * 100), max(_offset),
       toUnixTimestamp64Milli(max(l.ingest_ts))
from {db}.latest_levels as l where _partition = {p:UInt16} group by 1, 2, 3"""


@dataclass
class Levels:
    """`latest_levels` of a partition, read at one instant. `end` is one past the highest offset it shows."""

    sizes: dict[tuple[str, str, int], tuple[int, int]]
    newest_ms: dict[str, int]
    end: int


def check_books(sources: Sources, report: Report, sleep: Callable[[float], None] = time.sleep) -> None:
    """Compare all books; what differs goes into the report. Raises SinkUnavailable, UserMistake."""
    reader = sources.clickhouse
    if reader is None or reader.rows(_TABLES, {"d": reader.database})[0][0] < 2:
        report.facts.append("clickhouse: nothing stored yet")
        return
    lags_s: dict[str, int] = {}
    pages = _pages(sources, reader)  # all of them first: the events reach them while partitions are compared
    for number in sorted({*(row[0] for row in reader.rows(_ENDS)), *files.partitions_of(sources.parquet, TOPIC)}):
        lags_s |= _check_partition(sources, reader, number, pages.get(number, {}), report, sleep)
    report_lags(lags_s, report)


def _check_partition(
    sources: Sources, reader: Reader, number: int, pages: Books, report: Report, sleep: Callable[[float], None]
) -> dict[str, int]:
    """Everything of one partition but the lags, which are returned. Events are looked at before levels, as they are
    written: what lags then is not the reading."""
    lowest, seen = _events_range(reader, number)
    levels = read_levels(reader, number)
    archive_end = _archive_end(sources, number, report)
    end = _await_events(reader, number, pages, sleep)
    everywhere = {seen, levels.end, end if archive_end is None else min(archive_end, end)}
    begin = _begin(reader, number, lowest, min([*everywhere, *(int(page["offset"]) for page in pages.values())]))
    points = {"": sorted(everywhere)} | {
        ticker: [int(page["offset"])] for ticker, page in pages.items() if int(page["offset"]) <= end
    }
    folded = fold_events(reader, number, begin, end, points)
    compare_levels(number, folded, levels, report)
    if archive_end is not None and archive_end > begin:
        upto = min(archive_end, end)
        archive = fold_parquet(sources.parquet, number, begin, upto)
        expected = {ticker: book for (ticker, at), book in folded.at.items() if at == upto}
        compare_books(f"partition {number}: events and parquet at {upto}", expected, archive, report)
    for ticker, page in pages.items():
        compare_page(ticker, page, folded, report)
    report.facts.append(
        f"partition {number}: offsets {begin}..{end - 1}, {len(folded.fold.markets)} markets, "
        f"levels at {levels.end - 1}, parquet {'none' if archive_end is None else f'at {archive_end - 1}'}, "
        f"{len(pages)} book pages"
    )
    return level_lags_s(folded.rows_at[seen], levels)


def read_levels(reader: Reader, number: int) -> Levels:
    """`latest_levels` of a partition, deduplicated by offset."""
    levels = Levels({}, {}, 0)
    for ticker, side, price_e4, size_e2, offset, ingest_ms in reader.rows(_LEVELS, {"p": number}):
        levels.sizes[ticker, side, price_e4] = (size_e2, offset)
        levels.newest_ms[ticker] = max(ingest_ms, levels.newest_ms.get(ticker, 0))
        levels.end = max(levels.end, offset + 1)
    return levels


def _events_range(reader: Reader, number: int) -> tuple[int, int]:
    found = {row[0]: (int(row[1]), int(row[2])) for row in reader.rows(_ENDS)}
    return found.get(number, (0, 0))


def _begin(reader: Reader, number: int, lowest: int, upto: int) -> int:
    """Where the fold begins: at the oldest session start that an active market lives on at offset `upto`, the first
    one at which anything is compared."""
    rows = reader.rows(_STARTS, {"p": number, "upto": upto})
    newest = max((row[3] for row in rows), default=0)
    active = [row for row in rows if row[3] > newest - ACTIVE_MS]
    return min((int(row[1]) if row[2] else lowest for row in active), default=lowest)


def _archive_end(sources: Sources, number: int, report: Report) -> int | None:
    try:
        return files.next_offset_on_disk(sources.parquet, TOPIC, number)
    except UserMistake as wrong:
        report.findings.append(str(wrong))
        return None


def _pages(sources: Sources, reader: Reader) -> dict[int, Books]:
    if sources.state_url is None:
        return {}
    partitions = {ticker: int(number) for number, ticker in reader.rows(_TICKERS)}
    pages: dict[int, Books] = {}
    for ticker, page in fetch_books(sources.state_url, sorted(partitions)).items():
        if page is not None:
            pages.setdefault(partitions[ticker], {})[ticker] = page
    return pages


def _await_events(reader: Reader, number: int, pages: Books, sleep: Callable[[float], None]) -> int:
    """Where the events end. The pages may be ahead of the sink by a second: wait until the events reach them."""
    wanted = max((int(page["offset"]) for page in pages.values()), default=0)
    deadline = time.monotonic() + CATCH_UP_S_MAX
    while (end := _events_range(reader, number)[1]) < wanted and time.monotonic() < deadline:
        sleep(0.5)
    return end


def compare_levels(number: int, folded: PartitionFold, levels: Levels, report: Report) -> None:
    """`latest_levels` against the books that the events give at the offset the levels show."""
    shown: dict[str, tuple[dict[int, int], dict[int, int]]] = {}
    for (ticker, side, price_e4), (size_e2, _) in levels.sizes.items():
        if size_e2:
            shown.setdefault(ticker, ({}, {}))[side == "no"][price_e4] = size_e2
    for (ticker, at), book in folded.at.items():
        if at == levels.end and not book.stale:
            yes, no = shown.get(ticker, ({}, {}))
            _compare(f"{ticker}: events and latest_levels at {at}", book, BookAt(False, yes, no), report)
    for key, row in folded.rows_at[levels.end].items():
        if levels.sizes.get(key, (None, -1))[1] < row.offset:
            ticker, side, price_e4 = key
            report.findings.append(f"{ticker}: {side} {price_e4} e4 changed at offset {row.offset}: no level written")


def compare_books(what: str, expected: dict[str, BookAt], found: dict[str, BookAt], report: Report) -> None:
    """Two folds, market by market."""
    for ticker in sorted({*expected, *found}):
        empty = BookAt(True, {}, {})
        _compare(f"{ticker}: {what}", expected.get(ticker, empty), found.get(ticker, empty), report)


def compare_page(ticker: str, page: dict[str, Any], folded: PartitionFold, report: Report) -> None:
    """The book table's page against the events at the offset it names."""
    book = folded.at.get((ticker, int(page["offset"])))
    if book is None:
        report.unclear.append(f"{ticker}: the table is at offset {page['offset']}, beyond the events")
        return
    sides = [
        {parse_scaled(price, 4, "price"): parse_scaled(size, 2, "size") for price, size in page[side]}
        for side in ("yes", "no")
    ]
    _compare(f"{ticker}: events and table at {page['offset']}", book, BookAt(book.stale, *sides), report)


def _compare(what: str, expected: BookAt, found: BookAt, report: Report) -> None:
    if expected.stale != found.stale:
        report.findings.append(f"{what}: expected stale {expected.stale}, was {found.stale}")
    for side, one, other in (("yes", expected.yes, found.yes), ("no", expected.no, found.no)):
        wrong = sorted(price for price in one.keys() | other.keys() if one.get(price) != other.get(price))
        if wrong:
            first = wrong[0]
            report.findings.append(
                f"{what}: {len(wrong)} {side} levels differ, the first at {first} e4: "
                f"expected {one.get(first, 0)} e2, was {other.get(first, 0)}"
            )


def level_lags_s(expected: dict[LevelKey, LevelRow], levels: Levels) -> dict[str, int]:
    """Per market: the newest change that a level should show, against the newest it shows, in seconds."""
    newest_ms: dict[str, int] = {}
    for (ticker, _, _), row in expected.items():
        newest_ms[ticker] = max(row.ingest_ms, newest_ms.get(ticker, 0))
    return {ticker: max(0, at - levels.newest_ms.get(ticker, 0)) // 1000 for ticker, at in newest_ms.items()}


def report_lags(lags_s: dict[str, int], report: Report) -> None:
    """The seeds' detector over all partitions, worst first."""
    worst = sorted(lags_s.items(), key=lambda item: (-item[1], item[0]))
    report.facts.append(f"latest_levels_lag_s_by_ticker={dict(worst[:WORST_SHOWN])}")
    for ticker, lag_s in worst[:LAGGARDS_MAX]:
        if lag_s > LAG_LIMIT_S:
            report.findings.append(f"{ticker}: events are fresh, levels are {lag_s} s behind them")
