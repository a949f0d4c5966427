"""Verdicts on reported fills: what is new, what repeats, what amends, what contradicts."""

from dataclasses import dataclass, replace

import pytest

from domain.fill_facts import KnownFill, synthetic_id, twin_key
from domain.fills import FillChange, Judgement, SeenEntry, judge
from domain.times import watermark_ms


@dataclass(frozen=True)
class Report:
    """A canonical report as the account producer sends it."""

    market_ticker: str = "KX-A"
    fill_id: str = "f1"
    synthetic_ordinal: int | None = None
    order_id: str = "o1"
    client_order_id: str | None = None
    side: str = "yes"
    action: str = "buy"
    price_e4: int = 4200
    count_e2: int = 1000
    is_taker: bool | None = True
    fee_e6: int | None = 70_000
    ts_ms: int = 1_768_061_471_109
    ts_source: str = "created_time"


class Table:
    """The table of the agent: applies writes, remembers what was published."""

    def __init__(self) -> None:
        self.entries: dict[str, SeenEntry] = {}
        self.fills: dict[str, KnownFill] = {}
        self.newest_ms = 0

    def take(self, report: Report) -> Judgement:
        self.newest_ms = watermark_ms(self.newest_ms, report.ts_ms, 1 << 50, 0)
        judgement = judge(report, self.entries.get, self.newest_ms)
        self.entries.update(judgement.writes)
        for change in judgement.changes:
            assert (change.previous is None) == (change.fill.fill_id not in self.fills)
            self.fills[change.fill.fill_id] = change.fill
        return judgement


def synthetic(report: Report, ordinal: int) -> Report:
    """The report with its id missing, as a REST walk names it."""
    return replace(report, fill_id=synthetic_id(twin_key(report), ordinal), synthetic_ordinal=ordinal)


FIRST = Report()
BARE = Report(is_taker=None, fee_e6=None, ts_ms=1_768_061_471_000, ts_source="ts")


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (FIRST, FIRST, "duplicate"),
        (BARE, FIRST, "amended"),
        (FIRST, BARE, "duplicate"),
        (replace(FIRST, fee_e6=None), FIRST, "amended"),
        (replace(FIRST, ts_source="ts_ms"), FIRST, "amended"),
        (FIRST, replace(FIRST, ts_source="ts_ms", ts_ms=FIRST.ts_ms + 1), "duplicate"),
        (FIRST, replace(FIRST, ts_ms=FIRST.ts_ms - 1), "amended"),
        (FIRST, replace(FIRST, side="no", action="sell", price_e4=5800), "duplicate"),
        (FIRST, replace(FIRST, price_e4=4300), "conflicting"),
        (FIRST, replace(FIRST, count_e2=1001), "conflicting"),
        (FIRST, replace(FIRST, side="no"), "conflicting"),
        (FIRST, replace(FIRST, action="sell"), "conflicting"),
        (FIRST, replace(FIRST, market_ticker="KX-B"), "conflicting"),
        (FIRST, replace(FIRST, order_id="o2"), "conflicting"),
        (FIRST, replace(FIRST, ts_ms=FIRST.ts_ms + 1000), "conflicting"),
        (FIRST, replace(FIRST, fee_e6=80_000), "conflicting"),
        (FIRST, replace(FIRST, fill_id="f2"), "new"),
        (FIRST, replace(FIRST, ts_ms=FIRST.ts_ms - 91 * 86_400_000), "too_old"),
        (FIRST, replace(FIRST, fill_id="f2", ts_ms=FIRST.ts_ms - 89 * 86_400_000), "new"),
        (FIRST, synthetic(FIRST, 0), "duplicate"),
        (FIRST, synthetic(FIRST, 1), "new"),
        (synthetic(FIRST, 0), synthetic(FIRST, 0), "duplicate"),
        (synthetic(FIRST, 0), FIRST, "amended"),
        (synthetic(BARE, 0), FIRST, "amended"),
        (synthetic(FIRST, 0), replace(FIRST, count_e2=500), "new"),
        (synthetic(FIRST, 1), synthetic(FIRST, 0), "duplicate"),
    ],
)
def test_the_second_report_gets_the_verdict_of_its_case(first: Report, second: Report, verdict: str) -> None:
    """Each way two reports can relate has one verdict."""
    table = Table()

    assert table.take(first).verdict == "new"
    assert table.take(second).verdict == verdict


def test_an_amended_fill_keeps_its_id_and_gains_the_missing_fee_and_finer_time() -> None:
    """A bare push and its detailed poll twin end as one fill with everything known."""
    table = Table()
    table.take(BARE)

    change = table.take(FIRST).changes[0]

    assert isinstance(change, FillChange)
    assert (change.fill.fee_e6, change.fill.is_taker, change.fill.ts_ms) == (70_000, True, FIRST.ts_ms)
    assert (change.fill.fill_id, change.fill.revision, change.previous and change.previous.ts_ms) == (
        "f1",
        2,
        BARE.ts_ms,
    )


def test_a_real_id_claims_the_synthetic_fill_and_is_recognised_ever_after() -> None:
    """A fill first reported without an id stays one fill under its first name and learns the venue's id."""
    table = Table()
    table.take(synthetic(FIRST, 0))

    assert [table.take(FIRST).verdict, table.take(FIRST).verdict] == ["amended", "duplicate"]
    assert [fill.venue_fill_id for fill in table.fills.values()] == ["f1"]
    assert next(iter(table.fills.values())).sort_id == "f1"


def test_two_equal_partial_fills_without_ids_stay_two() -> None:
    """Ordinals within a complete walk keep equal fills apart; their later ids claim one each."""
    table = Table()
    reports = [synthetic(FIRST, 0), synthetic(FIRST, 1), FIRST, replace(FIRST, fill_id="f2"), synthetic(FIRST, 1)]

    verdicts = [table.take(report).verdict for report in reports]

    assert verdicts == ["new", "new", "amended", "amended", "duplicate"]
    assert sorted(fill.venue_fill_id or "" for fill in table.fills.values()) == ["f1", "f2"]


def test_a_clock_far_ahead_does_not_age_out_honest_fills() -> None:
    """The watermark never passes the time at which we received the report."""
    now_ms = FIRST.ts_ms + 1_000

    assert watermark_ms(FIRST.ts_ms, FIRST.ts_ms + 10**12, now_ms, 0) == now_ms


def test_a_conflict_changes_nothing_and_names_the_field() -> None:
    """The first report stands; the alarm says what was expected and what came."""
    table = Table()
    table.take(FIRST)
    judgement = table.take(replace(FIRST, price_e4=4300))

    assert judgement.writes == () and judgement.changes == ()
    assert "yes_price_e4: expected 4200, was 4300" in judgement.detail
