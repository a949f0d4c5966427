"""One producer per live feed: the second one is refused with one line.

Two locks. On this host, a file in the data directory held with flock: it goes with the process, however that dies.
Between hosts, the feed's own heartbeats: if a foreign one younger than `FRESH_S` stands in market.feed_status, we
listen for `LISTEN_S`; hearing another one means that its producer lives. A restart after kill -9 does not wait: the
lock file names the dead predecessor, and its heartbeats are not counted.
"""

import asyncio
import fcntl
import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
from aiokafka import TopicPartition

from app.bus import BusConfig
from domain.errors import UserMistake
from producers.topic_reader import topic_reader
from schemas.records import FeedHeartbeat
from schemas.registry import FEED_STATUS

log = logging.getLogger(__name__)

FRESH_S = 10.0  # by the broker's clock beside ours; generous, because clocks differ
LISTEN_S = 2.5  # two heartbeats and a half

_decode = msgspec.json.Decoder(FeedHeartbeat).decode


def instance_of(session_id: str) -> str:
    """'3f2a..-7' -> '3f2a..': the process behind a session."""
    return session_id.rpartition("-")[0]


class FeedLock:
    """The lock of this data directory for one `producer`. `predecessor` is the instance that held it before, if any."""

    def __init__(self, data_dir: Path, producer: str, instance: str) -> None:
        self.predecessor: str | None = None
        self._path = data_dir / "run" / f"producer-{producer}.lock"
        self._producer = producer
        self._instance = instance
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Raises UserMistake: another producer holds it, or the folder cannot be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = self._path.open("a+", encoding="ascii")
        except OSError as wrong:
            raise UserMistake(f"{self._path}: {wrong.strerror}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            raise UserMistake(f"another producer {self._producer} runs on this data directory ({self._path})") from None
        handle.seek(0)
        with suppress(ValueError, AttributeError):
            self.predecessor = json.loads(handle.read() or "{}").get("instance")
        self._file = handle
        try:
            handle.truncate(0)
            # Past the file's buffer: what a full disk refused must not come up again at the close.
            os.write(handle.fileno(), json.dumps({"instance": self._instance}).encode())
        except OSError as wrong:
            self.release()
            raise UserMistake(f"{self._path}: {wrong.strerror}") from None

    def release(self) -> None:
        """The file stays: it names the last holder."""
        if self._file is not None:
            self._file.close()
            self._file = None


async def refuse_second(bus: BusConfig, instance: str, predecessor: str | None) -> None:
    """Look for another living producer of this bus. Returns at once where the last heartbeat is old, or our own
    predecessor's.

    Raises:
        UserMistake: one line, another producer lives.
    """
    partition = TopicPartition(FEED_STATUS.name, 0)
    async with topic_reader(bus) as consumer:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        begin = (await consumer.beginning_offsets([partition]))[partition]
        if end <= begin:
            return
        consumer.seek(partition, max(begin, end - 3))
        fresh_from_ms = int((time.time() - FRESH_S) * 1_000)
        deadline_s = time.monotonic() + LISTEN_S
        seen_fresh = False
        while time.monotonic() < deadline_s:
            batches = await consumer.getmany(partition, timeout_ms=250)
            for message in batches.get(partition, ()):
                other = _foreign(message.value, instance, predecessor)
                if other is None:
                    continue
                if message.offset >= end:
                    raise UserMistake(f"another producer market feeds this Kafka (session {other})")
                seen_fresh = seen_fresh or message.timestamp >= fresh_from_ms
            if not seen_fresh and (await consumer.position(partition)) >= end:
                return


def _foreign(value: bytes | None, instance: str, predecessor: str | None) -> str | None:
    """The session of another living-or-dead producer's heartbeat, None for our own and our predecessor's."""
    try:
        session_id = _decode(value or b"").payload.session_id
    except msgspec.DecodeError:
        return None
    return None if instance_of(session_id) in (instance, predecessor) else session_id


async def watch_for_second(bus: BusConfig, instance: str) -> str:
    """Two that started in the same second both passed the check: the one with the larger instance gives way.

    Returns the other's session once one is heard that we must give way to; reads from now on.
    """
    partition = TopicPartition(FEED_STATUS.name, 0)
    async with topic_reader(bus) as consumer:
        consumer.assign([partition])
        await consumer.seek_to_end(partition)
        while True:
            batches = await consumer.getmany(partition, timeout_ms=1_000)
            for message in batches.get(partition, ()):
                other = _foreign(message.value, instance, None)
                if other is not None and instance_of(other) < instance:
                    return other
            await asyncio.sleep(0)
