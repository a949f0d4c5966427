"""The recorder: exact frames, rotation, bounds, and a disk that fails."""

from pathlib import Path
from typing import Any

from producers import recorder as recorder_module
from producers.recorder import Recorder
from venues.capture import read_capture

FRAMES = [(b'{"type":"trade","n":%d}' % n, True, True) for n in range(3_000)]
ODD = [(b"no json", True, False), (b"\xff\x00", False, False), (b'{"a":\n1}', True, True), (b"\xff", True, False)]


def _captured(folder: Path) -> list[bytes]:
    frames = [frame for path in sorted(folder.glob("*.zst")) for frame in read_capture(path)]
    return [frame.text.encode() if frame.binary is None else frame.binary for frame in frames]


def test_every_frame_comes_back_as_it_came(tmp_path: Path) -> None:
    """JSON, other text, binary, line breaks, broken UTF-8."""
    recorder = Recorder(tmp_path, 1 << 20, 3_600, 4)
    recorder.start()
    for n, frame in enumerate([*FRAMES, *ODD]):
        recorder.put(n * 1_000_000, *frame)
    recorder.stop()

    assert _captured(tmp_path) == [data for data, _, _ in [*FRAMES, *ODD]]
    assert recorder.gauges() == {"recorder_frames_written": len(FRAMES) + len(ODD), "recorder_frames_dropped": 0}


def test_files_rotate_by_age_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    """An age of nothing starts a file for each chunk; three files remain, the newest, in order."""
    recorder = Recorder(tmp_path, 1 << 20, 0.0, 3)
    recorder.start()
    for n, frame in enumerate(FRAMES):
        recorder.put(n, *frame)
    recorder.stop()

    kept = _captured(tmp_path)
    assert len(list(tmp_path.glob("*.zst"))) == 3
    assert kept == [data for data, _, _ in FRAMES][-len(kept) :]


def test_a_full_queue_drops_with_a_count_and_never_blocks(tmp_path: Path) -> None:
    """The thread is not even started: put returns all the same."""
    recorder = Recorder(tmp_path, 1 << 20, 3_600, 4)
    for _ in range(recorder_module.QUEUE_FRAMES_MAX + 5):
        recorder.put(1, *FRAMES[0])

    assert recorder.frames_dropped == 5


def test_a_disk_that_fails_pauses_the_recording_with_a_reason(tmp_path: Path, monkeypatch: Any) -> None:
    """The folder is gone: frames are dropped with a count, the reason is there for readiness."""
    folder = tmp_path / "raw"
    recorder = Recorder(folder, 1 << 20, 3_600, 4)
    recorder.start()
    folder.rmdir()
    for frame in FRAMES:
        recorder.put(1, *frame)
    recorder.stop()

    assert recorder.frames_dropped == len(FRAMES)
    assert recorder.failure is not None


def test_disk_that_refuses_every_write_costs_no_file_that_it_holds(tmp_path: Path, monkeypatch: Any) -> None:
    """Each retry opened a file and removed the oldest for it: 48 good captures were gone after eight minutes."""
    monkeypatch.setattr("producers.recorder.RETRY_S", 0.0)
    monkeypatch.setattr("producers.recorder.FLUSH_S", 0.0)
    folder = tmp_path / "raw"
    folder.mkdir()
    good = [folder / f"kalshi-20200101T00000{n}-000001.ndjson.zst" for n in range(4)]
    for path in good:
        path.write_bytes(b"a capture")
    recorder = Recorder(folder, 1 << 20, 3_600, 4)
    written = recorder._open
    refuse = OSError(28, "No space left on device")

    def open_on_a_full_disk() -> None:
        written()
        assert recorder._writer is not None
        recorder._writer.close()  # type: ignore[no-untyped-call]

        def write(data: bytes) -> int:
            raise refuse

        monkeypatch.setattr(recorder, "_writer", type("Full", (), {"write": staticmethod(write)})())

    monkeypatch.setattr(recorder, "_open", open_on_a_full_disk)
    for _ in range(10):
        recorder._write([b"line\n"])
    assert sorted(folder.iterdir()) == good
    assert (recorder.frames_dropped, recorder.failure) == (10, "recording paused: No space left on device")
