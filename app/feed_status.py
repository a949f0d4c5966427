"""How old the feed is, per partition: read from market.feed_status, judged when somebody asks.

A dead producer cannot say that it is dead, so its silence must: past FEED_STALE_MS every book reads as stale. The state
of the tables never depends on it (a replay has no clock).
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
        self._heard_ms: dict[int, int] = {}
        app.task(self._follow)

    def of(self, partition: int) -> tuple[int | None, bool]:
        """(age of the last heartbeat in ms, whether the feed counts as alive)."""
        heard_ms = self._heard_ms.get(partition)
        if heard_ms is None:
            return None, False
        age_ms = max(0, time.time_ns() // 1_000_000 - heard_ms)
        return age_ms, age_ms <= self._stale_ms

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
                    for record in decode_many(decoder(FEED_STATUS), [r.value for r in records]):
                        if not isinstance(record, Exception) and record.payload.connected:
                            self._heard_ms[tp.partition] = max(self._heard_ms.get(tp.partition, 0), record.ts_ingest)
        except asyncio.CancelledError:
            raise
        finally:
            await reader.stop()
