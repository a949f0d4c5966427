"""Stores are opened and closed beside the event loop: a slow disk must not cost a worker its heartbeats."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from app.settings import load_settings
from app.worker import build_app
from tables import store

PARTITIONS = (0, 1, 2, 3)
WAIT_S = 60


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened, in order: every store that was opened or closed."""
    seen: list[str] = []
    opened, closed = store.RocksStore.__init__, store.RocksStore.close

    def opening(self: Any, path: Path, options: Any) -> None:
        opened(self, path, options)
        seen.append("open")

    def closing(self: Any) -> None:
        closed(self)
        seen.append("close")

    monkeypatch.setattr(store.RocksStore, "__init__", opening)
    monkeypatch.setattr(store.RocksStore, "close", closing)
    return seen


@pytest.fixture
def stage(tmp_path: Path) -> Any:
    """The books of a worker without a broker, with a disk."""
    app = build_app(load_settings(data_dir=tmp_path), transient=True)
    app.kernel.store_path = lambda table, partition: tmp_path / "tables" / f"{table}-{partition}"  # type: ignore[method-assign,assignment]
    return next(stage for stage in app.stages if stage.name == "maintain_books")


async def restored(stage: Any) -> None:
    """Until all partitions take input."""
    async with asyncio.timeout(WAIT_S):
        for partition in PARTITIONS:
            while not stage.tasks[partition].restored:  # noqa: ASYNC110 - the loop's turns are what is tested
                await asyncio.sleep(0)


async def turns(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_loop_turns_between_the_stores_that_are_opened(stage: Any, seen: list[str]) -> None:
    """Twenty at once took five seconds on a busy disk, and RocksDB opens with the interpreter in its hand."""

    async def beat() -> None:
        while True:
            seen.append("turn")
            await asyncio.sleep(0)

    beating = asyncio.create_task(beat())
    stage.assign(PARTITIONS)
    await restored(stage)
    beating.cancel()

    order = [name for name, after in zip(seen, [*seen[1:], ""], strict=True) if name != after]
    assert order.count("open") == len(PARTITIONS), f"opened without a turn between them: {order}"
    await stage.stop()


async def test_a_disk_that_stands_still_is_waited_for_beside_the_loop(
    stage: Any, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is opened until it has taken a write; readiness says that the tables are not there yet."""
    moves, sync = threading.Event(), os.fsync

    def stuck(descriptor: int) -> None:
        assert moves.wait(WAIT_S)
        sync(descriptor)

    monkeypatch.setattr(store.os, "fsync", stuck)
    stage.assign(PARTITIONS)
    await turns(100)
    assert seen == []
    assert [(job.partition, job.percent) for job in stage.restoring] == [(p, 0.0) for p in PARTITIONS]

    moves.set()
    await restored(stage)
    assert seen == ["open"] * len(PARTITIONS)
    await stage.stop()
    assert seen == ["open"] * len(PARTITIONS) + ["close"] * len(PARTITIONS)


async def test_stores_are_closed_beside_the_loop_and_before_they_are_opened_again(
    stage: Any, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebalance takes all partitions away and gives them back: a path cannot be open twice."""
    stage.assign(PARTITIONS)
    await restored(stage)
    moves, close = threading.Event(), store.RocksStore.close

    def stuck(self: Any) -> None:
        assert moves.wait(WAIT_S)
        close(self)

    monkeypatch.setattr(store.RocksStore, "close", stuck)
    stage.revoke()
    stage.assign(PARTITIONS)
    await turns(100)
    assert seen == ["open"] * len(PARTITIONS)

    moves.set()
    await restored(stage)
    assert seen == [name for name in ("open", "close", "open") for _ in PARTITIONS]
    await stage.stop()
