"""Reads of the hot store, right without merges: for the market maker, the checks, and whoever asks for a best price.

Sides are bids only: a YES ask is 10000 - best NO bid with that NO level's size. Works with any
clickhouse-connect client: a server's, chDB's, or one of the read-only interface.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from domain.units import DOLLAR_E4

_BBO = """
with lv as
(
    select market_ticker, side, price, argMax(l.size, _offset) as last_size,
           argMax(l.ts, _offset) as last_ts, argMax(l.ingest_ts, _offset) as last_ingest, max(_offset) as last_offset
    from {db}.latest_levels as l
    where market_ticker in {tickers:Array(String)}
    group by market_ticker, side, price
)
select
    market_ticker,
    toInt64(maxIf(price, side = 'yes' and last_size > 0) * 10000) as yes_px,
    toInt64(argMaxIf(last_size, price, side = 'yes' and last_size > 0) * 100) as yes_sz,
    toInt64(maxIf(price, side = 'no' and last_size > 0) * 10000) as no_px,
    toInt64(argMaxIf(last_size, price, side = 'no' and last_size > 0) * 100) as no_sz,
    toUnixTimestamp64Milli(max(last_ingest)),
    toUnixTimestamp64Milli(argMax(last_ts, last_offset))
from lv group by market_ticker order by market_ticker"""


class Client(Protocol):
    """The one call used of a clickhouse-connect client."""

    def query(self, query: str, parameters: dict[str, Any] | None = None) -> Any: ...


class BestBidAsk(NamedTuple):
    """Best prices (e4) and sizes (e2) of one market, None where there is none; times in ms.

    `ingest_ts_ms` is when we saw the newest change (staleness goes by it), `exchange_ts_ms` when the venue made it.
    `limit_ms` is how old the newest change may be in this market's series.
    """

    market_ticker: str
    yes_bb_px: int | None
    yes_bb_sz: int | None
    yes_ba_px: int | None
    yes_ba_sz: int | None
    no_bb_px: int | None
    no_bb_sz: int | None
    no_ba_px: int | None
    no_ba_sz: int | None
    ingest_ts_ms: int
    exchange_ts_ms: int
    limit_ms: int

    def age_ms(self, now_ms: int) -> int:
        """Milliseconds since the newest change was seen."""
        return now_ms - self.ingest_ts_ms

    def is_stale(self, now_ms: int) -> bool:
        """Older than the limit of its series."""
        return self.age_ms(now_ms) > self.limit_ms


def get_batch_best_bid_ask(
    client: Client, tickers: Sequence[str], limits_ms: Mapping[str, int], database: str = "kalshi"
) -> dict[str, BestBidAsk]:
    """Best bid and ask of each market that has ever had a level; a market without any is absent.

    `limits_ms` is the setting MM_MAX_LEVEL_AGE_MS: how old levels may be, by series, "" for all others.
    Correct whatever was merged: the last size per level is taken by `_offset`, because many changes of one level share
    a millisecond.
    """
    result = client.query(_BBO.replace("{db}", database), parameters={"tickers": list(tickers)})
    rows = result.result_rows
    return {ticker: _best(ticker, level_age_limit_ms(ticker, limits_ms), *rest) for ticker, *rest in rows}


def _best(
    ticker: str, limit_ms: int, yes_px: int, yes_sz: int, no_px: int, no_sz: int, ingest_ms: int, venue_ms: int
) -> BestBidAsk:
    return BestBidAsk(
        market_ticker=ticker,
        yes_bb_px=yes_px if yes_sz else None,
        yes_bb_sz=yes_sz or None,
        yes_ba_px=DOLLAR_E4 - no_px if no_sz else None,
        yes_ba_sz=no_sz or None,
        no_bb_px=no_px if no_sz else None,
        no_bb_sz=no_sz or None,
        no_ba_px=DOLLAR_E4 - yes_px if yes_sz else None,
        no_ba_sz=yes_sz or None,
        ingest_ts_ms=ingest_ms,
        exchange_ts_ms=venue_ms,
        limit_ms=limit_ms,
    )


def level_age_limit_ms(ticker: str, limits_ms: Mapping[str, int]) -> int:
    """How old levels of this market may be: by series (the ticker up to its first `-`), else the limit of ""."""
    return limits_ms.get(ticker.split("-", 1)[0], limits_ms[""])
