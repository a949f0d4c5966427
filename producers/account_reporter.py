"""What the venue said, into records of the account topics: the meeting point of push and poll.

Both say everything they hear; duplicates are by design. Only a position or an order state that says nothing new since a
while is held back, so that an idle account does not fill topics that are kept for ever.
"""

import json
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import structs

from domain.fill_facts import FILL_GATES
from domain.times import is_plausible
from producers.publisher import Publisher
from producers.said import REPEAT_S, Said
from schemas import account_records as a
from schemas.codec import canonical_json, encode_record
from schemas.records import Record
from schemas.registry import DLQ, FILL_REPORTS, ORDER_REPORTS, POSITION_REPORTS
from venues.kalshi.account import AccountRefused, fill_of
from venues.kalshi.account_direction import Channel
from venues.kalshi.account_records import (
    REST_SOURCE,
    WS_SOURCE,
    dead_letter,
    fill_report,
    opening_position,
    order_report,
    position_report,
    resting_orders,
    settlement_report,
)
from venues.kalshi.account_reports import (
    is_incomplete_order,
    order_id_of,
    order_in,
    order_of,
    position_after,
    position_of,
    settlement_of,
)

log = logging.getLogger("account")

#: A changed position is said once more so long after: whether it still differs from ours is judged by these two.
CONFIRM_S = 40.0
SETTLEMENT_REPEAT_S = 86_400.0  # of a settlement nothing can be lost that the next start does not say again
INCOMPLETE_MAX = 10_000  # orders to be asked for; the oldest go, which the walks of the orders find all the same
MARKETS_OF_FILLS_MAX = 100_000  # recent fill ids with their market, 15 MB

IMPLAUSIBLE_TIME = "implausible_time"  # a fill or a settlement of the future, by our clock
CONFLICTING_MARKET = "conflicting_market"  # beside the gates: two reports of one fill id contradict each other

_SOURCES: dict[Channel, str] = {"ws": WS_SOURCE, "rest": REST_SOURCE}
Item = dict[str, Any]


class AccountReporter:
    """One per process. `counts` and `first_refused` (reason -> sample) are for /status and the log."""

    def __init__(
        self,
        publisher: Publisher,
        session_id: str,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.incomplete: OrderedDict[str, None] = OrderedDict()  # orders that were named and not described
        self.opening_ms = -1  # fills at or before it are in the opening positions
        self._publisher = publisher
        self._session_id = session_id
        self._clock_ms = clock_ms
        self._reports = 0
        self._said = Said()
        self._market_of: OrderedDict[str, str] = OrderedDict()
        self._sane_sources: set[str] = set()
        self._resting_markets: set[str] = set()  # markets of the last list of resting orders

    # --- fills ---

    def read_fills(self, items: Iterable[Item], channel: Channel) -> list[a.FillReportPayload]:
        """The items that pass the gates, nameless ones among them; the others become dead letters."""
        batch = list(items)
        self._log_sanity(batch, channel)
        fills = []
        for item in batch:
            try:
                fills.append(self._believed(fill_of(item, channel)))
            except AccountRefused as refused:
                self._refuse(refused, item, channel)
        return fills

    def say_fill(self, fill: a.FillReportPayload, channel: Channel) -> None:
        """Publish one named fill, unless the opening positions contain it. The same id in another market is a
        contradiction, not a fill."""
        if fill.ts_ms <= self.opening_ms:
            self.counts["fills_in_opening"] += 1
            return
        known = self._market_of.setdefault(fill.fill_id, fill.market_ticker)
        if known != fill.market_ticker:
            detail = f"{fill.fill_id}: expected market {known}, was {fill.market_ticker}"
            item = json.loads(canonical_json(fill))
            self._refuse(AccountRefused(CONFLICTING_MARKET, detail, fill.market_ticker), item, channel)
            return
        if len(self._market_of) > MARKETS_OF_FILLS_MAX:
            self._market_of.popitem(last=False)
        record = fill_report(fill, _SOURCES[channel], self._clock_ms())
        self._publish(FILL_REPORTS.name, fill.market_ticker, record, f"fills_{channel}")

    def push_fill(self, item: Item) -> None:
        """A fill from the WebSocket. Without an id it waits for its REST twin: its ordinal cannot be known here."""
        for fill in self.read_fills([item], "ws"):
            if fill.fill_id:
                self.say_fill(fill, "ws")
            else:
                self.counts["ws_fills_without_id"] += 1
            self._say_position_after(fill, item)

    def _say_position_after(self, fill: a.FillReportPayload, item: Item) -> None:
        """A pushed fill tells the venue's position after it: compared with ours like every other word of the venue's,
        also where the positions' own channel is refused. An older fill that is told again is older than the last word
        by its own time."""
        if fill.ts_ms <= self.opening_ms:
            return
        try:
            position = position_after(item, fill)
        except AccountRefused as refused:
            self._refuse(refused, item, "ws")
            return
        if position is None:
            return
        self._said.forget(f"position rest {fill.market_ticker}")  # what a poll says next is news again
        self._say_position_report(position, "ws", "positions_after_fills")

    # --- orders, positions, settlements ---

    def say_order(self, item: Item, channel: Channel) -> a.OrderReportPayload | None:
        """Publish one order state; None where it was refused."""
        inner = order_in(item)
        if inner is None:
            self.counts["order_errors"] += 1
            return None
        if is_incomplete_order(inner, channel):
            self._note_incomplete(order_id_of(inner))
            return None
        try:
            order = self._without_impossible_times(order_of(inner))
        except AccountRefused as refused:
            self._refuse(refused, item, channel)
            return None
        if self._is_news(f"order {channel} {order.order_id}", canonical_json(order)):
            record = order_report(order, _SOURCES[channel], self._clock_ms())
            self._publish(ORDER_REPORTS.name, order.market_ticker, record, f"orders_{channel}")
        return order

    def _note_incomplete(self, order_id: str) -> None:
        """The next poll asks for it."""
        self.counts["orders_incomplete"] += 1
        self.incomplete[order_id] = None
        if len(self.incomplete) > INCOMPLETE_MAX:
            self.incomplete.popitem(last=False)

    def say_resting(self, resting: dict[str, str], as_of_ms: int) -> None:
        """Publish, per market, which orders rest by a complete walk (order id -> market). A market that is no longer
        among them has none."""
        listed: dict[str, list[str]] = {market_ticker: [] for market_ticker in self._resting_markets}
        for order_id, market_ticker in sorted(resting.items()):
            listed.setdefault(market_ticker, []).append(order_id)
        self._resting_markets = set(resting.values())
        for market_ticker, order_ids in sorted(listed.items()):
            if self._is_news(f"resting {market_ticker}", canonical_json(order_ids)):
                self._reports += 1
                payload = a.RestingOrdersPayload(market_ticker=market_ticker, order_ids=order_ids, as_of_ms=as_of_ms)
                record = resting_orders(payload, self._session_id, self._reports)
                self._publish(ORDER_REPORTS.name, market_ticker, record, "resting_rest")

    def say_position(self, item: Item, channel: Channel) -> a.PositionReportPayload | None:
        """Publish one position; None where it was refused."""
        try:
            position = position_of(item, channel, self._clock_ms())
        except AccountRefused as refused:
            self._refuse(refused, item, channel)
            return None
        content = {**json.loads(canonical_json(position)), "as_of_ms": 0}
        what = f"position {channel} {position.market_ticker}"
        if self._is_news(what, canonical_json(content), confirm_s=CONFIRM_S):
            self._say_position_report(position, channel, f"positions_{channel}")
        return position

    def _say_position_report(self, position: a.PositionReportPayload, channel: Channel, what: str) -> None:
        self._reports += 1
        record = position_report(position, _SOURCES[channel], self._session_id, self._reports)
        self._publish(POSITION_REPORTS.name, position.market_ticker, record, what)

    def say_settlement(self, item: Item) -> a.SettlementReportPayload | None:
        """Publish one settlement; None where it was refused."""
        try:
            settlement = settlement_of(item)
            self._require_past(settlement.settled_ts_ms, settlement.market_ticker)
        except AccountRefused as refused:
            self._refuse(refused, item, "rest")
            return None
        if settlement.settled_ts_ms <= self.opening_ms:
            self.counts["settlements_in_opening"] += 1
        elif self._is_news(
            f"settlement {settlement.market_ticker}",
            canonical_json(settlement),
            SETTLEMENT_REPEAT_S,
            SETTLEMENT_REPEAT_S,
        ):
            record = settlement_report(settlement, self._clock_ms())
            self._publish(POSITION_REPORTS.name, settlement.market_ticker, record, "settlements_rest")
        return settlement

    def say_opening(self, opening: a.OpeningPositionPayload) -> None:
        """Publish the position before the first folded fill."""
        record = opening_position(opening, self._clock_ms())
        self._publish(POSITION_REPORTS.name, opening.market_ticker, record, "openings")

    # --- times ---

    def _believed(self, fill: a.FillReportPayload) -> a.FillReportPayload:
        """A fill without its own time is none that could be kept: ours in its place would be a lie."""
        self._require_past(fill.ts_ms, fill.market_ticker)
        return fill

    def _require_past(self, ts_ms: int, market_ticker: str) -> None:
        """Raises AccountRefused: the newest time seen, how far polls reach back and what tables remember follow it."""
        now_ms = self._clock_ms()
        if not is_plausible(ts_ms, now_ms):
            detail = f"{market_ticker}: expected a time of the past, was {ts_ms} ms, {ts_ms - now_ms} ms ahead of us"
            raise AccountRefused(IMPLAUSIBLE_TIME, detail, market_ticker)

    def _without_impossible_times(self, order: a.OrderReportPayload) -> a.OrderReportPayload:
        """An order's state is true whatever its times say: those that cannot be are left out."""
        now_ms = self._clock_ms()
        wrong: dict[str, None] = {}
        for name in ("created_ts_ms", "updated_ts_ms"):
            ts_ms = getattr(order, name)
            if ts_ms is not None and not is_plausible(ts_ms, now_ms):
                wrong[name] = None
        self.counts["orders_implausible_time"] += bool(wrong)
        return structs.replace(order, **wrong) if wrong else order

    # --- inside ---

    def _publish(self, topic: str, key: str, record: Record, what: str) -> None:
        self.counts[what] += 1
        self._publisher.add(topic, key, encode_record(record), record.ts_ingest)

    def _refuse(self, refused: AccountRefused, item: Item, channel: Channel) -> None:
        self.refused[refused.reason] += 1
        letter = dead_letter(refused, item, _SOURCES[channel], self._clock_ms())
        if not self._is_news(letter.idempotency_key, b""):
            return
        self._publish(DLQ.name, refused.market_ticker or self._session_id, letter, "dead_letters")
        is_fill = refused.reason in (*FILL_GATES, CONFLICTING_MARKET, IMPLAUSIBLE_TIME)
        name = "fills_dropped_invalid" if is_fill else "reports_dropped_invalid"
        event = {"event": name, "reason": refused.reason, "detail": refused.detail}
        log.warning(json.dumps({**event, "count": self.refused[refused.reason], "item_keys": sorted(item)[:30]}))

    def _is_news(self, what: str, content: bytes, confirm_s: float = REPEAT_S, repeat_s: float = REPEAT_S) -> bool:
        is_news = self._said.is_news(what, content, self._clock_ms(), confirm_s, repeat_s)
        self.counts["unchanged"] += not is_news
        return is_news

    def _log_sanity(self, batch: list[Item], channel: Channel) -> None:
        """The seeds' `fill_source_sanity`, once per channel and process."""
        if not batch or channel in self._sane_sources:
            return
        self._sane_sources.add(channel)
        sample = batch[0]
        has = {
            "has_fill_id": any(name in sample for name in ("fill_id", "trade_id")),
            "has_order_id": any(name in sample for name in ("order_id", "orderId")),
            "has_count": any(name in sample for name in ("count", "count_fp", "size", "qty")),
            "has_price_fields": any("price" in name for name in sample),
        }
        shape = {"batch_size": len(batch), "item_type": type(sample).__name__, "item_keys": sorted(sample)[:40]}
        log.info(json.dumps({"event": "fill_source_sanity", "channel": channel, **shape, **has}))
