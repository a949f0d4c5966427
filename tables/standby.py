"""Warm copies of partitions that another worker owns (TABLE_STANDBY_REPLICAS).

A worker that may take a partition over follows its changelog into the very store it would open for it; a take-over
then reads only the tail. With one replica or more every worker follows all partitions it does not own: on one desk
that is one or two workers, and a choice among more would need an election.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiokafka import TopicPartition

from tables.changelog import POLL_TIMEOUT_MS, Restore
from tables.checkpointed import CheckpointedTable
from tables.headers import Headers
from tables.kernel import STANDBY_WAIT_MS, Kernel
from tables.store import Stores, discard

log = logging.getLogger(__name__)

#: After a failed attempt to follow (the broker is away), how long until the next.
RETRY_S = 1.0


class Standby:
    """Follows the changelog of one table for the partitions given; `release` before any of them is opened by a task."""

    def __init__(self, kernel: Kernel, stores: Stores, table: CheckpointedTable[Any], changelog: str) -> None:
        self._kernel = kernel
        self._stores = stores
        self._table = table.name
        self._changelog = changelog
        self._headers = Headers(table.first_sources)
        self._jobs: dict[int, Restore] = {}
        self._following: asyncio.Task[None] | None = None

    def follow(self, partitions: list[int]) -> None:
        """Start following these; nothing happens without a replica to keep."""
        if partitions and self._kernel.settings.table_standby_replicas and not self._kernel.transient:
            self._following = asyncio.create_task(self._follow_for_ever(partitions), name=f"standby {self._table}")

    def release(self) -> None:
        """Stop at once and let the stores go: their next opener may be a task of ours."""
        if self._following is not None:
            self._following.cancel()
            self._following = None
        self._stores.close([job.store for job in self._jobs.values()])
        self._jobs.clear()

    def lags(self) -> dict[int, int]:
        """Partition -> changelog records behind its end, as of the last answer."""
        return {p: max(0, job.end - job.position) for p, job in self._jobs.items()}

    async def _follow_for_ever(self, partitions: list[int]) -> None:
        while True:
            try:
                await self._follow(partitions)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                # A standby is a convenience: whatever is wrong with it is said, and its stores start over.
                log.error("standby of %s: %r", self._table, error)
                await self._discard()
                await asyncio.sleep(RETRY_S)

    async def _follow(self, partitions: list[int]) -> None:
        reader = await self._kernel.new_reader(STANDBY_WAIT_MS)
        try:
            tps = [TopicPartition(self._changelog, p) for p in partitions]
            reader.assign(tps)
            starts, ends = await reader.beginning_offsets(tps), await reader.end_offsets(tps)
            for tp in tps:
                reader.seek(tp, (await self._open(tp.partition, starts[tp], ends[tp])).position)
            while True:
                for tp, runs in (await reader.getmany(timeout_ms=POLL_TIMEOUT_MS)).items():
                    for rows in runs:
                        self._jobs[tp.partition].apply(rows)
                        await self._kernel.breathe()
                for tp in tps:
                    self._jobs[tp.partition].end = reader.highwater(tp) or ends[tp]
        finally:
            await reader.stop()

    async def _open(self, partition: int, start: int, end: int) -> Restore:
        path = self._kernel.store_path(self._table, partition)
        store, _ = await self._stores.open(path)
        if (store.position() or 0) > end:
            store = await self._stores.start_over(path, store)
        job = self._jobs[partition] = Restore(partition, store, self._headers)
        job.position, job.end = max(store.position() or 0, start), end
        return job

    async def _discard(self) -> None:
        partitions = list(self._jobs)
        self._stores.close([job.store for job in self._jobs.values()])
        self._jobs.clear()
        await self._stores.closed()
        for partition in partitions:
            discard(self._kernel.store_path(self._table, partition))


def readiness(stages: list[Any]) -> dict[str, int]:
    """`<table>-<partition>` -> records behind, for all stages with a standby."""
    return {
        f"{stage.table.name}-{partition}": lag
        for stage in stages
        if hasattr(stage, "standby")
        for partition, lag in stage.standby.lags().items()
    }
