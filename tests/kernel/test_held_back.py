"""A partition that an agent holds back. A real Faust consumer that is not started."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from app.settings import load_settings
from app.transport import BatchConsumer
from app.worker import build_app
from schemas.registry import BOOK_UPDATES

ONE, TWO = TP(BOOK_UPDATES.name, 0), TP(BOOK_UPDATES.name, 1)


def rows(first: int, last: int) -> list[Any]:
    """Raw records of these offsets, both included."""
    return [SimpleNamespace(offset=n, timestamp=1_000, timestamp_type=1, value=b"v") for n in range(first, last + 1)]


@pytest.fixture
def consumer(tmp_path: Path) -> BatchConsumer:
    """The consumer of a worker."""
    return build_app(load_settings(data_dir=tmp_path), transient=True).consumer  # type: ignore[no-any-return]


async def test_a_partition_held_back_in_the_midst_of_a_fetch_loses_nothing_of_it(
    consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fetch position has passed what was fetched: it is delivered, or it never comes. No further fetch asks."""
    asked: list[set[TP]] = []

    async def fetch(active_partitions: set[TP], timeout: float) -> dict[TP, list[list[Any]]]:
        asked.append(set(active_partitions))
        return {ONE: [rows(first, first + 1_999) for first in range(0, 8_000, 2_000)]}

    monkeypatch.setattr(consumer, "_getmany", fetch)
    consumer._set_active_tps({ONE, TWO})
    got: list[int] = []
    async for tp, message in consumer.getmany(0.1):
        got += [record.offset for record in message.value.take()]
        consumer.hold_back(tp)
    assert got == list(range(8_000))

    [_ async for _ in consumer.getmany(0.1)]
    consumer.let_go(ONE)
    [_ async for _ in consumer.getmany(0.1)]
    assert asked == [{ONE, TWO}, {TWO}, {ONE, TWO}]
