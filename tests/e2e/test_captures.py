"""Recorded captures through everything, judged by what a correct fold of them gives."""

import re
from pathlib import Path

import pytest
from capture_judge import CAPTURES, clickhouse_facts, expected, fold_capture, quote_facts, run_up, trade_facts

from ops.plan import UP_PORTS
from ops.ports import free_port_base
from sinks.parquet.reader import iter_records

needs_captures = pytest.mark.skipif(not CAPTURES, reason="the recorded captures are not beside this checkout")


@needs_captures
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.name.partition(".")[0])
def test_book_alone_gives_the_expected_depth_of_every_capture(capture: Path) -> None:
    """`domain.book` on the recorded frames: every 100th whole book, and the number of best bid/offer changes."""
    market, depth_sha, facts = fold_capture(capture)

    assert depth_sha == expected()[market]["depth_sha256"]
    assert facts[market][0] == expected()[market]["bbo_changes"]


@needs_captures
@pytest.mark.engines
@pytest.mark.timeout(420)
def test_three_captures_in_one_run_give_the_expected_quotes_and_trades(tmp_path: Path) -> None:
    """Socket to Parquet and ClickHouse with real engines, to the last frame: more at once than a sink's queue takes."""
    check_accounting(run_up(tmp_path / "data", CAPTURES, free_port_base(UP_PORTS)))
    check_quotes(tmp_path / "data" / "parquet")
    check_trades(tmp_path / "data" / "parquet")
    check_clickhouse(tmp_path / "data")


@needs_captures
@pytest.mark.slow
@pytest.mark.engines
@pytest.mark.timeout(900)
def test_captures_one_by_one_twice_in_a_row_give_the_same_sequence(tmp_path: Path) -> None:
    """A second run on the same data is a new session of the feed, with the same sequence."""
    for run in (1, 2):
        for capture in CAPTURES:
            check_accounting(run_up(tmp_path / "data", [capture], free_port_base(UP_PORTS)))
        check_quotes(tmp_path / "data" / "parquet", runs=run)
        check_trades(tmp_path / "data" / "parquet")


def check_quotes(parquet: Path, runs: int = 1) -> None:
    """Every market's sequence of quotes is the expected one, `runs` times in a row."""
    got = quote_facts(parquet, runs)
    for market, facts in expected().items():
        assert got[market] == [(facts["bbo_changes"], facts["bbo_sha256_noseq"])] * runs, market


def check_trades(parquet: Path) -> None:
    """Each trade once, with its volume."""
    got = trade_facts(parquet)
    for market, facts in expected().items():
        assert got[market] == (facts["trades"], facts["trade_volume_1e2"]), market


def check_clickhouse(data_dir: Path) -> None:
    """Every record of the books' topic, as many as the archive has."""
    archived = sum(1 for _ in iter_records(data_dir / "parquet", "market.book_updates"))

    assert clickhouse_facts(data_dir) == (0, archived)


def check_accounting(summary: str) -> None:
    """Frames in = frames that caused records + control frames + duplicates ignored + dead letters, to the last one."""
    frames, served = (int(n) for n in re.search(r"(\d+) frames in .*?(\d+) served", summary).groups())  # type: ignore[union-attr]
    parts = re.search(
        r"(\d+) records caused by frames, (\d+) control frames, (\d+) duplicates ignored, (\d+) dead letters", summary
    )
    assert parts is not None, summary

    assert frames == served == sum(int(n) for n in parts.groups())
