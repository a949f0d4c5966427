"""A data directory that commit e46846c wrote (25 s of the simulated desk, seed 7): this code starts on it and goes on.

Its values do not name their sources, and its topics are fewer. `data-e46846c.tar.zst` holds log, tables and archive.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from engines import new_kafka
from kernel_judge import first_by_key, judge
from kernel_world import World

from schemas.registry import BOOK_UPDATES, FILLS, POSITIONS, QUOTE_UPDATES
from tables.headers import header

pytestmark = pytest.mark.engines

DATA = Path(__file__).parent / "data-e46846c.tar.zst"
GROUP = "kalshi-streams-state"


@pytest.fixture
def old(tmp_path: Path) -> Iterator[World]:
    """The directory, with a broker on its log and the topics of today."""
    with tarfile.open(fileobj=io.BytesIO(zstandard.decompress(DATA.read_bytes(), 1 << 30))) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "olddata"
    engine = new_kafka(folder / "kafka")
    engine.start()
    # The records are as old as the fixture: the log must not delete them meanwhile.
    world = World(engine, folder, bus_stream_retention_hours=1_000_000)
    (folder / "faust" / GROUP).rename(folder / "faust-0")
    yield world
    world.stop_all()
    engine.kill9()


@pytest.mark.parametrize("local", [True, False], ids=["its tables", "its changelogs alone"])
def test_state_goes_on_and_nothing_is_said_twice(old: World, local: bool) -> None:
    """Books, positions and quotes are those of the log; what comes next follows on them."""
    if not local:
        old.forget_local_state("0")
    source, said = old.read(BOOK_UPDATES.name), old.ends(QUOTE_UPDATES.name)
    positions, fills = old.ends(POSITIONS.name), old.read(FILLS.name)
    new = [value for part in fills.values() for value in first_by_key(part) if b'"event_type":"fill"' in value]
    worker = old.start()
    worker.wait_committed(old.ends(BOOK_UPDATES.name))

    rows = {row["market_ticker"]: row for row in worker.get("/bbo")}
    assert {key.decode() for key in judge(source).table} == rows.keys()
    held = {row["market_ticker"]: row["fills"] for row in worker.get("/positions")}
    assert sum(held.values()) == len(new) > 0
    assert old.ends(QUOTE_UPDATES.name) == said, "quotes were published again"
    assert old.ends(POSITIONS.name) == positions, "positions were published again"

    assert worker.stop() == 0, worker.tail()
    snapshot = next(row for part in source.values() for row in reversed(part) if b'"book_snapshot"' in row.value)
    old.produce([(snapshot.key, snapshot.value.replace(b'"book_snapshot:v1:', b'"book_snapshot:v1:again:'))])
    worker = old.start()
    worker.wait_committed(old.ends(BOOK_UPDATES.name))
    assert worker.stop() == 0, worker.tail()


def test_header_of_today_is_no_header_of_that_time() -> None:
    """The first byte tells them apart, whatever the offsets are."""
    assert header({"a": (1 << 56) - 1})[0] != 0
