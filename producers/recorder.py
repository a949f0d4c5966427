"""Raw frames to rotating compressed capture files, off the hot path (format: `venues.capture`).

`put` only appends to a bounded queue; a thread formats, compresses and writes. A disk that is too slow costs frames of
the recording, counted, never the feed. Files: `<folder>/kalshi-<UTC time>-<n>.ndjson.zst`; the newest are kept. An old
one goes only when frames of a newer one are on the disk: a disk that refuses must not cost what it already holds.
"""

import logging
import os
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import zstandard

from producers.metrics import GaugeSource
from venues.capture import format_line

log = logging.getLogger(__name__)

QUEUE_FRAMES_MAX = 50_000  # about 2 s at full speed, 25 MB of frames
DRAIN_PAUSE_S = 0.05  # the thread works in bursts: a wake-up per frame would cost the event loop its turn
CHUNK_FRAMES = 200  # formatted between two writes; the thread holds the interpreter about this long, 0.2 ms
FLUSH_S = 5.0  # at most this much of a recording is lost with the process
PREFIX = "kalshi-"
SUFFIX = ".ndjson.zst"
RETRY_S = 10.0  # after a failed write (disk full): frames are dropped with a count until then
LEVEL = 1  # zstd; frames shrink to an eighth, a tenth at level 3 for twice the time

_Item = tuple[int, bytes, bool, bool]


class Recorder(GaugeSource):
    """Owns the thread and the files. `start`, `put` from one thread, `stop`."""

    def __init__(self, folder: Path, file_bytes_max: int, file_age_s_max: float, files_kept: int) -> None:
        """`file_bytes_max` counts compressed bytes; `files_kept` includes the one being written."""
        self.frames_written = 0
        self.frames_dropped = 0
        self.failure: str | None = None
        self._folder = folder
        self._file_bytes_max = file_bytes_max
        self._file_age_s_max = file_age_s_max
        self._files_kept = files_kept
        self._queue: deque[_Item] = deque()  # append and popleft are atomic, and a third of a queue's price
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._file: IO[bytes] | None = None
        self._writer: zstandard.ZstdCompressionWriter | None = None
        self._opened_s = 0.0
        self._flushed_s = 0.0
        self._retry_s = 0.0
        self._number = 0
        #: Whether frames of the open file are on the disk.
        self._proven = False

    def start(self) -> None:
        """Raises OSError when the folder cannot be made."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def put(self, received_ns: int, data: bytes, is_text: bool, is_json: bool) -> None:
        """Queue one frame; never blocks. Counts a drop when the thread is too far behind."""
        if len(self._queue) >= QUEUE_FRAMES_MAX:
            self.frames_dropped += 1
            return
        self._queue.append((received_ns, data, is_text, is_json))

    def stop(self) -> None:
        """Write what is queued, finish the file, end the thread."""
        self._stopping.set()
        self._thread.join()

    def gauges(self) -> dict[str, float]:
        """For /metrics."""
        return {"recorder_frames_written": self.frames_written, "recorder_frames_dropped": self.frames_dropped}

    def _run(self) -> None:
        while True:
            last_round = self._stopping.is_set()
            while lines := self._take_chunk():
                self._write(lines)
            self._flush_if_due()
            if last_round:
                self._close()
                return
            self._stopping.wait(DRAIN_PAUSE_S)

    def _take_chunk(self) -> list[bytes]:
        waiting, lines = self._queue, []
        for _ in range(min(CHUNK_FRAMES, len(waiting))):
            received_ns, data, is_text, is_json = waiting.popleft()
            lines.append(format_line(received_ns, data, is_text, is_json))
        return lines

    def _write(self, lines: list[bytes]) -> None:
        if time.monotonic() < self._retry_s:
            self.frames_dropped += len(lines)
            return
        try:
            self._rotate_if_due()
            if self._writer is None:
                self._open()
            assert self._writer is not None
            self._writer.write(b"".join(lines))
            self.frames_written += len(lines)
            self.failure = None
        except OSError as wrong:
            self.frames_dropped += len(lines)
            self._give_up(wrong)

    def _open(self) -> None:
        self._number += 1
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        self._file = (self._folder / f"{PREFIX}{stamp}-{self._number:06d}{SUFFIX}").open("xb")
        self._writer = zstandard.ZstdCompressor(level=LEVEL).stream_writer(self._file)
        self._opened_s = self._flushed_s = time.monotonic()
        self._proven = False

    def _prove(self) -> None:
        """Frames of the open file are on the disk: the oldest files beyond the bound may go."""
        if self._proven:
            return
        self._proven = True
        files = sorted(self._folder.glob(f"{PREFIX}*{SUFFIX}"))
        for old in files[: -self._files_kept]:
            with suppress(OSError):  # it is tried again with the next file
                old.unlink(missing_ok=True)

    def _rotate_if_due(self) -> None:
        if self._file is None:
            return
        too_old = time.monotonic() - self._opened_s > self._file_age_s_max
        if too_old or self._file.tell() >= self._file_bytes_max:
            self._close()

    def _flush_if_due(self) -> None:
        if self._writer is None or time.monotonic() - self._flushed_s < FLUSH_S:
            return
        self._flushed_s = time.monotonic()
        try:
            self._writer.flush(zstandard.FLUSH_FRAME)
            assert self._file is not None
            self._file.flush()
            os.fsync(self._file.fileno())
            self._prove()
        except OSError as wrong:
            self._give_up(wrong)

    def _close(self) -> None:
        if self._writer is not None:
            try:
                self._writer.close()  # type: ignore[no-untyped-call]
                self._prove()
            except OSError as wrong:
                self._give_up(wrong)
        self._writer = self._file = None

    def _give_up(self, wrong: OSError) -> None:
        """The recording pauses, the feed does not."""
        self.failure = f"recording paused: {wrong.strerror}"
        log.error("%s (%s)", self.failure, self._folder)
        if self._file is not None and not self._proven:
            with suppress(OSError):
                Path(self._file.name).unlink(missing_ok=True)
        self._writer = self._file = None
        self._retry_s = time.monotonic() + RETRY_S
