"""Markets, events, series and trades in the venue's words, as REST answers, in the vintages c and d."""

from dataclasses import dataclass

from domain.units import DOLLAR_E4, contracts_text, dollars_text
from venues.simulator.account_wire import outcome
from venues.simulator.config import EXCHANGE_INDEX
from venues.simulator.market import PRICE_RANGES, Market, time_text
from venues.simulator.vintages import ABSENT, Body, Field, told
from venues.simulator.wire import iso_text

ARCHIVE_AFTER_S = 604_800
SOURCES = [{"name": "CF Benchmarks", "url": "https://www.cfbenchmarks.com/"}]


def price_ranges(structure: str) -> list[Body]:
    """The allowed prices, as steps between two prices."""
    ranges = PRICE_RANGES.get(structure, PRICE_RANGES["linear_cent"])
    return [{"start": start, "end": end, "step": step} for start, end, step in ranges]


def _yes_e4(market: Market) -> int:
    return max(market.book.yes, default=0)


def _no_e4(market: Market) -> int:
    return max(market.book.no, default=0)


def _expected_ms(market: Market) -> int:
    return market.close_ms + 300_000


# An empty side shows as 0 and 1 dollar.
_MARKET: list[Field[Market]] = [
    Field("ticker", lambda m: m.ticker),
    Field("event_ticker", lambda m: m.event_ticker),
    Field("exchange_index", lambda _: EXCHANGE_INDEX, "d"),
    Field("market_type", lambda _: "binary"),
    Field("title", lambda m: m.title),
    Field("subtitle", lambda m: m.yes_sub_title, "d"),
    Field("yes_sub_title", lambda m: m.yes_sub_title),
    Field("no_sub_title", lambda m: m.yes_sub_title),
    Field("created_time", lambda m: time_text(m.created_ms or m.open_ms), "d"),
    Field("updated_time", lambda m: time_text(m.updated_ms or m.created_ms or m.open_ms), "d"),
    Field("open_time", lambda m: time_text(m.open_ms)),
    Field("close_time", lambda m: time_text(m.close_ms)),
    Field("expected_expiration_time", lambda m: time_text(_expected_ms(m))),
    Field("latest_expiration_time", lambda m: time_text(_expected_ms(m) + ARCHIVE_AFTER_S * 1_000)),
    Field("expiration_time", lambda m: time_text(_expected_ms(m) + ARCHIVE_AFTER_S * 1_000)),
    Field("settlement_timer_seconds", lambda m: m.settlement_timer_s),
    Field("status", lambda m: m.status),
    Field("yes_bid_dollars", lambda m: dollars_text(_yes_e4(m))),
    Field("yes_ask_dollars", lambda m: dollars_text(DOLLAR_E4 - _no_e4(m))),
    Field("no_bid_dollars", lambda m: dollars_text(_no_e4(m))),
    Field("no_ask_dollars", lambda m: dollars_text(DOLLAR_E4 - _yes_e4(m))),
    Field("yes_bid_size_fp", lambda m: contracts_text(m.book.yes.get(_yes_e4(m), 0))),
    Field("yes_ask_size_fp", lambda m: contracts_text(m.book.no.get(_no_e4(m), 0))),
    Field("last_price_dollars", lambda m: dollars_text(m.last_yes_e4)),
    # No market here is a day old: a day ago there was no price.
    Field("previous_yes_bid_dollars", lambda _: dollars_text(0), "d"),
    Field("previous_yes_ask_dollars", lambda _: dollars_text(DOLLAR_E4), "d"),
    Field("previous_price_dollars", lambda _: dollars_text(0), "d"),
    Field("volume_fp", lambda m: contracts_text(m.volume_e2)),
    Field("volume_24h_fp", lambda m: contracts_text(m.volume_e2), "d"),
    Field("open_interest_fp", lambda m: contracts_text(m.volume_e2)),
    # Gone from the official SDK's model; a client of autumn 2026 still requires it, so the venue goes on saying it.
    Field("liquidity_dollars", lambda _: dollars_text(0), "d"),
    Field("notional_value_dollars", lambda _: dollars_text(DOLLAR_E4)),
    Field("result", lambda m: m.result),
    Field("can_close_early", lambda _: True),
    Field("early_close_condition", lambda _: "The market closes early if the index is no longer published.", "d"),
    Field("expiration_value", lambda m: m.expiration_value),
    Field("settlement_bounds_type", lambda _: "default", "d"),
    Field("strike_type", lambda m: m.strike_type),
    Field("floor_strike", lambda m: ABSENT if m.floor_strike is None else m.floor_strike),
    Field(
        "rules_primary",
        lambda m: f"If the 60 second mean of the index before the close is {m.strike_type} the strike, it is YES.",
    ),
    Field("rules_secondary", lambda _: ""),
    Field("price_level_structure", lambda m: m.structure),
    Field("price_ranges", lambda m: price_ranges(m.structure)),
    Field("settlement_ts", lambda m: ABSENT if m.settled_ms is None else time_text(m.settled_ms)),
    Field(
        "settlement_value_dollars",
        lambda m: ABSENT if m.settled_ms is None else dollars_text(DOLLAR_E4 if m.result == "yes" else 0),
    ),
]


@dataclass(frozen=True, slots=True)
class Event:
    """The markets of one event, at least one. `nested`: the answer holds them."""

    markets: tuple[Market, ...]
    vintage: str
    nested: bool = False

    @property
    def first(self) -> Market:
        """What they share is read of it."""
        return self.markets[0]


_EVENT: list[Field[Event]] = [
    Field("event_ticker", lambda e: e.first.event_ticker),
    Field("series_ticker", lambda e: e.first.series_ticker),
    Field("exchange_index", lambda _: EXCHANGE_INDEX, "d"),
    Field("title", lambda e: e.first.title or e.first.event_ticker),
    Field("sub_title", lambda e: time_text(e.first.close_ms)),
    Field("strike_date", lambda e: time_text(e.first.close_ms)),
    Field("mutually_exclusive", lambda _: False),
    Field("collateral_return_type", lambda _: ""),
    Field("category", lambda _: "Crypto"),
    Field("settlement_sources", lambda _: SOURCES, "d"),
    Field("last_updated_ts", lambda e: time_text(max(m.updated_ms or m.open_ms for m in e.markets)), "d"),
    Field("markets", lambda e: [market_body(m, e.vintage) for m in e.markets] if e.nested else ABSENT),
]


@dataclass(frozen=True, slots=True)
class Series:
    """What all events of a series share. Times in ms."""

    ticker: str
    title: str
    frequency: str
    fee_type: str = "quadratic"
    updated_ms: int = 0


_SERIES: list[Field[Series]] = [
    Field("ticker", lambda s: s.ticker),
    Field("title", lambda s: s.title),
    Field("frequency", lambda s: s.frequency),
    Field("category", lambda _: "Crypto"),
    Field("categories", lambda _: ["Crypto"], "d"),
    Field("tags", lambda _: ["BTC"]),
    Field("settlement_sources", lambda _: SOURCES),
    Field("contract_url", lambda s: f"https://www.cfbenchmarks.com/contracts/{s.ticker}.pdf", "d"),
    Field("contract_terms_url", lambda s: f"https://www.cfbenchmarks.com/terms/{s.ticker}.pdf", "d"),
    Field("fee_type", lambda s: s.fee_type),
    Field("fee_multiplier", lambda _: 1),
    Field("additional_prohibitions", lambda _: [], "d"),
    Field("exchange_index", lambda _: EXCHANGE_INDEX, "d"),
    Field("last_updated_ts", lambda s: time_text(s.updated_ms), "d"),
]


@dataclass(frozen=True, slots=True)
class Trade:
    """One public trade at the YES price."""

    trade_id: str
    ticker: str
    yes_e4: int
    count_e2: int
    taker_side: str
    ts_ms: int


_TRADE: list[Field[Trade]] = [
    Field("trade_id", lambda t: t.trade_id),
    Field("ticker", lambda t: t.ticker),
    Field("count_fp", lambda t: contracts_text(t.count_e2)),
    Field("yes_price_dollars", lambda t: dollars_text(t.yes_e4)),
    Field("no_price_dollars", lambda t: dollars_text(DOLLAR_E4 - t.yes_e4)),
    Field("taker_side", lambda t: t.taker_side),
    Field("taker_outcome_side", lambda t: t.taker_side, "d"),
    Field("taker_book_side", lambda t: outcome(t.taker_side, "buy")[1], "d"),
    Field("is_block_trade", lambda _: False, "d"),
    Field("created_time", lambda t: iso_text(t.ts_ms)),
]


def market_body(market: Market, vintage: str) -> Body:
    """One market."""
    return told(_MARKET, market, vintage)


def event_body(markets: list[Market], vintage: str, *, nested: bool) -> Body:
    """One event, with its markets inside where they are asked for."""
    return told(_EVENT, Event(tuple(markets), vintage, nested), vintage)


def series_body(series: Series, vintage: str) -> Body:
    """One series."""
    return told(_SERIES, series, vintage)


def trade_body(trade: Trade, vintage: str) -> Body:
    """One item of GET /markets/trades."""
    return told(_TRADE, trade, vintage)


def ladder(levels: dict[int, int], depth: int, vintage: str) -> list[list[str]] | None:
    """A side of GET .../orderbook: ascending, the best last; only the best `depth`. Before d an empty side is null."""
    best = sorted(levels.items())[-depth:] if depth > 0 else sorted(levels.items())
    shown = [[dollars_text(price), contracts_text(size)] for price, size in best]
    return shown or ([] if vintage == "d" else None)
