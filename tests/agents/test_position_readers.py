"""What a store makes of execution.positions over kills: its newest row is what the agent holds, to the last integer."""

import random
from pathlib import Path
from typing import Any

from account_agents import AgentDesk
from account_trade import by_rest, traded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from schemas import account_records as a
from schemas.registry import DLQ, POSITIONS, decoder
from venues.kalshi.account_records import position_report, settlement_report


def venue_report(number: int, market_ticker: str, position_e2: int) -> a.PositionReport:
    """The venue's word on one market, after everything else."""
    payload = dict.fromkeys(a.PositionReportPayload.__struct_fields__, None) | {"market_ticker": market_ticker}
    payload |= {"position_e2": position_e2, "as_of_ms": (1 << 50) + number}
    return position_report(a.PositionReportPayload(**payload), "kalshi_ws", "session", number)


def newest_rows(desk: AgentDesk) -> dict[str, Any]:
    """As Postgres keeps them: repeated causes and repeated keys passed by, the newest (time, key) of each market."""
    causes: dict[tuple[str, int], tuple[int, int]] = {}
    first: dict[str, a.Position] = {}
    for row in desk.logs[POSITIONS.name]:
        record = decoder(POSITIONS).decode(row.value)
        if record.cause is not None:
            source, place = (record.cause.topic, record.cause.partition), (record.cause.offset, record.cause.n)
            if place <= causes.get(source, (-1, -1)):
                continue
            causes[source] = place
        first.setdefault(record.idempotency_key, record)
    newest: dict[str, a.Position] = {}
    for record in sorted(first.values(), key=lambda r: (r.ts_event, r.idempotency_key)):
        newest[record.payload.market_ticker] = record
    return newest


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
async def test_the_newest_row_is_the_position_however_the_inputs_interleave_after_a_kill(
    tmp_path: Path, seed: int
) -> None:
    """Fills and the venue's own reports come over two topics: a killed agent reads them again in another order."""
    dice = random.Random(seed)
    account = traded(seed % 7, 60)
    told: list[Any] = []
    for report in by_rest(account.ledger, old=False):
        if not isinstance(report, a.OrderReport):
            told.append(report)
            if dice.random() < 0.5:
                told.append(venue_report(len(told), report.payload.market_ticker, dice.randint(-5, 5) * 100))  # type: ignore[attr-defined]
    desk = AgentDesk(tmp_path)
    desk.report(told)
    for _ in range(80):
        agent = dice.choice((desk.fills, desk.positions, desk.positions))
        agent.take(dice.choice(agent.stage.sources), dice.randint(1, 6))
        if dice.random() < 0.3:
            await agent.checkpoint()
        if dice.random() < 0.25:
            desk.positions.kill(dice.choice((0, 0, 1, 2)))
    desk.drain()

    newest = newest_rows(desk)
    for key, position in desk.positions.task.table.items():
        state, row = position.state, newest[key.decode()].payload
        assert (row.pos_filled_e2, row.fills, row.revision) == (state.fold.count_e2, state.sums.fills, state.revision)
        assert (row.cost_e6, row.realized_pnl_e6) == (state.fold.cost_e6, state.fold.realized_e6)
        assert row.venue_position_e2 == (None if state.venue is None else state.venue.position_e2)


async def test_lasting_difference_to_the_venue_is_a_reason_and_an_agreement_ends_it(tmp_path: Path) -> None:
    """Named with both numbers, also after a restart that has to read the table first."""
    desk = AgentDesk(tmp_path)
    fold = desk.positions.fold

    def tell(number: int, position_e2: int) -> list[str]:
        desk.report([venue_report(number, "KX-A", position_e2)])
        while desk.positions.take("account.position_reports", 10):
            pass
        return list(fold.reasons([desk.positions.task]))

    desk.positions.task.start()
    assert tell(0, 300) == []
    assert tell(60_000, 300) == ["positions differ from the venue's own: KX-A (ours 0.00, venue 3.00)"]
    assert fold.gauges([desk.positions.task])["positions_drift_markets"][1] == 1
    await desk.positions.checkpoint()
    desk.positions.kill(0)
    desk.positions.task.start()
    assert len(fold.reasons([desk.positions.task])) == 1
    assert tell(61_000, 0) == []
    assert fold.gauges([desk.positions.task])["positions_drift_markets"][1] == 0


DAY_MS = 86_400_000


def settlement(market_ticker: str, settled_ts_ms: int, told_ms: int) -> a.SettlementReport:
    """The end of a market, as told later."""
    payload = a.SettlementReportPayload(
        market_ticker=market_ticker, result="yes", value_e4=10_000, yes_count_e2=100, no_count_e2=0,
        revenue_e6=1_000_000, fees_e6=None, settled_ts_ms=settled_ts_ms,
    )  # fmt: skip
    return settlement_report(payload, told_ms)


def told_at(market_ticker: str, position_e2: int, told_ms: int) -> a.PositionReport:
    """The venue's word at that time."""
    report = venue_report(told_ms, market_ticker, position_e2)
    payload = structs.replace(report.payload, as_of_ms=told_ms)
    return structs.replace(report, payload=payload, ts_event=told_ms, ts_ingest=told_ms)


async def test_settled_markets_leave_the_table_when_nothing_was_said_of_them_for_the_retention(tmp_path: Path) -> None:
    """It grew by every market ever held. Those that are open, or settled lately, stay, over restarts too."""
    begun_ms = 1_764_500_000_000
    desk = AgentDesk(tmp_path, fill_retention_days=90)

    async def at(day: int, *records: Any) -> set[str]:
        desk.report([*records, told_at("KX-NOW", 100, begun_ms + day * DAY_MS)])
        desk.drain()
        await desk.positions.checkpoint()
        return {key.decode() for key, _ in desk.positions.task.table.items()}

    held = {f"KX-{n}" for n in range(3)}
    open_ones = [told_at(ticker, 100, begun_ms) for ticker in sorted(held)]
    assert await at(0, *open_ones) == held | {"KX-NOW"}
    await at(1, settlement("KX-0", begun_ms, begun_ms + DAY_MS))
    await at(60, settlement("KX-1", begun_ms + 60 * DAY_MS, begun_ms + 60 * DAY_MS))
    assert await at(90) == held | {"KX-NOW"}
    desk.positions.kill(0)
    await at(93)
    assert await at(94) == {"KX-1", "KX-2", "KX-NOW"}


async def test_correction_of_a_market_that_is_forgotten_is_refused(tmp_path: Path) -> None:
    """It would begin at zero, and be read as a position."""
    begun_ms = 1_764_500_000_000
    desk = AgentDesk(tmp_path, fill_retention_days=90)
    desk.report([settlement("KX-0", begun_ms, begun_ms)])
    payload = a.PositionCorrectionPayload(
        market_ticker="KX-0", correction_id="c", signed_count_e2=100, yes_price_e4=5_000, fees_e6=0,
        ts_ms=begun_ms, reason="found",
    )  # fmt: skip
    told = told_at("KX-0", 0, begun_ms + 95 * DAY_MS)
    correction = a.PositionCorrection(
        ts_event=begun_ms, ts_ingest=told.ts_ingest, source="desk", idempotency_key="c", cause=None, payload=payload
    )
    desk.report([correction])
    desk.drain()
    assert [record.payload.reason for record in desk.records(DLQ.name)] == ["position_too_old"]
