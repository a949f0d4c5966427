"""From reports in any order to positions: equal to a ten-line fold over the true fills, to the last integer."""

from dataclasses import replace
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from domain.fill_facts import KnownFill, synthetic_id, twin_key
from domain.fills import SeenEntry, judge
from domain.position_ledger import (
    CHUNK_ENTRIES,
    PositionState,
    apply_correction,
    apply_fill,
    apply_opening,
    apply_settlement,
    apply_venue_report,
)
from domain.positions import Entry, Opening, Settlement, cash_e6
from domain.times import watermark_ms

T0 = 1_768_000_000_000


class Desk:
    """The three agents' pure parts wired together: reports in, fills and the position out."""

    def __init__(self) -> None:
        self.seen: dict[str, SeenEntry] = {}
        self.fills: dict[str, KnownFill] = {}
        self.newest_ms = 0
        self.state = PositionState("KX-A")
        self.chunks: dict[int, tuple[Entry, ...]] = {}

    def report(self, report: KnownFill, ordinal: int | None = None) -> str:
        shown = _Report(report, ordinal)
        self.newest_ms = watermark_ms(self.newest_ms, shown.ts_ms, 1 << 50, 0)
        judgement = judge(shown, self.seen.get, self.newest_ms)  # type: ignore[arg-type]
        self.seen.update(judgement.writes)
        for change in judgement.changes:
            self.fills[change.fill.fill_id] = change.fill
            self.step(apply_fill(self.state, self.chunks.__getitem__, change.fill, change.previous))
        return judgement.verdict

    def step(self, step) -> None:  # type: ignore[no-untyped-def]
        self.state = step.state
        for number, entries in step.chunks.items():
            if entries is None:
                del self.chunks[number]
            else:
                assert 0 < len(entries) <= CHUNK_ENTRIES
                self.chunks[number] = entries

    def outcome(self) -> tuple[object, ...]:
        state = self.state
        return state.fold, state.sums, state.settlement, cash_e6(state.sums, state.opening)


class _Report:
    """A fill seen as a report, with or without its id."""

    def __init__(self, fill: KnownFill, ordinal: int | None) -> None:
        for name in KnownFill.__dataclass_fields__:
            setattr(self, name, getattr(fill, name))
        self.synthetic_ordinal = ordinal
        if ordinal is not None:
            self.fill_id = synthetic_id(twin_key(fill), ordinal)


def true_fold(fills: list[KnownFill], opening: Opening | None = None) -> tuple[int, int, int, int]:
    """The reference: count, cost, realized, fees of the true fills, average cost, the released cost rounded down."""
    n, cost, realized, fees = (opening.count_e2, opening.cost_e6, opening.realized_e6, 0) if opening else (0, 0, 0, 0)
    for f in sorted(fills, key=lambda f: (f.ts_ms, f.fill_id)):
        yes = f.price_e4 if f.side == "yes" else 10_000 - f.price_e4
        d = f.count_e2 if (f.side, f.action) in {("yes", "buy"), ("no", "sell")} else -f.count_e2
        closed = min(abs(n), abs(d)) if n * d < 0 else 0
        released = int(Fraction(cost * closed, abs(n) or 1))
        realized += closed * (yes if n > 0 else 10_000 - yes) - released
        cost += (abs(d) - closed) * (yes if d > 0 else 10_000 - yes) - released
        n, fees = n + d, fees + (f.fee_e6 or 0)
    return n, cost, realized, fees


@st.composite
def true_fills(draw: st.DrawFn, max_size: int = 25) -> list[KnownFill]:
    """Fills of one market: several in one millisecond, several of one order, prices down to 1/10,000 dollar."""
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 4_000),
                st.sampled_from(["yes", "no"]),
                st.sampled_from(["buy", "sell"]),
                st.integers(1, 9_999),
                st.integers(1, 5_000),
                st.integers(0, 20_000),
                st.integers(0, 3),
            ),
            max_size=max_size,
        )
    )
    return [
        KnownFill(
            "KX-A",
            f"id-{n:03d}",
            f"id-{n:03d}",
            f"o{order}",
            "c",
            side,
            action,
            price,
            count,
            True,
            fee,
            T0 + ms,
            "created_time",
        )
        for n, (ms, side, action, price, count, fee, order) in enumerate(rows)
    ]


def blurred(fill: KnownFill) -> KnownFill:
    """The fill as a legacy push tells it: whole seconds, no fee."""
    return replace(fill, ts_ms=fill.ts_ms // 1000 * 1000, ts_source="ts", fee_e6=None, is_taker=None)


@given(st.data())
def test_any_interleaving_duplication_and_reordering_gives_the_true_position(data: st.DataObject) -> None:
    """Push and poll twins in any order and number end as the true fills, position and P&L."""
    fills = data.draw(true_fills())
    pushes = data.draw(st.lists(st.sampled_from(fills), max_size=40)) if fills else []
    order = data.draw(st.permutations([*fills, *map(blurred, pushes), *pushes]))
    desk = Desk()
    for report in order:
        desk.report(report)

    fold = desk.state.fold
    assert sorted(desk.fills) == [f.fill_id for f in fills]
    assert {f.fill_id: replace(f, revision=1) for f in desk.fills.values()} == {f.fill_id: f for f in fills}
    assert (fold.count_e2, fold.cost_e6, fold.realized_e6, desk.state.sums.fees_e6) == true_fold(fills)
    assert cash_e6(desk.state.sums, None) == fold.realized_e6 - fold.cost_e6


@given(st.data())
def test_reports_without_ids_end_as_the_same_fills_when_their_twin_key_is_unique(data: st.DataObject) -> None:
    """Id-less polls mixed with real ones never double a fill and never move the position."""
    drawn = data.draw(true_fills())
    fills = list({twin_key(f): f for f in drawn}.values())
    nameless = data.draw(st.lists(st.sampled_from(fills), max_size=30)) if fills else []
    reports = [(f, None) for f in fills] + [(blurred(f), 0) for f in nameless] + [(f, 0) for f in nameless]
    desk = Desk()
    for fill, ordinal in data.draw(st.permutations(reports)):
        desk.report(fill, ordinal)

    fold = desk.state.fold
    assert sorted(f.venue_fill_id or "" for f in desk.fills.values()) == sorted(f.fill_id for f in fills)
    assert (fold.count_e2, fold.cost_e6, fold.realized_e6, desk.state.sums.fees_e6) == true_fold(fills)


@given(st.data())
def test_equal_fills_without_ids_keep_their_number_in_any_order(data: st.DataObject) -> None:
    """n equal partial fills stay n, whichever of them come with an id, an ordinal, or both."""
    number = data.draw(st.integers(1, 5))
    base = KnownFill("KX-A", "x", None, "o", "c", "yes", "buy", 4200, 100, True, 10, T0, "created_time")
    reals = [(replace(base, fill_id=f"r{n}"), None) for n in range(number)]
    ordinals = [(base, n) for n in range(number)]
    reports = [*reals, *ordinals, *data.draw(st.lists(st.sampled_from([*reals, *ordinals]), max_size=10))]
    desk = Desk()
    for fill, ordinal in data.draw(st.permutations(reports)):
        desk.report(fill, ordinal)

    assert len(desk.fills) == number
    assert desk.state.fold.count_e2 == number * 100


@given(true_fills(), st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_settlement_before_or_after_its_fills_gives_the_same_result(fills: list[KnownFill], value: int, rng) -> None:  # type: ignore[no-untyped-def]
    """A fill that is reported after the market settled still counts, exactly."""
    settlement = Settlement(value, 0, T0 + 10_000)
    early, late = Desk(), Desk()
    for fill in fills:
        late.report(fill)
    late.step(apply_settlement(late.state, settlement))
    late.step(apply_settlement(late.state, settlement))
    shuffled = list(fills)
    rng.shuffle(shuffled)
    cut = rng.randrange(len(fills) + 1)
    for fill in shuffled[:cut]:
        early.report(fill)
    early.step(apply_settlement(early.state, settlement))
    for fill in shuffled[cut:]:
        early.report(fill)
    n, cost, realized, _ = true_fold(fills)

    assert late.outcome() == early.outcome()
    assert late.chunks == {}
    assert late.state.fold.realized_e6 == realized - cost + abs(n) * (value if n > 0 else 10_000 - value)


@given(true_fills(), st.integers(-5_000, 5_000), st.integers(0, 4_000), st.randoms(use_true_random=False))
def test_an_opening_may_come_after_fills_and_contains_those_before_it(fills, count, at, rng) -> None:  # type: ignore[no-untyped-def]
    """Fills at or before the opening are never folded, whichever of the two topics is read first."""
    opening = Opening(count, abs(count) * 4_321, 77, 5, T0 + at)
    first, after = Desk(), Desk()
    first.step(apply_opening(first.state, first.chunks.__getitem__, opening))
    shuffled = list(fills)
    rng.shuffle(shuffled)
    cut = rng.randrange(len(fills) + 1)
    for fill in fills:
        first.report(fill)
    for fill in shuffled[:cut]:
        after.report(fill)
    after.step(apply_opening(after.state, after.chunks.__getitem__, opening))
    for fill in shuffled[cut:]:
        after.report(fill)
    n, cost, realized, fees = true_fold([f for f in fills if f.ts_ms > opening.as_of_ms], opening)

    assert first.outcome() == after.outcome()
    assert (first.state.fold.count_e2, first.state.fold.cost_e6, first.state.fold.realized_e6) == (n, cost, realized)
    assert first.state.sums.fees_e6 == fees
    assert cash_e6(first.state.sums, opening) == (realized - 77) - (cost - opening.cost_e6)


def test_many_fills_in_random_order_split_into_chunks_and_fold_like_the_sorted_list() -> None:
    """Chunk boundaries, splits and late fills change nothing about the result."""
    fills = [
        KnownFill(
            "KX-A",
            f"{n:05d}",
            None,
            "o",
            "c",
            "yes" if n % 3 else "no",
            "buy" if n % 2 else "sell",
            1 + n * 37 % 9_999,
            1 + n % 7,
            True,
            n,
            T0 + n // 4,
            "created_time",
        )
        for n in range(2_000)
    ]
    late = [fills[i] for i in range(0, 2_000, 7)]
    desk = Desk()
    for fill in [f for f in fills if f not in late] + late[::-1]:
        desk.report(fill)

    fold = desk.state.fold
    assert len(desk.chunks) >= 2_000 // CHUNK_ENTRIES
    assert (fold.count_e2, fold.cost_e6, fold.realized_e6, desk.state.sums.fees_e6) == true_fold(fills)


def test_closing_part_of_a_position_releases_its_share_of_the_cost() -> None:
    """Buy 3 YES at 42 and 1 at 45, sell 2 at 50: half of 171 cents is released, 14.5 cents are earned."""
    desk = Desk()
    for n, (action, price, count) in enumerate([("buy", 4200, 300), ("buy", 4500, 100), ("sell", 5000, 200)]):
        desk.report(KnownFill("KX-A", f"{n}", None, "o", None, "yes", action, price, count, None, 0, T0 + n, "ts_ms"))  # type: ignore[arg-type]

    assert (desk.state.fold.count_e2, desk.state.fold.cost_e6, desk.state.fold.realized_e6) == (200, 855_000, 145_000)


def test_selling_no_is_buying_yes_and_buying_no_takes_yes_away() -> None:
    """The venue's direction map: the four ways to trade fold to one signed count."""
    desk = Desk()
    moves = [("no", "sell", 300, +100), ("yes", "buy", 9700, +200), ("no", "buy", 300, +100), ("yes", "sell", 9700, 0)]
    for n, (side, action, price, expected) in enumerate(moves):
        desk.report(KnownFill("KX-A", f"{n}", None, "o", None, side, action, price, 100, None, 0, T0 + n, "ts_ms"))  # type: ignore[arg-type]
        assert desk.state.fold.count_e2 == expected

    assert (desk.state.fold.cost_e6, desk.state.fold.realized_e6) == (0, 0)


def test_a_void_market_pays_what_the_venue_says() -> None:
    """Without a settlement value the stated revenue is the payout."""
    desk = Desk()
    desk.report(KnownFill("KX-A", "1", None, "o", None, "yes", "buy", 4200, 100, None, 0, T0, "ts_ms"))
    desk.step(apply_settlement(desk.state, Settlement(None, 420_000, T0 + 1)))

    assert (desk.state.fold.count_e2, desk.state.fold.realized_e6) == (0, 0)


def test_a_correction_counts_once_and_moves_the_position_at_its_price() -> None:
    """A stated change folds like a fill, is no fill, and repeating it changes nothing."""
    desk = Desk()
    correction = Entry(T0, "fix-1", -100, 4000, "correction", 0)
    desk.step(apply_correction(desk.state, desk.chunks.__getitem__, correction))
    repeated = apply_correction(desk.state, desk.chunks.__getitem__, correction)

    assert not repeated.changed
    assert (desk.state.fold.count_e2, desk.state.fold.cost_e6, desk.state.sums.fills) == (-100, 600_000, 0)


def test_drift_against_the_venue_is_dated_and_clears_when_both_agree() -> None:
    """The venue's position is compared, never folded."""
    desk = Desk()
    for position, at, since in [(100, T0, T0), (100, T0 + 5, T0), (0, T0 + 9, None), (50, T0 + 3, None)]:
        desk.step(apply_venue_report(desk.state, position, at))
        assert desk.state.venue is not None
        assert desk.state.venue.drift_since_ms == since

    assert desk.state.fold.count_e2 == 0


@given(st.data())
def test_a_checkpoint_cut_short_and_replayed_leaves_every_fill_known_once(data: st.DataObject) -> None:
    """After a kill some keys hold the newest value and others an older one; the replay repairs what is missing."""
    number = data.draw(st.integers(1, 4))
    base = KnownFill("KX-A", "x", None, "o", "c", "yes", "buy", 4200, 100, True, 10, T0, "created_time")
    other = replace(base, fill_id="z", count_e2=7)
    reals = [(replace(base, fill_id=f"r{n}"), None) for n in range(number)] + [(other, None)]
    ordinals = [(base, n) for n in range(number)] + [(other, 0)]
    reports = data.draw(st.permutations([*reals, *ordinals, *reals]))
    mark, killed = sorted(data.draw(st.tuples(st.integers(0, len(reports)), st.integers(0, len(reports)))))
    before = Desk()
    for fill, ordinal in reports[:mark]:
        before.report(fill, ordinal)
    ahead = Desk()
    for fill, ordinal in reports[:killed]:
        ahead.report(fill, ordinal)
    cut_short = {key: value for key, value in ahead.seen.items() if data.draw(st.booleans())}
    published, seen = dict(ahead.fills), {**before.seen, **cut_short}

    for n, (fill, ordinal) in enumerate([*reports[mark:], *reports]):
        shown = _Report(fill, ordinal)
        judgement = judge(shown, seen.get, T0, check_twins=n < killed - mark)  # type: ignore[arg-type]
        seen.update(judgement.writes)
        published.update({change.fill.fill_id: change.fill for change in judgement.changes})

    assert len(published) == number + 1
    assert sum(fill.count_e2 for fill in published.values()) == number * 100 + 7
    assert sorted(fill.venue_fill_id or "" for fill in published.values()) == sorted(f.fill_id for f, _ in reals)
