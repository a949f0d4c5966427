"""Which BTC markets there are at a moment: listed, opened, closed, determined, settled, and rolled over to the next."""

import json
from typing import TYPE_CHECKING

from venues.simulator import windows
from venues.simulator.channels import LIFECYCLE
from venues.simulator.config import EXCHANGE_INDEX, SimConfig
from venues.simulator.market import FORGOTTEN_AFTER_MS, Market
from venues.simulator.market_wire import Series, event_body, price_ranges
from venues.simulator.vintages import TODAY

if TYPE_CHECKING:
    from venues.simulator.generator import Generator

AHEAD_MS = 120_000  # the next window's markets are listed so long before they open
DETERMINED_AFTER_MS = 2_000
SERIES = {
    "KXBTCD": ("Bitcoin price Above/below", "hourly"),
    "KXBTC15M": ("BTC Up or Down - 15 minutes", "fifteen_min"),
}


class Listing:
    """Drives the generator's markets through their lives."""

    def __init__(self, generator: "Generator", config: SimConfig) -> None:
        self._venue = generator
        self._strikes = config.strikes
        self._spacing = 100 if config.strikes <= 24 else 25
        self._listed_to = {"KXBTCD": 0, "KXBTC15M": 0}
        self._first = True
        self._due_ms = 0
        for ticker, (title, frequency) in SERIES.items():
            generator.hub.series[ticker] = Series(ticker, title, frequency, updated_ms=generator.now_ms)

    def advance(self, now_ms: int) -> None:
        """Everything that is due by `now_ms`, in the order of life."""
        if now_ms < self._due_ms:
            return
        self._list_window("KXBTCD", windows.HOUR_MS, now_ms)
        self._list_window("KXBTC15M", windows.QUARTER_MS, now_ms)
        for market in list(self._venue.hub.markets.values()):
            self._live(market, now_ms)
        self._first = False
        self._due_ms = now_ms + 250

    def add(self, ticker: str, floor_strike: float | None, open_ms: int, close_ms: int) -> bool:
        """List one more market and open it."""
        if ticker in self._venue.hub.markets:
            return False
        strike = floor_strike if floor_strike is not None else round(self._venue.spot.dollars)
        self._created(_market(ticker, ticker.rpartition("-")[0] or ticker, open_ms, close_ms, strike))
        self._open(self._venue.hub.markets[ticker])
        return True

    def settle_now(self, ticker: str, result: str | None, now_ms: int) -> bool:
        """Close, determine and settle one market that is not settled yet."""
        market = self._venue.hub.markets.get(ticker)
        if market is None or market.status == "finalized":
            return False
        if market.status in ("initialized", "active"):
            market.close_ms = now_ms
            self._close(market)
        self._determine(market, result)
        self._settle(market, now_ms)
        return True

    def _list_window(self, series: str, window_ms: int, now_ms: int) -> None:
        close_ms = windows.next_close_ms(now_ms, window_ms)
        ends = [close_ms] if close_ms - now_ms > AHEAD_MS else [close_ms, close_ms + window_ms]
        for end_ms in ends:
            if end_ms > self._listed_to[series]:
                self._listed_to[series] = end_ms
                for market in self._hourly(end_ms) if series == "KXBTCD" else [self._quarter(end_ms)]:
                    # The hour that the clocks go back has the names of the hour before it: one of the two is left out.
                    if market.ticker not in self._venue.hub.markets:
                        self._created(market)

    def _hourly(self, close_ms: int) -> list[Market]:
        event = windows.hourly_event(close_ms)
        middle = round(self._venue.spot.dollars / self._spacing) * self._spacing
        strikes = [middle + (n - self._strikes // 2) * self._spacing for n in range(self._strikes)]
        markets = []
        for strike in strikes:
            floor = round(strike - 0.01, 2)
            market = _market(windows.hourly_ticker(event, floor), event, close_ms - windows.HOUR_MS, close_ms, floor)
            market.title = "Bitcoin price today at the hour?"
            market.yes_sub_title = f"${strike:,} or above"
            markets.append(market)
        return markets

    def _quarter(self, close_ms: int) -> Market:
        event = windows.quarter_event(close_ms)
        market = _market(windows.quarter_ticker(event), event, close_ms - windows.QUARTER_MS, close_ms, None)
        market.title = "BTC price up in next 15 mins?"
        market.yes_sub_title = "Target price: TBD"
        market.strike_type = "greater_or_equal"
        market.structure = "tapered_deci_cent"
        market.settlement_timer_s = 1
        return market

    def _live(self, market: Market, now_ms: int) -> None:
        if market.status == "initialized" and now_ms >= market.open_ms:
            self._open(market)
        if market.status == "active" and now_ms >= market.close_ms:
            self._close(market)
        if market.status == "closed" and now_ms >= market.close_ms + DETERMINED_AFTER_MS:
            self._determine(market, None)
        settle_ms = market.close_ms + DETERMINED_AFTER_MS + market.settlement_timer_s * 1_000
        if market.status == "determined" and now_ms >= settle_ms:
            self._settle(market, now_ms)
        if market.status == "finalized" and now_ms >= market.close_ms + FORGOTTEN_AFTER_MS:
            self._venue.hub.forget_market(market.ticker)

    def _created(self, market: Market) -> None:
        market.created_ms = market.updated_ms = self._venue.now_ms
        self._new_event(market)
        self._venue.hub.add_market(market)
        known = {"strike_type": market.strike_type, "floor_strike": market.floor_strike}
        more = {
            "name": market.yes_sub_title,
            "title": market.title,
            "yes_sub_title": market.yes_sub_title,
            "no_sub_title": market.yes_sub_title,
            "rules_primary": "",
            "rules_secondary": "",
            "can_close_early": True,
            "event_ticker": market.event_ticker,
            "expected_expiration_ts": market.close_ms // 1_000 + 300,
            **{key: value for key, value in known.items() if value is not None},
        }
        times = {"open_ts": market.open_ms // 1_000, "close_ts": market.close_ms // 1_000}
        terms: dict[str, object] = {"price_level_structure": market.structure}
        if self._venue.hub.rest_vintage == TODAY:
            terms |= {"price_ranges": price_ranges(market.structure), "exchange_index": EXCHANGE_INDEX}
        self._say(market, "created", **times, **terms, additional_metadata=more)

    def _new_event(self, market: Market) -> None:
        """Since autumn 2026 the first market of an event is preceded by the event."""
        hub = self._venue.hub
        if hub.rest_vintage != TODAY or any(m.event_ticker == market.event_ticker for m in hub.markets.values()):
            return
        event = event_body([market], TODAY, nested=False)
        body = {
            **{name: event[name] for name in ("event_ticker", "series_ticker", "title", "collateral_return_type")},
            "subtitle": event["sub_title"],
            "exchange_index": EXCHANGE_INDEX,
            "strike_date": market.close_ms // 1_000,
        }
        hub.publish_all(LIFECYCLE, "event_lifecycle", json.dumps(body, separators=(",", ":")))

    def _open(self, market: Market) -> None:
        market.status = "active"
        if market.floor_strike is None:  # the 15-minute target is only known now; it arrives as new metadata
            market.floor_strike = round(self._venue.spot.mean_dollars(), 2)
            market.yes_sub_title = f"Target Price: ${market.floor_strike:,.2f}"
            market.updated_ms = self._venue.now_ms
            more = {"floor_strike": market.floor_strike, "yes_sub_title": market.yes_sub_title}
            self._say(market, "metadata_updated", **more)
        self._venue.open(market, quietly=self._first)

    def _close(self, market: Market) -> None:
        market.status = "closed"
        self._venue.close(market)

    def _determine(self, market: Market, result: str | None) -> None:
        value, strike = round(self._venue.spot.mean_dollars(), 2), market.floor_strike or 0.0
        above = value >= strike if market.strike_type == "greater_or_equal" else value > strike
        market.status = "determined"
        market.result = result or ("yes" if above else "no")
        market.expiration_value = f"{value:.2f}"
        settlement = "1.0000" if market.result == "yes" else "0.0000"
        at_s = self._venue.now_ms // 1_000
        self._say(market, "determined", result=market.result, settlement_value=settlement, determination_ts=at_s)

    def _settle(self, market: Market, now_ms: int) -> None:
        market.status = "finalized"
        market.settled_ms = now_ms
        self._say(market, "settled", settled_ts=now_ms // 1_000)

    def _say(self, market: Market, event_type: str, **more: object) -> None:
        body = {"event_type": event_type, "market_ticker": market.ticker, **more}
        self._venue.lifecycle(market, json.dumps(body, separators=(",", ":")))


def _market(ticker: str, event: str, open_ms: int, close_ms: int, floor: float | None) -> Market:
    series = ticker.partition("-")[0]
    return Market(ticker, event, series, open_ms, close_ms, status="initialized", floor_strike=floor)
