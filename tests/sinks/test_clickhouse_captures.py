"""Best bid and ask from ClickHouse, and whole books, for the recorded market windows, also when they are cut short."""

import gzip
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from book_topic import TOPIC, batch
from kernel_judge import GRACE_MS, memory_task

from agents.maintain_books import BookFold
from schemas.codec import encode_record
from sinks.clickhouse.reads import get_batch_best_bid_ask
from sinks.contract import SourceRecord
from venues.kalshi import translate
from venues.kalshi.frames import FrameParser
from venues.kalshi.messages import DeltaFrame, SnapshotFrame

pytestmark = pytest.mark.engines
DATA = Path(__file__).parents[3] / "shared" / "data"
CUTS = (1, 1_000, 10_000, 50_000)


def book_values(path: Path, session: str) -> tuple[str, list[bytes]]:
    """The ticker and its book records, encoded, in order; seq re-numbered, because the recording was filtered."""
    parser, values, ticker = FrameParser(), [], ""
    with gzip.open(path) as lines:
        for line in lines:
            event = msgspec.json.decode(line)
            frame = parser.parse(msgspec.json.encode(event["event"]))
            if isinstance(frame, DeltaFrame | SnapshotFrame):
                ticker = frame.market_ticker
                make: Any = translate.book_delta if isinstance(frame, DeltaFrame) else translate.book_snapshot
                record = make(frame, session, event["recv_ms"])
                record.payload.seq = len(values) + 1
                values.append(encode_record(record))
    start = translate.book_reset(ticker, session, 0, None, None, "session_start", 1)
    return ticker, [encode_record(start), *values]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", sorted(DATA.glob("kalshi_ws/*.ndjson.gz")) or [None], ids=lambda p: p and p.name[:24])
async def test_levels_and_best_prices_equal_the_known_fold(path: Path | None, new_sink: Any) -> None:
    """After 1, 1,000, 10,000, 50,000 messages and at the end, levels and best prices are those of expected.json and
    of the book table, as the state worker folds it."""
    if path is None:
        pytest.skip(f"no recorded data beside the checkout ({DATA})")
    known = json.loads((DATA / "expected.json").read_text())["captures"]
    ticker, values = book_values(path, "recorded")
    market = next(c["markets"][ticker] for c in known.values() if ticker in c["markets"])
    books = {point["applied"]: point["book"] for point in market["checkpoints"] if point["applied"] in CUTS}
    books[len(values) - 1] = market["final_book"]
    sink, done = await new_sink(flush_rows=20_000), 0
    fold, task = BookFold(GRACE_MS), memory_task()
    for applied, book in sorted(books.items()):
        rows = [SourceRecord(offset, ticker.encode(), values[offset], 0) for offset in range(done, applied + 1)]
        await sink.write(batch(rows, TOPIC))
        await sink.flush()
        fold(task, TOPIC, [SimpleNamespace(**asdict(row), timestamp=0) for row in rows])
        done = applied + 1

        levels = sink.store.rows(
            "select side, toInt64(price * 10000), toInt64(size * 100) from {db}.latest_levels_deduped where size > 0"
        )
        assert sorted(levels) == sorted((side, *level) for side in ("yes", "no") for level in map(tuple, book[side]))
        best = get_batch_best_bid_ask(sink.store.client, [ticker], {"": 1}, sink.store.database)[ticker]
        yes, no = max(map(tuple, book["yes"]), default=(None, None)), max(map(tuple, book["no"]), default=(None, None))
        held = task.table.get(ticker.encode())
        shown = (best.yes_bb_px or 0, best.yes_bb_sz or 0, best.no_bb_px or 0, best.no_bb_sz or 0)
        assert held is not None
        assert held.top()[1:] == shown
        assert best[1:3] == yes
        assert best[5:7] == no
        assert best.yes_ba_px == (None if no[0] is None else 10_000 - no[0])
        assert best.no_ba_sz == yes[1]
    assert sink.store.rows("select count() from {db}.orderbook_events where type = 'broken'") == [(0,)]
