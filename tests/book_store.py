"""What ClickHouse must hold after a book topic: the expectations, and the comparison. `book_store.py check <folder>
<seed> <count>` runs it in a process of its own, because one process opens one chDB path."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from book_topic import PARTITION, batch, books_of, make_book_topic

from schemas import records as r
from schemas.registry import BOOK_UPDATES
from sinks.clickhouse.sink import ClickHouseSink
from sinks.clickhouse.store import Store
from sinks.contract import SourceRecord
from sinks.rows import decode_records

ROOT = Path(__file__).parent.parent
_EVENTS = """
select _offset, market_ticker, type, side, toInt64(price * 10000), toInt64(qty * 100), sid, seq, session_id, reason,
       toUnixTimestamp64Milli(ts), toUnixTimestamp64Milli(ingest_ts)
from {db}.orderbook_events where type != 'broken' order by _offset, _row"""
_LEVELS = """
select market_ticker, side, toInt64(price * 10000), toInt64(size * 100)
from {db}.latest_levels_deduped where size > 0 order by 1, 2, 3"""


def expected_events(records: list[SourceRecord]) -> list[tuple[Any, ...]]:
    """The rows of orderbook_events, in order."""
    typed, _ = decode_records(BOOK_UPDATES, records)
    rows: list[tuple[Any, ...]] = []
    for source, record in zip(records, typed, strict=True):
        at = source.offset
        if record is None:
            rows.append((at, "", "refused", "", 0, 0, 0, 0, "", "", source.timestamp_ms, source.timestamp_ms))
            continue
        p: Any = record.payload  # type: ignore[attr-defined]
        times = (record.ts_event or record.ts_ingest, record.ts_ingest)
        if isinstance(record, r.BookDelta):
            rows.append(
                (at, p.market_ticker, "delta", p.side, p.price_e4, p.delta_e2, p.sid, p.seq, p.session_id, "", *times)
            )
        elif isinstance(record, r.BookReset):
            rows.append(
                (at, p.market_ticker, "reset", "", 0, 0, p.sid or 0, p.seq or 0, p.session_id, p.reason, *times)
            )
        else:
            tail = (p.sid, p.seq, p.session_id, "", *times)
            rows.append((at, p.market_ticker, "snapshot_begin", "", 0, 0, *tail))
            for side, levels in (("yes", p.yes), ("no", p.no)):
                rows.extend((at, p.market_ticker, "snapshot", side, price, size, *tail) for price, size in levels)
    return rows


def assert_store_equals(store: Store, records: list[SourceRecord]) -> None:
    """Events are the topic's, each once; the levels of every live book are the book's; physical rows are bounded."""
    assert store.rows(_EVENTS) == expected_events(records)
    books = books_of(records)
    shown: dict[tuple[str, str], dict[int, int]] = {}
    for ticker, side, price_e4, size_e2 in store.rows(_LEVELS):
        shown.setdefault((ticker, side), {})[price_e4] = size_e2
    live = {ticker: book for ticker, book in books.items() if book.status != "stale"}
    for ticker, book in live.items():
        assert shown.get((ticker, "yes"), {}) == book.yes
        assert shown.get((ticker, "no"), {}) == book.no
    assert store.rows("select count() from {db}.sink_holes") == [(0,)]


def check_in_own_process(folder: Path, seed: int, count: int) -> None:
    """Compare in a process that opens the path alone."""
    command = [sys.executable, __file__, "check", str(folder), str(seed), str(count)]
    subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, timeout=120, check=True)


if __name__ == "__main__":
    opened = Store("kalshi", Path(sys.argv[2]) / "clickhouse")
    opened.open()
    assert_store_equals(opened, make_book_topic(int(sys.argv[3]), int(sys.argv[4])))
    opened.close()
    assert PARTITION == 0


async def written(sink: ClickHouseSink, records: list[SourceRecord], size: int = 700) -> list[Any]:
    """Write all records in batches and flush. Returns the notes."""
    notes = []
    for at in range(0, len(records), size):
        notes += await sink.write(batch(records[at : at + size]))
    await sink.flush()
    return notes
