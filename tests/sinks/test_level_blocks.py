"""The level fold over blocks says what the fold record by record says, wherever the blocks are cut."""

import itertools
from typing import Any

import pytest
from book_topic import PARTITION, make_book_topic
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import InvariantViolated
from schemas.registry import BOOK_UPDATES
from sinks.clickhouse.level_blocks import fold_block
from sinks.clickhouse.levels import LevelFold, LevelRow
from sinks.columns import take_records
from sinks.contract import SourceRecord


def fold_one_by_one(records: list[SourceRecord]) -> tuple[LevelFold, dict[Any, tuple[Any, ...]], list[tuple[int, str]]]:
    """Every record through LevelFold's own methods: the fold, the rows by level as they stand at the end, refusals."""
    fold, broken = LevelFold(), []
    for at in take_records(BOOK_UPDATES, PARTITION, records)[0].to_pylist():
        ts = at["ts_ingest"] if at["ts_event"] is None else at["ts_event"]
        row = LevelRow(0, ts, at["ts_ingest"], at["seq"], at["_offset"])
        ticker, session = at["market_ticker"], at["session_id"]
        try:
            if at["event_type"] == "book_delta":
                fold.delta(ticker, session, at["sid"], at["side"], at["price_e4"], at["delta_e2"], row)
            elif at["event_type"] == "book_snapshot":
                fold.snapshot(ticker, at["market_id"] or "", session, at["sid"], at["yes"], at["no"], row)
            elif at["event_type"] == "book_reset":
                fold.reset(ticker, session, at["reason"])
        except InvariantViolated as wrong:
            broken.append((at["_offset"], wrong.reason))
    return fold, as_shown(fold.level_rows(fold.take_rows())), broken


def as_shown(rows: Any) -> dict[Any, tuple[Any, ...]]:
    """Rows of latest_levels by level."""
    return {
        (row["market_ticker"], row["side"], row["price"]): tuple(
            row[name] for name in ("size", "ts", "ingest_ts", "seq", "_offset", "market_id")
        )
        for row in rows.to_pylist()
    }


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.sets(st.integers(1, 399), max_size=6))
def test_blocks_cut_anywhere_leave_the_levels_of_the_fold_record_by_record(seed: int, cuts: set[int]) -> None:
    """Snapshots, deltas, resets, refused and impossible records of several markets."""
    records = make_book_topic(seed, 400)
    expected_fold, expected, expected_broken = fold_one_by_one(records)
    fold, shown, broken = LevelFold(), {}, []
    edges = [0, *sorted(cuts), len(records)]
    for begin, end in itertools.pairwise(edges):
        part = records[begin:end]
        refused, rows = fold_block(fold, take_records(BOOK_UPDATES, PARTITION, part)[0])
        broken += [(part[row].offset, reason) for row, reason in refused]
        shown |= as_shown(rows) if rows is not None else {}

    assert broken == expected_broken
    assert {key: row[:5] for key, row in shown.items()} == {key: row[:5] for key, row in expected.items()}
    assert {name: market.shown() for name, market in fold.markets.items()} == {
        name: market.shown() for name, market in expected_fold.markets.items()
    }


@pytest.mark.parametrize("price_e4", [4_500, 5_500])
def test_a_delta_that_would_cross_the_book_leaves_the_level_as_the_table_shows_it(price_e4: int) -> None:
    """Above 0.40 asked for NO at 0.60, a YES bid of 0.45 is impossible: the table goes on to show what it showed."""
    fold = LevelFold()
    fold.snapshot("M", "id", "s", 1, [(3_900, 100), (4_000, 200)], [(6_000, 300)], LevelRow(0, 1, 1, 1, 1))
    fold.take_rows()
    with pytest.raises(InvariantViolated):
        fold.delta("M", "s", 1, "yes", price_e4, 50, LevelRow(0, 2, 2, 2, 2))

    assert fold.market("M").shown() == ({3_900: 100, 4_000: 200}, {6_000: 300})
    assert fold.take_rows() == {}
