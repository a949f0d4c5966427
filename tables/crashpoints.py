"""Named places where a test may have the process killed with kill -9 (`KALSHI_STREAMS_CRASH_AT=name[:n]`).

Crash tests need a kill between two exact steps; without the variable this is one comparison with None.
"""

import os
import signal

VARIABLE = "KALSHI_STREAMS_CRASH_AT"


def _parse(text: str | None) -> tuple[str | None, int]:
    if not text:
        return None, 0
    name, _, count = text.partition(":")
    return name, int(count or 1)


_name, _left = _parse(os.environ.get(VARIABLE))


def reach(name: str) -> None:
    """Die here at the n-th time, if the environment says so."""
    global _left
    if _name is None or name != _name:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
