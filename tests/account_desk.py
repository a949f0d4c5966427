"""For account tests: a publisher that keeps what it is given, and the agents' pure parts folding it."""

from collections import Counter
from typing import Any

from domain.fill_facts import KnownFill
from domain.fills import SeenEntry, judge
from domain.orders import KnownOrder, apply_report
from domain.position_ledger import (
    MarketLedger,
    PositionState,
    apply_fill,
    apply_opening,
    apply_settlement,
    apply_venue_report,
)
from domain.positions import Opening, Settlement
from domain.times import watermark_ms
from schemas import account_records as a
from schemas.registry import decoder, topic_named
from venues.simulator.account_ledger import Ledger


class KeepingPublisher:
    """Takes records like the real one, decodes each strictly; `acknowledges` decides what `flush` says."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, Any]] = []
        self.is_full = False
        self.acknowledges = True

    def add(self, topic: str, key: str, value: bytes, ts_ms: int) -> None:
        self.records.append((topic, key, decoder(topic_named(topic)).decode(value)))

    async def flush(self, timeout_s: float) -> bool:
        return self.acknowledges

    def of(self, topic: str) -> list[Any]:
        return [record for name, _, record in self.records if name == topic]


class Desk:
    """What the agents would hold after these records, in this order."""

    def __init__(self) -> None:
        self.seen: dict[str, SeenEntry] = {}
        self.fills: dict[str, KnownFill] = {}
        self.ledgers: dict[str, MarketLedger] = {}
        self.orders: dict[str, KnownOrder] = {}
        self.listed: dict[str, list[str]] = {}
        self.verdicts: Counter[str] = Counter()
        self.moves: Counter[str] = Counter()
        self._newest_ms = 0

    def read(self, record: Any) -> None:
        payload = record.payload
        if isinstance(record, a.FillReport):
            self._read_fill(record)
        elif isinstance(record, a.OrderReport):
            step = apply_report(self.orders.get(payload.order_id), payload)
            self.moves[step.move] += 1
            self.orders[payload.order_id] = step.order
        elif isinstance(record, a.RestingOrders):
            self.listed[payload.market_ticker] = payload.order_ids
        elif isinstance(record, a.OpeningPosition):
            opening = Opening(
                payload.position_e2, payload.cost_e6, payload.realized_pnl_e6, payload.fees_e6, payload.as_of_ms
            )
            self._step(payload.market_ticker, lambda state, chunks: apply_opening(state, chunks.__getitem__, opening))
        elif isinstance(record, a.SettlementReport):
            settlement = Settlement(payload.value_e4, payload.revenue_e6, payload.settled_ts_ms)
            self._step(payload.market_ticker, lambda state, _: apply_settlement(state, settlement))
        elif isinstance(record, a.PositionReport):
            position = payload.position_e2
            self._step(payload.market_ticker, lambda state, _: apply_venue_report(state, position, payload.as_of_ms))

    def _read_fill(self, record: a.FillReport) -> None:
        report = record.payload
        self._newest_ms = watermark_ms(self._newest_ms, report.ts_ms, record.ts_ingest, 0)
        judgement = judge(report, self.seen.get, self._newest_ms)
        self.verdicts[judgement.verdict] += 1
        self.seen.update(judgement.writes)
        for change in judgement.changes:
            self.fills[change.fill.fill_id] = change.fill
            self._step(
                report.market_ticker,
                lambda state, chunks, c=change: apply_fill(state, chunks.__getitem__, c.fill, c.previous),
            )

    @property
    def states(self) -> dict[str, PositionState]:
        return {ticker: ledger.state for ticker, ledger in self.ledgers.items()}

    def _step(self, ticker: str, apply: Any) -> None:
        ledger = self.ledgers.setdefault(ticker, MarketLedger(PositionState(ticker)))
        ledger.assign(apply(ledger.state, ledger.chunks))

    def assert_equals(self, ledger: Ledger) -> None:
        """Fills one by one, positions, fees and live orders are the simulated account's own, to the last integer."""
        ours = sorted(
            (f.order_id, f.side, f.action, f.price_e4, f.count_e2, f.fee_e6, f.ts_ms) for f in self.fills.values()
        )
        true = sorted(
            (f.order.order_id, f.order.side, f.order.action, f.price_e4, f.count_e2, f.fee_e6, f.ts_us // 1_000)
            for f in ledger.fills
        )
        assert ours == true
        states = self.states
        for ticker, position in ledger.positions.items():
            state = states[ticker]
            assert (state.fold.count_e2, state.sums.fees_e6) == (position.net_e2, position.fees_e6), ticker
            assert state.fold.realized_e6 - state.fold.cost_e6 == position.cash_e6, ticker
        live = {o.order_id: o.remaining_e2 for o in self.orders.values() if o.status == "resting"}
        assert live == {order.order_id: order.remaining_e2 for order in ledger.resting()}
