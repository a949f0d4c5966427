"""CPU seconds and resident memory of process trees, sampled from /proc.

CPU is user + system of a root process and everything below it; memory is the sum of resident sizes. A sample each
100 ms costs about 0.2 ms, so the meter itself does not show.
"""

import os
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path

SAMPLE_S = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> tuple[int, float, int] | None:
    """(parent, CPU seconds including reaped children, resident bytes) of one process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    cpu = sum(int(fields[i]) for i in (11, 12, 13, 14)) / _TICKS
    return int(fields[1]), cpu, int(fields[21]) * _PAGE


def cpu_and_children_s(pid: int) -> float:
    """CPU seconds of a process and of its children that have ended. Raises OSError when there is no such process."""
    stat = _stat(pid)
    if stat is None:
        raise ProcessLookupError(pid)
    return stat[1]


def tree_usage(root: int) -> tuple[float, int]:
    """(CPU seconds, resident bytes) of a process and all its descendants, now."""
    stats = {}
    children = defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _stat(int(entry))) is not None:
            stats[int(entry)] = stat
            children[stat[0]].append(int(entry))
    cpu, resident, todo = 0.0, 0, [root]
    while todo:
        pid = todo.pop()
        if pid in stats:
            cpu += stats[pid][1]
            resident += stats[pid][2]
            todo += children[pid]
    return cpu, resident


class Meter:
    """Samples one process tree from `start` to `stop`, in a thread of its own."""

    def __init__(self, pid: int, sample_s: float = SAMPLE_S) -> None:
        self._pid = pid
        self._sample_s = sample_s
        self._times_ms: list[float] = []
        self._cpu_s: list[float] = []
        self._resident: list[int] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> "Meter":
        """Begin sampling."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End sampling; call it before the process ends."""
        self._sample()
        self._ended.set()
        self._thread.join()

    def cpu_s(self, from_ms: float, to_ms: float) -> float:
        """CPU seconds used between two wall clock times, interpolated between samples."""
        return self._cpu_at(to_ms) - self._cpu_at(from_ms)

    def rss_peak_mib(self) -> float:
        """The largest resident sum seen."""
        return max(self._resident, default=0) / (1 << 20)

    def rss_mib(self) -> list[tuple[float, float]]:
        """All samples as (wall clock ms, MiB)."""
        return [(ms, size / (1 << 20)) for ms, size in zip(self._times_ms, self._resident, strict=True)]

    def _cpu_at(self, ms: float) -> float:
        i = bisect_left(self._times_ms, ms)
        if i == 0 or i == len(self._times_ms):
            return self._cpu_s[min(i, len(self._cpu_s) - 1)]
        before, after = self._times_ms[i - 1], self._times_ms[i]
        share = (ms - before) / (after - before) if after > before else 0.0
        return self._cpu_s[i - 1] + share * (self._cpu_s[i] - self._cpu_s[i - 1])

    def _sample(self) -> None:
        cpu, resident = tree_usage(self._pid)
        if resident:
            self._times_ms.append(time.time() * 1_000)
            self._cpu_s.append(cpu)
            self._resident.append(resident)

    def _run(self) -> None:
        while not self._ended.wait(self._sample_s):
            self._sample()
