"""What a store makes of execution.positions over kills: its newest row is what the agent holds, to the last integer."""

import random
from pathlib import Path
from typing import Any

from account_agents import AgentDesk
from account_trade import by_rest, traded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import account_records as a
from schemas.registry import POSITIONS, decoder
from venues.kalshi.account_records import position_report


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
