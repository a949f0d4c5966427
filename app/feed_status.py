"""How old the feed is, per partition: read from market.feed_status, judged when somebody asks.

A dead producer cannot say that it is dead, so its silence must: past FEED_STALE_MS every book reads as stale. Silence
is measured from the arrival of the last heartbeat by a clock that only runs forward: the wall clock may be set back,
and would make a dead feed young again. The state of the tables never depends on it (a replay has no clock).
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from aiokafka import TopicPartition

from app.settings import Settings
from schemas.codec import decode_many
from schemas.registry import FEED_STATUS, decoder

log = logging.getLogger(__name__)

#: How long an empty answer may take; a heartbeat is answered at once.
READ_WAIT_MS = 1_000


class FeedStatus:
    """Follows the tail of market.feed_status with a reader of its own, outside the group and its commits."""

    def __init__(self, app: Any, conf: Settings) -> None:
        self._app = app
        self._stale_ms = conf.feed_stale_ms
        self._heard_s: dict[int, float] = {}
        app.task(self._follow)

    def of(self, partition: int) -> tuple[int | None, bool]:
        """(age of the last heartbeat in ms, whether the feed counts as alive)."""
        heard_s = self._heard_s.get(partition)
        if heard_s is None:
            return None, False
        age_ms = int((time.monotonic() - heard_s) * 1_000)
        return age_ms, age_ms <= self._stale_ms

    def hear(self, partition: int, said_ms: int, came_now: bool) -> None:
        """A heartbeat. One that stood in the log before we listened is as old as it says; where it is of the future, by
        our clock, nobody knows how old it is, and the next one decides."""
        age_s = 0.0 if came_now else time.time() - said_ms / 1_000
        if age_s >= 0:
            heard_s = time.monotonic() - age_s
            self._heard_s[partition] = max(self._heard_s.get(partition, heard_s), heard_s)

    async def _follow(self) -> None:
        reader = await self._app.kernel.new_reader(wait_ms=READ_WAIT_MS)
        try:
            partitions = range(self._app.conf.topic_partitions)
            tps = [TopicPartition(FEED_STATUS.name, p) for p in partitions]
            reader.assign(tps)
            ends = await reader.end_offsets(tps)
            for tp, end in ends.items():
                reader.seek(tp, max(0, end - 1))
            while not self._app.should_stop:
                for tp, records in (await reader.getmany(timeout_ms=1_000)).items():
                    said = decode_many(decoder(FEED_STATUS), [r.value for r in records])
                    for row, record in zip(records, said, strict=True):
                        if not isinstance(record, Exception) and record.payload.connected:
                            self.hear(tp.partition, record.ts_ingest, came_now=row.offset >= ends[tp])
        except asyncio.CancelledError:
            raise
        finally:
            await reader.stop()
