"""The capture reader: all line forms, all compressions, merging, and what a killed recorder leaves behind."""

import gzip
import json
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import UserMistake
from venues.capture import CapturedFrame, format_line, merge_captures, read_capture

FRAME = {"type": "trade", "sid": 2, "seq": 7, "msg": {"ts_ms": 1_700_000_000_500}}
TEXT = json.dumps(FRAME)


def test_all_three_line_forms_give_the_same_frame(tmp_path: Path) -> None:
    """recv_ms/event, recv_ts_ns/raw and a bare frame are the same frame, with their own receive times."""
    path = tmp_path / "c.ndjson"
    lines = [
        json.dumps({"recv_ms": 1_700_000_000_001, "event": FRAME}),
        json.dumps({"recv_ts_ns": 1_700_000_000_002_999_999, "raw": TEXT}),
        TEXT,
    ]
    path.write_text("\n".join(lines))

    assert list(read_capture(path)) == [
        CapturedFrame(1_700_000_000_001, FRAME, TEXT),
        CapturedFrame(1_700_000_000_002, FRAME, TEXT),
        CapturedFrame(1_700_000_000_500, FRAME, TEXT),
    ]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_compressed_files_read_like_plain_ones(tmp_path: Path, suffix: str) -> None:
    """The name's suffix decides the compression."""
    body = b"".join(format_line(n * 1_000_000, TEXT.encode(), is_text=True, is_json=True) for n in range(1_000))
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    path = tmp_path / f"c.ndjson{suffix}"
    path.write_bytes(pack(body))

    frames = list(read_capture(path))

    assert [f.recv_ms for f in frames] == list(range(1_000))
    assert {f.text for f in frames} == {TEXT}


def _numbered(lines: int) -> bytes:
    """Lines that do not compress to nothing, so that every cut is in another place."""
    noise = random.Random(7)  # the same bytes in each run
    return b"".join(
        format_line(n * 1_000_000, TEXT.encode() + b" " * noise.randrange(50), is_text=True, is_json=True)
        for n in range(1, lines + 1)
    )


@pytest.mark.parametrize("members", [1, 3])
@given(where=st.floats(0, 1))
def test_a_gzip_cut_anywhere_loses_no_whole_line(
    tmp_path_factory: pytest.TempPathFactory, members: int, where: float
) -> None:
    """Every line of which all bytes can be unpacked is read, up to the last one before the cut."""
    body = _numbered(600)
    size = -(-len(body) // members)
    pack = b"".join(gzip.compress(body[at : at + size]) for at in range(0, len(body), size))
    cut = pack[: int(len(pack) * where)]
    path = tmp_path_factory.mktemp("capture") / "c.gz"
    path.write_bytes(cut)

    left, text = cut, b""
    while left:
        unpacker = zlib.decompressobj(31)
        text += unpacker.decompress(left)
        left = unpacker.unused_data
    whole = text.count(b"\n") + (not text.endswith(b"\n") and text[-1:] == b"}" and text.rpartition(b"\n")[2] != b"")
    assert [f.recv_ms for f in read_capture(path)] == list(range(1, whole + 1))


def test_a_damaged_gzip_gives_every_line_before_the_damage(tmp_path: Path) -> None:
    """Bytes that are wrong in the middle, not at the end."""
    body = _numbered(5_000)
    pack = bytearray(gzip.compress(body))
    at = len(pack) // 2
    pack[at : at + 64] = b"\xff" * 64
    path = tmp_path / "c.gz"
    path.write_bytes(pack)
    intact = zlib.decompressobj(31).decompress(gzip.compress(body)[:at]).count(b"\n")

    times = [f.recv_ms for f in read_capture(path)]
    assert times[:intact] == list(range(1, intact + 1))
    assert intact > 2_000


def test_a_zstandard_file_cut_short_gives_its_whole_blocks(tmp_path: Path) -> None:
    """A killed recorder leaves one; frames that were ended by a flush are whole."""
    body = _numbered(3_000)
    half = body.index(b"\n", len(body) // 2) + 1
    pack = zstandard.compress(body[:half]) + zstandard.compress(body[half:])[:-9]
    path = tmp_path / "c.zst"
    path.write_bytes(pack)

    times = [f.recv_ms for f in read_capture(path)]
    assert times == list(range(1, len(times) + 1))
    assert len(times) >= body[:half].count(b"\n")


@pytest.mark.parametrize(
    ("spelling", "recv_ms"),
    [
        ('"recv_ms":1700000000001.75', 1_700_000_000_001),
        ('"recv_ms":"1700000000001"', 1_700_000_000_001),
        ('"recv_ms":"1700000000001.999"', 1_700_000_000_001),
        ('"recv_ms":1.700000000001e12', 1_700_000_000_001),
        ('"recv_ts_ns":"1700000000001999999"', 1_700_000_000_001),
        ('"recv_ts_ns":1700000000001999999.5', 1_700_000_000_001),
        ('"recv_ms":null', 7),
        ('"recv_ms":"soon"', 7),
        ('"recv_ms":-5', 7),
        ('"recv_ms":1e400', 7),
        ('"recv_ms":[1]', 7),
        ('"recv_ms":null,"recv_ts_ns":9000000', 9),
    ],
)
def test_receive_times_as_fractions_and_texts(tmp_path: Path, spelling: str, recv_ms: int) -> None:
    """Cut off at the millisecond; a time that says nothing is that of the line before. The frame is never garbage."""
    path = tmp_path / "c"
    path.write_text(f'{{"recv_ms":7,"event":{TEXT}}}\n{{{spelling},"event":{TEXT}}}\n')

    assert list(read_capture(path))[1] == CapturedFrame(recv_ms, FRAME, TEXT)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstandard"])
def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """Nor of a later one: files are put together with cat."""
    line = b'\xef\xbb\xbf{"recv_ms":5,"event":%b}\r\n' % TEXT.encode()
    suffix = {bytes: "", gzip.compress: ".gz", zstandard.compress: ".zst"}[pack]
    path = tmp_path / f"c{suffix}"
    path.write_bytes(pack(line * 2))

    assert list(read_capture(path)) == [CapturedFrame(5, FRAME, TEXT)] * 2


def test_an_unfinished_last_line_is_left_out_and_a_whole_one_kept(tmp_path: Path) -> None:
    """Only a line without newline that is no JSON object is an unfinished one."""
    path = tmp_path / "c"
    path.write_text(f"{TEXT}\n{TEXT[:20]}")

    assert [f.text for f in read_capture(path)] == [TEXT]


def test_a_line_of_no_known_form_is_a_frame_of_garbage(tmp_path: Path) -> None:
    """Nothing in the middle of a file vanishes."""
    path = tmp_path / "c"
    path.write_text(f'{{"recv_ms":5,"event":{TEXT}}}\nnot json\n[1]\n')

    assert [(f.recv_ms, f.frame, f.text) for f in read_capture(path)] == [
        (5, FRAME, TEXT),
        (5, None, "not json"),
        (5, None, "[1]"),
    ]


def test_several_files_merge_by_receive_time_and_keep_each_files_order(tmp_path: Path) -> None:
    """A clock that falls within a file does not reorder that file."""
    for name, times in (("a", [1, 9, 3, 20]), ("b", [2, 9, 10])):
        (tmp_path / name).write_text("".join(f'{{"recv_ms":{t},"event":{{"f":"{name}{t}"}}}}\n' for t in times))

    merged = [f.frame["f"] for f in merge_captures([tmp_path / "a", tmp_path / "b"]) if f.frame]

    assert merged == ["a1", "b2", "a9", "a3", "b9", "b10", "a20"]


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """The user's mistake names the file."""
    with pytest.raises(UserMistake, match="nowhere"):
        list(read_capture(tmp_path / "nowhere.ndjson"))


def test_a_name_that_promises_gzip_for_plain_text_is_one_line(tmp_path: Path) -> None:
    """The user's mistake names the file."""
    path = tmp_path / "c.gz"
    path.write_text(TEXT)

    with pytest.raises(UserMistake, match=r"c\.gz"):
        list(read_capture(path))


@given(st.lists(st.one_of(st.text(max_size=40), st.binary(max_size=40)), max_size=10))
def test_what_the_recorder_formats_the_reader_gives_back(
    tmp_path_factory: pytest.TempPathFactory, frames: list[str | bytes]
) -> None:
    """Any text and any bytes survive the file exactly; text that is no UTF-8 comes back as bytes."""
    path = tmp_path_factory.mktemp("capture") / "c"
    lines = [(f, False) if isinstance(f, bytes) else (f.encode("utf-8", "surrogatepass"), True) for f in frames]
    path.write_bytes(b"".join(format_line(n, f, is_text=text, is_json=False) for n, (f, text) in enumerate(lines)))

    assert [f.text.encode() if f.binary is None else f.binary for f in read_capture(path)] == [f for f, _ in lines]
