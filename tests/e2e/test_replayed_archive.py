"""A recorded capture, its archive, a new data directory: the same log and the same quotes, by the commands alone."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from capture_judge import CAPTURES, ROOT, expected, quote_facts, run_up

from ops.plan import UP_PORTS
from ops.ports import free_port_base
from schemas.registry import BOOK_UPDATES, QUOTE_UPDATES, TRADES
from sinks.parquet.reader import iter_records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.engines,
    pytest.mark.skipif(not CAPTURES, reason="the recorded captures are not beside this checkout"),
]


@pytest.mark.timeout(900)
def test_a_new_stack_made_of_the_archive_gives_the_same_quotes(tmp_path: Path) -> None:
    """`up` on the dense capture; `replay --from-parquet` into an empty directory; `up` there on another capture, until
    everything is in every store: inputs are at their offsets, byte for byte, and so is the sequence of quotes."""
    old, new = tmp_path / "old", tmp_path / "new"
    run_up(old, [CAPTURES[-1]], free_port_base(UP_PORTS))

    command = [str(Path(sys.executable).parent / "kalshi-streams"), "replay", "--from-parquet", str(old / "parquet")]
    done = subprocess.run(
        [*command, "--data-dir", str(new)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    run_up(new, [CAPTURES[0]], free_port_base(UP_PORTS))

    for topic in (BOOK_UPDATES.name, TRADES.name):
        then = [(row.partition, row.offset, row.key, row.value) for row in iter_records(old / "parquet", topic)]
        ends = {partition: offset for partition, offset, _, _ in then}
        now = [
            (row.partition, row.offset, row.key, row.value)
            for row in iter_records(new / "parquet", topic)
            if row.offset <= ends.get(row.partition, -1)
        ]
        assert now == then, topic
    market = CAPTURES[-1].name.removesuffix(".ndjson.gz")
    facts = expected()[market]
    assert quote_facts(new / "parquet")[market] == [(facts["bbo_changes"], facts["bbo_sha256_noseq"])]
    assert _quotes(new, market) == _quotes(old, market)


def _quotes(data_dir: Path, market: str) -> list[Any]:
    """The market's quotes in order, repeats dropped."""
    records = iter_records(data_dir / "parquet", QUOTE_UPDATES.name, drop_repeated=True)
    return [row.value for row in records if row.record and row.record.payload.market_ticker == market]  # type: ignore[attr-defined]
