"""The catalogue of topics: name, records, the one writer, key, retention. Nobody else spells a topic name.

A new topic is one entry here; a new record type is one more class in its entry. `topics apply` creates exactly these
(plus one changelog per table), Parquet and the dead-letter commands walk it.
"""

from dataclasses import dataclass
from functools import cache, reduce
from operator import or_
from typing import Any, Literal

import msgspec

from schemas import account_records as a
from schemas import clock_records as c
from schemas import order_records as o
from schemas import records as r

RetentionClass = Literal["stream", "forever", "status", "dead_letter"]
Scope = Literal["market", "desk"]


@dataclass(frozen=True)
class Topic:
    """One topic. `key` names the payload field that keys it (None: see the comment at the entry).

    `scope`: a "market" topic has TOPIC_PARTITIONS partitions; a "desk" topic has one, a total order, for what concerns
    the whole desk.

    `retention`: "stream" follows BUS_STREAM_RETENTION_HOURS and a bound in bytes; "forever" is never deleted and
    flushed on every message (account and execution truth); "status" an hour; "dead_letter" has its own setting.
    """

    name: str
    records: tuple[type[r.Record], ...]
    writer: str
    key: str | None
    retention: RetentionClass
    scope: Scope = "market"

    def partitions(self, market_partitions: int) -> int:
        """How many partitions it has, where market topics have that many."""
        return market_partitions if self.scope == "market" else 1


BOOK_UPDATES = Topic(
    "market.book_updates", (r.BookSnapshot, r.BookDelta, r.BookReset), "producer market", "market_ticker", "stream"
)
# Keyed by partition number: every partition hears the producer each second, whatever the markets do.
FEED_STATUS = Topic("market.feed_status", (r.FeedHeartbeat,), "producer market", "partition", "status")
SNAPSHOT_REQUESTS = Topic(
    "market.snapshot_requests", (r.SnapshotRequest,), "agent maintain_books", "market_ticker", "stream"
)
TRADES = Topic("market.trades", (r.Trade,), "producer market", "market_ticker", "stream")
QUOTE_UPDATES = Topic("market.quote_updates", (r.QuoteUpdate,), "agent maintain_books", "market_ticker", "stream")
FILL_REPORTS = Topic("account.fill_reports", (a.FillReport,), "producer account", "market_ticker", "forever")
ORDER_REPORTS = Topic(
    "account.order_reports", (a.OrderReport, a.RestingOrders), "producer account", "market_ticker", "forever"
)
POSITION_REPORTS = Topic(
    "account.position_reports",
    (a.PositionReport, a.OpeningPosition, a.SettlementReport, a.PositionCorrection),
    "producer account",
    "market_ticker",
    "forever",
)
FILLS = Topic("execution.fills", (a.Fill, a.FillAmended), "agent dedup_fills", "market_ticker", "forever")
POSITIONS = Topic("execution.positions", (a.Position,), "agent track_positions", "market_ticker", "forever")
ORDER_STATES = Topic("execution.order_states", (a.OrderState,), "agent track_orders", "market_ticker", "forever")
# Nothing sends orders yet: the topic stands so that what reads it is ready.
ORDERS = Topic("execution.orders", (o.OrderAction,), "agent route_orders", "market_ticker", "forever")
DECISION_LINKS = Topic(
    "execution.decision_links", (o.DecisionLink,), "agent link_decisions", "market_ticker", "forever"
)
# Keyed by partition; each processor that acts by the clock writes its own ticks, and reads them back after a restart.
MARKET_TICKS = Topic(
    "clock.market_ticks", (c.TickEpoch, c.Tick), "market processors that tick, each its own", "partition", "stream"
)
DESK_TICKS = Topic(
    "clock.desk_ticks", (c.TickEpoch, c.Tick), "desk processors that tick, each its own", "partition", "stream", "desk"
)
# Keyed by the refused record's own key (frames: the market if one could be read, else the session).
DLQ = Topic("dlq", (r.DeadLetter,), "everybody", None, "dead_letter")

TOPICS: tuple[Topic, ...] = (
    BOOK_UPDATES,
    FEED_STATUS,
    SNAPSHOT_REQUESTS,
    TRADES,
    QUOTE_UPDATES,
    FILL_REPORTS,
    ORDER_REPORTS,
    POSITION_REPORTS,
    FILLS,
    POSITIONS,
    ORDER_STATES,
    ORDERS,
    DECISION_LINKS,
    MARKET_TICKS,
    DESK_TICKS,
    DLQ,
)

CHANGELOG_PREFIX = "kalshi-streams"


def changelog_topic(table: str) -> str:
    """Independent of the Faust app id, so that a renamed group keeps its state."""
    return f"{CHANGELOG_PREFIX}.{table}-changelog"


def topic_named(name: str) -> Topic:
    """The entry of that name. Raises KeyError with the known names."""
    for topic in TOPICS:
        if topic.name == name:
            return topic
    raise KeyError(f"expected one of {[t.name for t in TOPICS]}, was {name!r}")


@cache
def decoder(topic: Topic) -> "msgspec.json.Decoder[Any]":
    """The strict decoder of all records of one topic (msgspec picks the class by `event_type`)."""
    return msgspec.json.Decoder(reduce(or_, topic.records))
