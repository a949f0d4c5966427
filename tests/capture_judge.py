"""What the recorded captures must give, read back from the Parquet of a finished run (`../shared/data/README.md`)."""

import hashlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from domain.book import APPLIED, APPLIED_BELOW_TOP, Book
from ops.data_dir import DataDir
from ops.stack import stop_stack
from sinks.parquet.reader import iter_records
from venues.capture import read_capture
from venues.kalshi.frames import FrameParser
from venues.kalshi.messages import DeltaFrame, SnapshotFrame

ROOT = Path(__file__).resolve().parent.parent
EMPTY = "- - - -\n"
#: Nobody dies here, so nobody is to be taken for dead on a busy machine either.
CALM = {"SESSION_TIMEOUT_S": "30"}
#: In a process of its own: one process opens one chDB path, and this one may have opened another.
CLICKHOUSE_HOLDS = """
import sys
from chdb.session import Session
print(Session(sys.argv[1]).query('''select
    (select count() from kalshi.sink_holes), (select uniqExact(_partition, _offset) from kalshi.orderbook_events)
'''))
"""
DATA = ROOT.parent / "shared" / "data"
CAPTURES = sorted((DATA / "kalshi_ws").glob("*.ndjson.gz")) if DATA.exists() else []


def expected() -> dict[str, Any]:
    """market_ticker -> what expected.json says of it."""
    captures = json.loads((DATA / "expected.json").read_text())["captures"]
    return {ticker: facts for capture in captures.values() for ticker, facts in capture["markets"].items()}


def run_up(data_dir: Path, captures: list[Path], port_base: int, *extra: str, timeout_s: float = 300) -> str:
    """`up --until-drained` on these captures; its output. Raises CalledProcessError with it when the exit is not 0."""
    command = [
        str(Path(sys.executable).parent / "kalshi-streams"), "up", "--feed", "replay:" + ",".join(map(str, captures)),
        "--speed", "0", "--until-drained", "--data-dir", str(data_dir), "--port-base", str(port_base), *extra,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"NO_COLOR": "1", **CALM}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
    finally:
        stop_stack(DataDir(data_dir))  # only a run that was killed on time-out has left something
    if done.returncode:
        raise AssertionError(f"up ended with {done.returncode}:\n{done.stdout[-6_000:]}")
    return done.stdout


def clickhouse_facts(data_dir: Path) -> tuple[int, int]:
    """(holes, different records of market.book_updates) in the ClickHouse of a finished run."""
    command = [sys.executable, "-c", CLICKHOUSE_HOLDS, str(data_dir / "clickhouse")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    holes, records = (int(cell) for cell in done.stdout.strip().split(","))
    return holes, records


def quote_facts(parquet: Path, runs: int = 1) -> dict[str, list[tuple[int, str]]]:
    """market -> (best bid/offer changes, sha256 without seq) of each run, in order: stale quotes left out,
    equal neighbours collapsed, repeats of an idempotency_key dropped. Sessions of one run (a reconnect) are one."""
    lines: dict[str, list[list[str]]] = defaultdict(list)
    for archived in iter_records(parquet, "market.quote_updates", drop_repeated=True):
        quote: Any = archived.record.payload  # type: ignore[union-attr]
        market = lines[quote.market_ticker]
        if quote.status == "stale":
            continue
        cells = (quote.yes_bb_px_e4, quote.yes_bb_sz_e2, quote.yes_ba_px_e4, quote.yes_ba_sz_e2)
        line = " ".join("-" if cell is None else str(cell) for cell in cells) + "\n"
        # A capture ends with its market closed: an empty book, and after it a first level is the next run's.
        if not market or (market[-1][-1] == EMPTY and line != EMPTY and len(market) < runs):
            market.append([line])
        elif market[-1][-1] != line:
            market[-1].append(line)
    return {
        m: [(len(rows), hashlib.sha256("".join(rows).encode()).hexdigest()) for rows in sessions]
        for m, sessions in lines.items()
    }


def trade_facts(parquet: Path) -> dict[str, tuple[int, int]]:
    """market -> (trades, volume e2), once per trade_id."""
    seen: set[str] = set()
    facts: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for archived in iter_records(parquet, "market.trades"):
        trade: Any = archived.record.payload  # type: ignore[union-attr]
        if trade.trade_id not in seen:
            seen.add(trade.trade_id)
            count, volume = facts[trade.market_ticker]
            facts[trade.market_ticker] = count + 1, volume + trade.count_e2
    return dict(facts)


def fold_capture(path: Path) -> tuple[str, str, dict[str, tuple[int, str]]]:
    """(market, sha256 of the depth text, its BBO facts with seq left out) of one capture, by `domain.book` alone, on
    the recorded frames. A snapshot with a seq below the sid's last starts a new session, as a reconnect does."""
    parser, book, applied, last_seq, market = FrameParser(), Book(), 0, -1, ""
    depth, tops = hashlib.sha256(), []
    session = 0
    book.start_session("0")
    for captured in read_capture(path):
        frame = parser.parse(captured.text.encode())
        if isinstance(frame, SnapshotFrame):
            if frame.seq < last_seq:
                session += 1
                book.start_session(str(session))
            verdict = book.apply_snapshot(str(session), frame.sid, frame.seq, frame.yes, frame.no)
        elif isinstance(frame, DeltaFrame):
            verdict = book.apply_delta(str(session), frame.sid, frame.seq, frame.side, frame.price_e4, frame.delta_e2)
        else:
            continue
        last_seq, market = frame.seq, frame.market_ticker
        if verdict not in (APPLIED, APPLIED_BELOW_TOP):
            continue
        applied += 1
        if not tops or tops[-1] != book.top()[1:]:
            tops.append(book.top()[1:])
        if applied % 100 == 0:
            depth.update(f"@{applied}\n{book_text(book)}".encode())
    return market, depth.hexdigest(), {market: (len(tops), "")}


def book_text(book: Book) -> str:
    """YES ascending, then NO ascending: `<Y|N> <price> <size>`."""
    return "".join(f"Y {p} {s}\n" for p, s in sorted(book.yes.items())) + "".join(
        f"N {p} {s}\n" for p, s in sorted(book.no.items())
    )
