"""The fold behind `latest_levels`: the books of one partition, and the level rows that each run of records leaves.

The rules of the book are `domain.book`'s; here is only what the table shows. A reset writes no level (the book is not
to be trusted, its levels were real when they were seen); the next snapshot writes all its levels, and zeros for those
that went meanwhile. Of several changes of one level in a run only the last is kept: its `_offset` decides.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from domain.book import APPLIED, APPLIED_BELOW_TOP, STALE, Book, Level
from domain.errors import InvariantViolated
from sinks.clickhouse import arrays

CHANGED = (APPLIED, APPLIED_BELOW_TOP)
LevelKey = tuple[str, str, int]  # market_ticker, side, price_e4


class LevelRow(NamedTuple):
    """What `latest_levels` says of one level. `size_e2` is absolute, 0 means cleared; times in ms."""

    size_e2: int
    ts_ms: int
    ingest_ms: int
    seq: int
    offset: int


@dataclass
class MarketLevels:
    """A market's book and what the table shows of it. `shown_*` matter only while the book is stale (it has no
    levels then); while it is live the table shows the book."""

    market_id: str = ""
    book: Book = field(default_factory=Book)
    shown_yes: dict[int, int] = field(default_factory=dict)
    shown_no: dict[int, int] = field(default_factory=dict)

    def shown(self) -> tuple[dict[int, int], dict[int, int]]:
        """(YES, NO) levels in the table, price_e4 -> size_e2, zeros left out."""
        if self.book.status == STALE:
            return self.shown_yes, self.shown_no
        return self.book.yes, self.book.no

    def refuse(self, wrong: InvariantViolated, side: str, price_e4: int, delta_e2: int) -> None:
        """The book refused a delta: stale. A change that already stands in it never reaches the table."""
        if wrong.reason == "crossed_book":
            levels = self.book.yes if side == "yes" else self.book.no
            levels[price_e4] -= delta_e2
            if not levels[price_e4]:
                del levels[price_e4]
        self.stale("mark_stale")

    def stale(self, action: str, session_id: str = "") -> None:
        """Take the trust away, remember what the table shows. `action` names a method of Book."""
        self.shown_yes, self.shown_no = self.shown()
        method = getattr(self.book, action)
        if session_id:
            method(session_id)
        else:
            method()


class LevelFold:
    """All markets of one partition. `rows` collects what is to be written and is taken by `take_rows`."""

    def __init__(self) -> None:
        self.markets: dict[str, MarketLevels] = {}
        self.rows: dict[LevelKey, LevelRow] = {}

    def market(self, ticker: str) -> MarketLevels:
        """The market, stale and empty when it is new."""
        found = self.markets.get(ticker)
        if found is None:
            found = self.markets[ticker] = MarketLevels()
        return found

    def delta(
        self, ticker: str, session_id: str, sid: int, side: str, price_e4: int, delta_e2: int, row: LevelRow
    ) -> None:
        """One signed change; `row` brings times, seq and offset. Raises InvariantViolated, the book is stale then."""
        market = self.market(ticker)
        book = market.book
        try:
            verdict = book.apply_delta(session_id, sid, row.seq, side, price_e4, delta_e2)
        except InvariantViolated as wrong:
            market.refuse(wrong, side, price_e4, delta_e2)
            raise
        if verdict in CHANGED:
            levels = book.yes if side == "yes" else book.no
            self.rows[ticker, side, price_e4] = LevelRow(levels.get(price_e4, 0), *row[1:])

    def snapshot(
        self,
        ticker: str,
        market_id: str,
        session_id: str,
        sid: int,
        yes: Iterable[Level],
        no: Iterable[Level],
        row: LevelRow,
    ) -> None:
        """The whole book. Raises InvariantViolated, the book is stale then."""
        market = self.market(ticker)
        before = market.shown()
        try:
            verdict = market.book.apply_snapshot(session_id, sid, row.seq, yes, no)
        except InvariantViolated:
            market.stale("mark_stale")
            raise
        if verdict not in CHANGED:
            return
        market.market_id = market_id
        for side, old, new in zip(("yes", "no"), before, (market.book.yes, market.book.no), strict=True):
            for price_e4 in old.keys() - new.keys():
                self.rows[ticker, side, price_e4] = row
            for price_e4, size_e2 in new.items():
                self.rows[ticker, side, price_e4] = row._replace(size_e2=size_e2)

    def reset(self, ticker: str, session_id: str, reason: str) -> None:
        """The feed takes the trust away; a new session starts with `session_start`."""
        market = self.market(ticker)
        if reason == "session_start":
            market.stale("start_session", session_id)
        elif market.book.session_id in (None, session_id):
            market.stale("reset", session_id)

    def lost_records(self) -> None:
        """Offsets are missing before the next record: believe no book until its snapshot."""
        for market in self.markets.values():
            market.stale("forget_session")

    def take_rows(self) -> dict[LevelKey, LevelRow]:
        """What is to be written now; the fold starts a new collection."""
        rows, self.rows = self.rows, {}
        return rows

    def level_rows(self, rows: dict[LevelKey, LevelRow]) -> pa.Table:
        """Collected rows as columns of `latest_levels`."""
        tickers, sides, prices = zip(*rows.keys(), strict=True)
        sizes, ts, ingest, seq, offsets = zip(*rows.values(), strict=True)
        return pa.table(
            {
                "market_id": pa.array([self.markets[ticker].market_id for ticker in tickers], pa.string()),
                "market_ticker": pa.array(tickers, pa.string()).dictionary_encode(),
                "side": pa.array(sides, pa.string()).dictionary_encode(),
                "price": arrays.scaled(pa.array(prices, pa.int64()), arrays.PRICE),
                "size": arrays.scaled(pa.array(sizes, pa.int64()), arrays.SIZE),
                "ts": arrays.times(pa.array(ts, pa.int64())),
                "ingest_ts": arrays.times(pa.array(ingest, pa.int64())),
                "seq": pa.array(seq, pa.int64()),
                "_offset": pa.array(offsets, pa.int64()),
            }
        )
