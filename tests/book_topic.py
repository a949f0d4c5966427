"""A small market.book_updates partition, from a seed: what the sink tests write, and what is true of it.

Run as a script it is a writer process that a test kills: `book_topic.py <sink> <folder> <seed> <count> <kill at>`.
It plays the agent: it reads from the last commit (a file, moved only to what it has written and the sink calls durable)
in batches of random size, and dies at the n-th step of the sink (n > 0), or -n ms after its start (n < 0).
"""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from domain.book import Book
from domain.errors import InvariantViolated
from schemas import records as r
from schemas.codec import encode_record
from schemas.registry import BOOK_UPDATES, decoder
from sinks.contract import SourceBatch, SourceRecord

TOPIC = BOOK_UPDATES.name
PARTITION = 0
START_MS = 1_793_491_190_000  # ten seconds before the end of October 2026 (UTC): the records cross a month and a day
TICKERS = ("KXBTC15M-A", "KXBTC15M-B", "KXHIGHNY-C")


def make_book_topic(seed: int, count: int) -> list[SourceRecord]:
    """Records at offsets 0..count-1: snapshots (some empty), deltas (several in one millisecond, levels that come and
    go), resets, sessions, an impossible change now and then, and values that are no records."""
    rng = random.Random(seed)
    books = {ticker: Book() for ticker in TICKERS}
    session, records = "s0", []
    for offset in range(count):
        ts_ms = START_MS + offset * 10 // 3 // 4 * 40
        ticker = rng.choice(TICKERS)
        value = _value(rng, offset, ts_ms, ticker, session, books[ticker])
        if offset and offset % 997 == 0:
            session = f"s{offset}"
        _follow(books, value)
        records.append(SourceRecord(offset, ticker.encode(), value, ts_ms))
    return records


def _value(rng: random.Random, offset: int, ts_ms: int, ticker: str, session: str, book: Book) -> bytes:
    head: dict[str, Any] = {"ts_ingest": ts_ms, "source": "kalshi_ws", "cause": None}
    if rng.random() < 0.003:
        return rng.choice([b"{not json", b'{"event_type":"book_delta"}', b""])
    if book.session_id != session:
        payload = r.BookResetPayload(
            market_ticker=ticker, session_id=session, sid=None, seq=None, reason="session_start"
        )
        return encode_record(r.BookReset(ts_event=None, idempotency_key=f"r{offset}", payload=payload, **head))
    if book.status == "stale" or rng.random() < 0.01:
        sides = [
            [(p, rng.randint(1, 1 << 40)) for p in rng.sample(range(low, high), rng.choice([0, 3, 9]))]
            for low, high in ((1, 4_000), (1, 4_000))
        ]
        snap = r.BookSnapshotPayload(
            market_ticker=ticker,
            market_id=f"id-{ticker}",
            session_id=session,
            sid=1,
            seq=offset,
            yes=sides[0],
            no=sides[1],
        )
        return encode_record(r.BookSnapshot(ts_event=None, idempotency_key=f"s{offset}", payload=snap, **head))
    if rng.random() < 0.01:
        gap = r.BookResetPayload(market_ticker=ticker, session_id=session, sid=1, seq=offset, reason="gap")
        return encode_record(r.BookReset(ts_event=None, idempotency_key=f"g{offset}", payload=gap, **head))
    side = rng.choice(["yes", "no"])
    levels = book.yes if side == "yes" else book.no
    if levels and rng.random() < 0.5:
        price = rng.choice(sorted(levels))
        change = -levels[price] if rng.random() < 0.5 else rng.randint(1, 500)
        change -= 1 if rng.random() < 0.01 else 0  # below zero: impossible
    else:
        price, change = rng.randint(1, 4_000), rng.randint(1, 10_000)
    delta = r.BookDeltaPayload(
        market_ticker=ticker,
        market_id=f"id-{ticker}",
        session_id=session,
        sid=1,
        seq=offset,
        side=side,
        price_e4=price,
        delta_e2=change,
    )
    return encode_record(r.BookDelta(ts_event=ts_ms - 7, idempotency_key=f"d{offset}", payload=delta, **head))


def _follow(books: dict[str, Book], value: bytes) -> None:
    try:
        record = decoder(BOOK_UPDATES).decode(value)
    except Exception:
        return
    fold_record(books.setdefault(record.payload.market_ticker, Book()), record)


def fold_record(book: Book, record: Any) -> None:
    """The reference: one record onto its book; an impossible change makes it stale."""
    p = record.payload
    try:
        if isinstance(record, r.BookDelta):
            book.apply_delta(p.session_id, p.sid, p.seq, p.side, p.price_e4, p.delta_e2)
        elif isinstance(record, r.BookSnapshot):
            book.apply_snapshot(p.session_id, p.sid, p.seq, p.yes, p.no)
        elif p.reason == "session_start":
            book.start_session(p.session_id)
        else:
            book.reset(p.session_id)
    except InvariantViolated:
        book.mark_stale()


def books_of(records: list[SourceRecord]) -> dict[str, Book]:
    """The books after these records."""
    books: dict[str, Book] = {}
    for record in records:
        _follow(books, record.value or b"")
    return books


def batch(records: list[SourceRecord], topic: str = TOPIC, partition: int = PARTITION) -> SourceBatch:
    """One batch of them."""
    return SourceBatch(topic, partition, records, records[-1].offset + 1)


class KillAt:
    """Kills this process: at the n-th step, or -n ms from now, wherever it is then (0: never)."""

    def __init__(self, at: int) -> None:
        self.left = at
        if at < 0:
            # Nobody handles SIGALRM, so the kernel ends the process at once, as SIGKILL does.
            signal.setitimer(signal.ITIMER_REAL, -at / 1_000)

    def __call__(self, _name: str) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def make_sink(kind: str, folder: Path, on_step: Any) -> Any:
    """The sink under test, with bounds so small that every step happens often."""
    if kind == "parquet":
        from sinks.parquet import run
        from sinks.parquet.sink import ParquetSink, Rotation

        run.ROW_GROUP_ROWS = 100
        return ParquetSink(folder / "parquet", Rotation(300, 1 << 30, 3_600.0), on_step)
    from ops.migrate import migrate_clickhouse
    from sinks.clickhouse.sink import ClickHouseSink
    from sinks.clickhouse.store import Store

    store = Store("kalshi", folder / "clickhouse")
    return ClickHouseSink(store, migrate=migrate_clickhouse, flush_rows=300, flush_age_s=3_600.0, on_step=on_step)


async def write_topic(kind: str, folder: Path, seed: int, count: int, kill_at: int) -> None:
    """Write the whole topic from the last commit on; a file `finished` says that it came to the end."""
    records, commit_file, rng = make_book_topic(seed, count), folder / "commit", random.Random()
    kill = KillAt(kill_at)
    sink = make_sink(kind, folder, kill)
    await sink.start()
    await sink.assign(TOPIC, PARTITION)
    at = int(commit_file.read_text()) if commit_file.exists() else 0
    while at < count:
        end = min(count, at + rng.randint(1, 400))
        notes = await sink.write(batch(records[at:end]))
        with (folder / "refused").open("a") as file:
            file.writelines(f"{note.record.offset}\n" for note in notes)
        at = end
        kill("written")
        _commit(commit_file, sink, at)
    await sink.stop() if kind == "parquet" else await sink.flush()
    signal.setitimer(signal.ITIMER_REAL, 0)
    _commit(commit_file, sink, at)
    (folder / "finished").touch()


def _commit(file: Path, sink: Any, told: int) -> None:
    """As the stage acknowledges: what is durable, and of that only what was written again by this process, or the dead
    letters of a process that died between its insert and its return would stay untold."""
    durable = sink.durable_next_offset(TOPIC, PARTITION)
    if durable is not None:
        temporary = file.with_suffix(".new")
        temporary.write_text(str(min(durable, told)))
        temporary.rename(file)


if __name__ == "__main__":
    asyncio.run(write_topic(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6])))
