"""Capture files: raw WebSocket frames with their receive time, one per line.

Read by the simulator and by tests, written by `producers.recorder`. NDJSON, plain, `.gz` or `.zst`. Line forms:

    {"recv_ms": 1786489200123, "event": {frame}}              what our recorder writes for JSON frames
    {"recv_ts_ns": 1786489200123456789, "raw": "frame text"}  what it writes for text that is no JSON
    {"recv_ts_ns": 1786489200123456789, "raw_base64": "..."}  what it writes for binary frames
    {frame}                                                   a bare frame

Nothing in a file is skipped silently: a line of no known form is a frame of garbage, as it stands. Only an unfinished
last line (the recorder was killed) is left out, with a warning.
"""

import base64
import binascii
import gzip
import heapq
import io
import logging
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import zstandard

from domain.errors import UserMistake

log = logging.getLogger(__name__)

LINE_BYTES_MAX = 16 << 20  # four times the frame cap of 4 MB: base64 and JSON escapes of garbage fit


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """One frame. `recv_ms` never falls within a file. `frame` is the decoded object, None where the text is not a
    JSON object; `text` is the frame as it came (empty for a binary frame); `binary` is set for binary frames only."""

    recv_ms: int
    frame: dict[str, Any] | None
    text: str
    binary: bytes | None = None


_NO_EVENT = msgspec.Raw()  # a union with None would decode instead of keeping the text


class _Line(msgspec.Struct):
    recv_ms: int | None = None
    recv_ts_ns: int | None = None
    event: msgspec.Raw = _NO_EVENT
    raw: str | None = None
    raw_base64: str | None = None


_decode_line = msgspec.json.Decoder(_Line).decode
_decode = msgspec.json.Decoder().decode


def read_capture(path: Path) -> Iterator[CapturedFrame]:
    """All frames of one file, in file order.

    A bare frame takes the venue's `ts_ms` if it has one, else the time of the line before; a receive time that falls
    (a clock was set) is held at the highest so far, so that merging keeps every file's order.

    Raises:
        UserMistake: the file cannot be opened or is not what its name says.
    """
    recv_ms = 0
    for line in _lines(path):
        captured = _parse(line, recv_ms)
        recv_ms = captured.recv_ms
        yield captured


def merge_captures(paths: Iterable[Path]) -> Iterator[CapturedFrame]:
    """The frames of several files as one stream, by receive time; ties in the order of `paths`."""
    yield from heapq.merge(*map(read_capture, paths), key=lambda captured: captured.recv_ms)


def format_line(received_ns: int, data: bytes, is_text: bool, is_json: bool) -> bytes:
    """The line for one received frame, newline included. `is_json`: the caller has decoded it as a JSON object."""
    if is_text and is_json and b"\n" not in data and b"\r" not in data:
        return b'{"recv_ms":%d,"event":%b}\n' % (received_ns // 1_000_000, data)
    if is_text:
        try:
            return b'{"recv_ts_ns":%d,"raw":%b}\n' % (received_ns, msgspec.json.encode(data.decode()))
        except UnicodeDecodeError:
            pass  # a text frame must be UTF-8; this one is kept as bytes
    return b'{"recv_ts_ns":%d,"raw_base64":"%b"}\n' % (received_ns, base64.b64encode(data))


def _parse(line: bytes, before_ms: int) -> CapturedFrame:
    try:
        known = _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        known = _Line()
    recv_ms = before_ms
    if known.recv_ms is not None:
        recv_ms = max(before_ms, known.recv_ms)
    elif known.recv_ts_ns is not None:
        recv_ms = max(before_ms, known.recv_ts_ns // 1_000_000)
    if known.event is not _NO_EVENT:
        return _text_frame(recv_ms, bytes(known.event).decode("utf-8", "replace"))
    if known.raw is not None:
        return _text_frame(recv_ms, known.raw)
    if known.raw_base64 is not None:
        try:
            return CapturedFrame(recv_ms, None, "", base64.b64decode(known.raw_base64, validate=True))
        except binascii.Error:
            pass
    return _bare(before_ms, line.decode("utf-8", "replace"))


def _text_frame(recv_ms: int, text: str) -> CapturedFrame:
    return CapturedFrame(recv_ms, _json_object(text), text)


def _bare(before_ms: int, text: str) -> CapturedFrame:
    frame = _json_object(text)
    msg = frame.get("msg") if frame else None
    ts_ms = msg.get("ts_ms") if isinstance(msg, dict) else None
    return CapturedFrame(max(before_ms, ts_ms) if type(ts_ms) is int else before_ms, frame, text)


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = _decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _lines(path: Path) -> Iterator[bytes]:
    """Lines without their newline; blank ones are left out."""
    try:
        with _open(path) as stream:
            while line := stream.readline(LINE_BYTES_MAX):
                if not line.endswith(b"\n") and not _whole(line):
                    log.warning("capture %s: unfinished last line left out (%d bytes)", path, len(line))
                    return
                if line := line.strip():
                    yield line
    except (EOFError, zlib.error, zstandard.ZstdError) as broken:
        log.warning("capture %s: ends early, %s", path, broken)
    except OSError as wrong:  # gzip.BadGzipFile is one
        raise UserMistake(f"capture {path}: {wrong.strerror or wrong}") from None


def _whole(line: bytes) -> bool:
    return _json_object(line.decode("utf-8", "replace")) is not None


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.GzipFile(path, "rb"))
    raw = path.open("rb")
    if path.suffix != ".zst":
        return raw
    # Across frames: the recorder ends a zstd frame at each flush so that a killed one loses little.
    return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True, closefd=True))
