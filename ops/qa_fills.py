"""`qa fills`: the stored fills against what fills can be, against each other, and against the venue's own numbers.

The seeds' validation queries, with their limits tightened to what this pipeline promises: blank ids 0, uniqueness 100 %
(theirs: 99), zero prices and sizes 0. What needs time or order actions is `not judged` until they are there.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ops.qa_report import Report
from ops.qa_sources import Reader

CATCH_UP_S_MAX = 20.0  # sinks flush within a second; a running one that lags more is a finding of /lag
FULL_MINUTES_MIN = 10  # fewer full minutes of trading say nothing about periods
PERIOD_FILLS_MIN = 2  # fills per minute from which "the same in each minute" is suspicious
DRIFT_MS_MAX = 60_000  # a difference to the venue that outlasts some polls

_VALID = "(select * from {db}.mm_fills_raw final where is_valid = 1)"
_NEWEST = _VALID[:-1] + " order by revision desc, _offset desc limit 1 by market_ticker, fill_id)"
_TABLES = "select count() from system.tables where database = {d:String} and name = 'mm_fills_raw'"
_COUNTS = "select count(), uniqExact(market_ticker, fill_id) from {newest}"
_REFUSED = "select reason, count() from {db}.mm_fills_raw final where is_valid = 0 group by 1 order by 1"
_REPEATED = """
select market_ticker, fill_id, count() from {valid}
group by market_ticker, fill_id, revision having count() > 1 order by 3 desc limit 50"""
_ELSEWHERE = """
select fill_id, uniqExact(market_ticker) from {valid} group by 1 having uniqExact(market_ticker) > 1 limit 50"""
_MINUTES = """
select toUnixTimestamp(toStartOfMinute(ts)) as minute, count(), uniqExact(ts) from {newest} group by 1 order by 1"""
_ORDERS = "select exchange_order_id, sum(size), count() from {newest} group by 1"
_IDS = "select market_ticker, fill_id, revision from {newest}"
#: What a fill cannot be: name, condition.
_DEFECTS = (
    ("blank fill id", "fill_id = ''"),
    ("blank order id", "exchange_order_id = ''"),
    ("blank market", "market_ticker = ''"),
    ("price outside 0 to 1 dollar", "price <= 0 or price >= 1"),
    ("zero size", "size <= 0"),
    ("no side or action", "side not in ('yes', 'no') or action not in ('buy', 'sell')"),
    ("time after we heard of it", "ts > ingest_ts + interval 5 second"),
    ("time before 2020", "ts < toDateTime64('2020-01-01 00:00:00', 3, 'UTC')"),
)


def _rows(reader: Reader, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    return reader.rows(sql.replace("{valid}", _VALID).replace("{newest}", _NEWEST), parameters)


@dataclass(frozen=True)
class Books:
    """What Postgres says. `fills`: newest revision by (market, id). `orders`: initial size by order id. `positions`:
    market -> (fills counted, drift, how long it has lasted in ms)."""

    fills: dict[tuple[str, str], int]
    orders: dict[str, Decimal]
    positions: dict[str, tuple[int, Decimal | None, int]]


def check_fills(
    reader: Reader | None,
    books: Callable[[], Books] | None,
    report: Report,
    *,
    catch_up_s: float = CATCH_UP_S_MAX,
) -> None:
    """All checks; what is wrong goes into the report. `books` reads Postgres, None: it is not there to be asked.

    Raises:
        SinkUnavailable: a store that should be there does not answer.
    """
    if reader is None or not _rows(reader, _TABLES, {"d": reader.database})[0][0]:
        report.facts.append("clickhouse: nothing stored yet")
        return
    total, unique = _rows(reader, _COUNTS)[0]
    report.facts.append(f"clickhouse: {total} fills, {unique} ids")
    for reason, count in _rows(reader, _REFUSED):
        report.facts.append(f"refused: {reason}: {count}")
    _check_rows(reader, report)
    _check_time(reader, report)
    report.facts.append("link rate: not judged (no order actions stored)")
    if books is None:
        report.facts.append("postgres: not judged (not running)")
        return
    _check_books(reader, books, report, catch_up_s)


def _check_rows(reader: Reader, report: Report) -> None:
    columns = ", ".join(f"countIf({condition})" for _, condition in _DEFECTS)
    counts = _rows(reader, "select {columns} from {valid}".replace("{columns}", columns))[0]
    for (name, _), count in zip(_DEFECTS, counts, strict=True):
        if count:
            report.findings.append(f"{name}: expected 0 fills, were {count}")
    for ticker, fill_id, count in _rows(reader, _REPEATED):
        report.findings.append(f"repeated fill: {ticker} {fill_id}: expected 1 row, were {count}")
    for fill_id, count in _rows(reader, _ELSEWHERE):
        report.findings.append(f"fill in several markets: {fill_id}: expected 1, were {count}")


def _check_time(reader: Reader, report: Report) -> None:
    """Spread and period, over the full minutes from the first to the last fill."""
    rows: list[tuple[Any, ...]] = _rows(reader, _MINUTES)
    span = (rows[-1][0] - rows[0][0]) // 60 + 1 if rows else 0
    full = span - 2
    if full < FULL_MINUTES_MIN:
        report.facts.append(f"time spread, period: not judged (expected {FULL_MINUTES_MIN} full minutes, were {full})")
        return
    inner = {minute: count for minute, count, _ in rows[1:-1]}
    counts = [inner.get(rows[0][0] + 60 * n, 0) for n in range(1, full + 1)]
    if len(set(counts)) == 1 and counts[0] >= PERIOD_FILLS_MIN:
        report.findings.append(f"period: exactly {counts[0]} fills in each of {full} minutes: a poll, not a market")
    clustered = [(count, times) for _, count, times in rows if count >= 20 and times == 1]
    if clustered:
        count = sum(count for count, _ in clustered)
        report.findings.append(f"time spread: {count} fills share one time in each of {len(clustered)} minutes")
    report.facts.append(f"time spread: {full} full minutes, {min(counts)} to {max(counts)} fills in each")


def _check_books(reader: Reader, books: Callable[[], Books], report: Report, catch_up_s: float) -> None:
    """Postgres beside ClickHouse; both may be a flush apart, so a difference is looked at again for a while."""
    until_s = time.monotonic() + catch_up_s
    found = _differences(reader, books())
    while found and time.monotonic() < until_s:
        time.sleep(1.0)
        found = _differences(reader, books())
    report.findings.extend(found)


def _differences(reader: Reader, held: Books) -> list[str]:
    found = []
    stored = {(ticker, fill_id): revision for ticker, fill_id, revision in _rows(reader, _IDS)}
    for name, missing in (
        ("postgres", stored.keys() - held.fills.keys()),
        ("clickhouse", held.fills.keys() - stored.keys()),
    ):
        if missing:
            found.append(f"{name} lacks {len(missing)} fills, for example {min(missing)}")
    other = [key for key in stored.keys() & held.fills.keys() if stored[key] != held.fills[key]]
    if other:
        key = min(other)
        found.append(f"{len(other)} fills differ, for example {key}: revision {stored[key]} and {held.fills[key]}")
    for order_id, size, count in _rows(reader, _ORDERS):
        initial = held.orders.get(order_id)
        if initial is not None and size > initial:
            found.append(f"order {order_id}: {count} fills of {size} contracts, more than the {initial} ordered")
    counted: dict[str, int] = {}
    for ticker, _ in held.fills:
        counted[ticker] = counted.get(ticker, 0) + 1
    for ticker, (fills, drift, lasting_ms) in sorted(held.positions.items()):
        if fills != counted.get(ticker, 0):
            found.append(f"position {ticker}: expected {counted.get(ticker, 0)} fills folded, were {fills}")
        if drift and lasting_ms > DRIFT_MS_MAX:
            found.append(f"position {ticker}: {drift} contracts off the venue's own for {lasting_ms // 1_000} s")
    return found
