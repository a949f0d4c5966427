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
