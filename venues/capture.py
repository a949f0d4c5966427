"""Capture files: raw WebSocket frames with their receive time, one per line.

Read by the simulator and by tests, written by `producers.recorder`. NDJSON, plain, `.gz` or `.zst`. Line forms:

    {"recv_ms": 1786489200123, "event": {frame}}              what our recorder writes for JSON frames
    {"recv_ts_ns": 1786489200123456789, "raw": "frame text"}  what it writes for text that is no JSON
    {"recv_ts_ns": 1786489200123456789, "raw_base64": "..."}  what it writes for binary frames
    {frame}                                                   a bare frame

Others' files have the times as fractions or as text, and begin with a byte order mark: read as they are meant.

Nothing in a file is skipped silently: a line of no known form is a frame of garbage, as it stands. Only an unfinished
last line (the recorder was killed) is left out, with a warning; of a compressed file that is cut or damaged, every
whole line before that place is read.
"""

import base64
import binascii
import heapq
import io
import logging
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from domain.errors import UserMistake
from venues.kalshi.numbers import decode_exact, exact_number

log = logging.getLogger(__name__)

LINE_BYTES_MAX = 16 << 20  # four times the frame cap of 4 MB: base64 and JSON escapes of garbage fit
PLAIN_BYTES = 1 << 20  # read at once
PACKED_BYTES = 16 << 10  # compressed bytes at once: at gzip's highest ratio that is 16 MB of text in memory
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_BITS = 31  # zlib's window size, with a gzip header and trailer
_NS_PER_MS = 1_000_000
_TIME_DIGITS_MAX = 20  # a receive time in ns has 19


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """One frame. `recv_ms` never falls within a file. `frame` is the decoded object, None where the text is not a
    JSON object; `text` is the frame as it came (empty for a binary frame); `binary` is set for binary frames only."""

    recv_ms: int
    frame: dict[str, Any] | None
    text: str
    binary: bytes | None = None


_ABSENT = msgspec.Raw()  # a union with None would decode instead of keeping the text


class _Line(msgspec.Struct):
    recv_ms: msgspec.Raw = _ABSENT
    recv_ts_ns: msgspec.Raw = _ABSENT
    event: msgspec.Raw = _ABSENT
    raw: str | None = None
    raw_base64: str | None = None


_decode_line = msgspec.json.Decoder(_Line).decode


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
    said_ms = _whole_number(known.recv_ms)
    if said_ms is None and (said_ns := _whole_number(known.recv_ts_ns)) is not None:
        said_ms = said_ns // _NS_PER_MS
    recv_ms = max(before_ms, said_ms or 0)
    if known.event is not _ABSENT:
        return _text_frame(recv_ms, bytes(known.event).decode("utf-8", "replace"))
    if known.raw is not None:
        return _text_frame(recv_ms, known.raw)
    if known.raw_base64 is not None:
        try:
            return CapturedFrame(recv_ms, None, "", base64.b64decode(known.raw_base64, validate=True))
        except binascii.Error:
            pass
    return _bare(before_ms, line.decode("utf-8", "replace"))


def _whole_number(raw: msgspec.Raw) -> int | None:
    """A JSON number or a text of one, cut off at the point; None where there is none."""
    if raw is _ABSENT:
        return None
    try:
        number = exact_number(bytes(raw).decode().strip('" '))
    except UnicodeDecodeError:
        return None
    is_time = number.is_finite() and number > 0 and number.adjusted() <= _TIME_DIGITS_MAX
    return int(number) if is_time else None


def _text_frame(recv_ms: int, text: str) -> CapturedFrame:
    return CapturedFrame(recv_ms, _json_object(text), text)


def _bare(before_ms: int, text: str) -> CapturedFrame:
    frame = _json_object(text)
    msg = frame.get("msg") if frame else None
    ts_ms = msg.get("ts_ms") if isinstance(msg, dict) else None
    return CapturedFrame(max(before_ms, ts_ms) if type(ts_ms) is int else before_ms, frame, text)


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = decode_exact(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _lines(path: Path) -> Iterator[bytes]:
    """Lines without their newline; blank ones are left out. One longer than LINE_BYTES_MAX comes in pieces."""
    rest = b""
    for text in _chunks(path):
        *whole, rest = (rest + text).split(b"\n")
        yield from filter(None, map(_stripped, whole))
        while len(rest) > LINE_BYTES_MAX:
            yield rest[:LINE_BYTES_MAX]
            rest = rest[LINE_BYTES_MAX:]
    if rest := _stripped(rest):
        if _json_object(rest.decode("utf-8", "replace")) is None:
            log.warning("capture %s: unfinished last line left out (%d bytes)", path, len(rest))
        else:
            yield rest


def _stripped(line: bytes) -> bytes:
    return line.strip().removeprefix(_BYTE_ORDER_MARK).lstrip()


def _chunks(path: Path) -> Iterator[bytes]:
    """The file's text, as far as it can be read."""
    read = {".gz": _gunzip, ".zst": _unzstd}.get(path.suffix, _plain)
    try:
        with path.open("rb") as file:
            yield from read(file)
    except EOFError as early:
        log.warning("capture %s: ends early, %s", path, early)
    except OSError as wrong:
        raise UserMistake(f"capture {path}: {wrong.strerror or wrong}") from None


def _plain(file: io.BufferedReader) -> Iterator[bytes]:
    while text := file.read(PLAIN_BYTES):
        yield text


def _gunzip(file: io.BufferedReader) -> Iterator[bytes]:
    """All members, one after the other. Raises EOFError after the last byte that can be read of a damaged file."""
    if file.peek(2)[:2] not in (b"", _GZIP_MAGIC):
        raise OSError("not a gzip file")
    member, is_open = zlib.decompressobj(_GZIP_BITS), False
    while packed := file.read(PACKED_BYTES):
        while packed:
            before, is_open = member.copy(), True
            try:
                yield member.decompress(packed)
            except zlib.error as broken:
                yield from _up_to_the_damage(before, packed)
                raise EOFError(str(broken)) from None
            packed = member.unused_data.lstrip(b"\0")  # zeros may pad the end of a member
            if member.eof:
                member, is_open = zlib.decompressobj(_GZIP_BITS), False
    if is_open:
        raise EOFError("the file was cut")


def _up_to_the_damage(member: "zlib._Decompress", packed: bytes) -> Iterator[bytes]:
    """What a member gives before its first wrong byte: fed whole, it would give nothing of the piece."""
    for at in range(len(packed)):
        try:
            yield member.decompress(packed[at : at + 1])
        except zlib.error:
            return


def _unzstd(file: io.BufferedReader) -> Iterator[bytes]:
    # Across frames: the recorder ends a zstd frame at each flush so that a killed one loses little.
    reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)
    try:
        while text := reader.read1(PACKED_BYTES):
            yield text
    except zstandard.ZstdError as broken:
        raise EOFError(str(broken)) from None
