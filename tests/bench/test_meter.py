"""The meter counts what a process really used, and the soak's slope is that of a line."""

import os
import time

import pytest

from bench.meter import Meter, tree_usage
from bench.soak import slope_per_h


def test_the_cpu_of_this_process_is_what_the_system_says() -> None:
    """A spell of work shows in the tree's CPU seconds, to the clock's tick of 10 ms and the other threads' work."""
    before, began = tree_usage(os.getpid())[0], time.process_time()
    while time.process_time() - began < 0.3:
        pass

    assert tree_usage(os.getpid())[0] - before == pytest.approx(0.3, abs=0.15)


def test_a_stopped_meter_gives_no_cpu_outside_its_samples() -> None:
    """Interpolation never goes beyond the first and the last sample."""
    meter = Meter(os.getpid(), sample_s=0.01).start()
    meter.stop()

    assert meter.cpu_s(0, 1) == 0
    assert meter.rss_peak_mib() > 1


def test_the_slope_of_a_line_is_its_own() -> None:
    """Two units a second are 7,200 an hour, whatever the first half was."""
    samples = [(float(t), 500.0) for t in range(50)] + [(float(t), 2.0 * t) for t in range(50, 100)]

    assert slope_per_h(samples) == pytest.approx(7_200)
