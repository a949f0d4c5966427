"""The fold's state at a start, from ClickHouse alone, and the level rows that a crash left unwritten.

`orderbook_events` is written before `latest_levels`, so the levels may end earlier: at the offset of the last change
they show, which is exact because each of their blocks is written whole. Sizes come from the levels, sessions and trust
from the marker rows of the events up to there; the events beyond are folded again and their levels written.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Protocol

from domain.book import EMPTY, LIVE, STALE
from domain.errors import InvariantViolated
from sinks.clickhouse.levels import LevelFold, LevelRow

CATCH_UP_OFFSETS = 100_000  # events read at a time: normally one insert's, more only after latest_levels was emptied

_LEVELS = """
select market_ticker, side, toInt64(price * 10000), toInt64(argMax(l.size, _offset) * 100),
       argMax(market_id, _offset), argMax(l.seq, _offset), max(_offset)
from {db}.latest_levels as l where _partition in ({p:UInt16}, 65535) group by market_ticker, side, price"""
_MARKERS = """
select * from (
select market_ticker, type, reason, session_id, sid, seq, _offset as at from {db}.orderbook_events_raw final
where _partition = {p:UInt16} and type in ('snapshot_begin', 'reset', 'broken') and _offset <= {upto:Int64}
union all
select '', 'hole', '', '', 0, 0, next_offset as at from {db}.sink_holes final
where _topic = {topic:String} and _partition = {p:UInt16} and toInt64(next_offset) <= {upto:Int64} + 1
) order by at, type = 'hole' desc, type desc"""
_HOLES = """
select next_offset from {db}.sink_holes final
where _topic = {topic:String} and _partition = {p:UInt16} and toInt64(next_offset) > {after:Int64} + 1 order by 1"""
EVENTS = """
select market_ticker, market_id, type, side, toInt64(price * 10000), toInt64(qty * 100), sid, seq,
       toUnixTimestamp64Milli(ts), toUnixTimestamp64Milli(ingest_ts), session_id, reason, _offset, _row
from {db}.orderbook_events_raw final
where _partition = {p:UInt16} and _offset > {after:Int64} and _offset <= {upto:Int64} order by _offset, _row"""


class Rows(Protocol):
    """Whatever answers queries: the sink's store, a reader over HTTP."""

    def rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]: ...


def levels_end(store: Rows, partition: int) -> int:
    """The highest offset whose change `latest_levels` shows, -1 when it shows none."""
    sql = "select max(_offset), count() from {db}.latest_levels where _partition = {p:UInt16}"
    highest, count = store.rows(sql, {"p": partition})[0]
    return int(highest) if count else -1


def restored_fold(store: Rows, topic: str, partition: int, upto: int) -> LevelFold:
    """The fold as it was after offset `upto`, the last one that the levels show. Blocking."""
    fold = LevelFold()
    parameters = {"p": partition, "upto": upto, "topic": topic}
    for ticker, kind, reason, session_id, sid, seq, _offset in store.rows(_MARKERS, parameters):
        if kind == "hole":
            fold.lost_records()
        elif kind == "reset":
            fold.reset(ticker, session_id, reason)
        elif kind == "broken":
            fold.market(ticker).stale("mark_stale")
        else:
            fold.market(ticker).book.apply_snapshot(session_id, sid, seq, (), ())
    _fill_levels(fold, store.rows(_LEVELS, {"p": partition}))
    return fold


def _fill_levels(fold: LevelFold, rows: list[tuple[Any, ...]]) -> None:
    newest: dict[str, tuple[int, int]] = {}
    for ticker, side, price_e4, size_e2, market_id, seq, offset in rows:
        market = fold.market(ticker)
        market.market_id = market_id or market.market_id
        newest[ticker] = max(newest.get(ticker, (-1, -1)), (offset, seq))
        if size_e2:
            yes, no = market.shown()
            (yes if side == "yes" else no)[price_e4] = size_e2
    for ticker, (_, seq) in newest.items():
        book = fold.market(ticker).book
        if book.status != STALE:
            book.best_yes_e4, book.best_no_e4 = max(book.yes, default=0), max(book.no, default=0)
            book.status = LIVE if book.yes or book.no else EMPTY
            book.seq = max(book.seq, seq)


def catch_up(store: Rows, fold: LevelFold, topic: str, partition: int, after: int, upto: int) -> Iterator[None]:
    """Fold the events of (after, upto]; yields where the caller should write the collected levels. Blocking."""
    holes = [row[0] for row in store.rows(_HOLES, {"p": partition, "topic": topic, "after": after})]
    while after < upto:
        end = min(upto, after + CATCH_UP_OFFSETS)
        rows = store.rows(EVENTS, {"p": partition, "after": after, "upto": end})
        for offset, group in groupby(rows, key=lambda row: row[12]):
            if holes and offset >= holes[0]:
                holes.pop(0)
                fold.lost_records()
            fold_record(fold, list(group))
        yield
        after = end


def fold_record(fold: LevelFold, rows: list[tuple[Any, ...]]) -> None:
    """Fold one record, given as its rows of `EVENTS`: its own row first, then the levels of a snapshot."""
    ticker, market_id, kind, side, price_e4, qty_e2, sid, seq, ts, ingest, session_id, reason, offset, _ = rows[0]
    row = LevelRow(0, ts, ingest, seq, offset)
    try:
        if kind == "delta":
            fold.delta(ticker, session_id, sid, side, price_e4, qty_e2, row)
        elif kind == "reset":
            fold.reset(ticker, session_id, reason)
        elif kind == "snapshot_begin":
            yes, no = ([(r[4], r[5]) for r in rows if r[2] == "snapshot" and r[3] == one] for one in ("yes", "no"))
            fold.snapshot(ticker, market_id, session_id, sid, yes, no, row)
    except InvariantViolated:
        return  # its `broken` row is in the table already
