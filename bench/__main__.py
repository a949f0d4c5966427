"""`python -m bench [book|latency|restore|growth|producer|feed|sinks|persist|fills|rest|soak]..`; without a name:
book, latency, restore, growth, producer.

Environment: BENCH_RUNS (1, for sinks 3; medians), BENCH_RECORDS (2,000,000), SOAK_S (1,800).
"""

import asyncio
import importlib
import logging
import os
import signal
import sys
import time

from bench.environment import JobFailed, say
from bench.report import save

#: Measurement -> the module that has `async def run() -> dict`.
MEASUREMENTS = {
    "book": "bench.compare",
    "latency": "bench.latency",
    "restore": "bench.restore",
    "growth": "bench.growth",
    "producer": "bench.producer",
    "feed": "bench.feed",
    "sinks": "bench.sinks",
    "persist": "bench.persist",
    "fills": "bench.fills",
    "rest": "bench.rest",
    "soak": "bench.soak",
}
DEFAULT = ("book", "latency", "restore", "growth", "producer")


def main(names: list[str]) -> int:
    """Run the named measurements one after the other; 0 when all of them ran."""
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        say(f"expected one of {', '.join(MEASUREMENTS)}, was {', '.join(unknown)}")
        return 2
    # While an engine starts, every refused connection would be a line.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # SIGTERM as Ctrl-C: asyncio then unwinds, and broker and children are stopped.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    failed = [name for name in names or DEFAULT if not _measure(name)]
    return 1 if failed else 0


def _measure(name: str) -> bool:
    """Run one and save what it found; False, with one line, when something under measurement failed."""
    started = time.monotonic()
    say(f"bench: {name}")
    try:
        save(name, asyncio.run(importlib.import_module(MEASUREMENTS[name]).run()))
    except JobFailed as failure:
        say(f"bench: {name}: {failure}")
        return False
    except KeyboardInterrupt:
        say(f"bench: {name}: stopped")
        raise SystemExit(130) from None
    say(f"bench: {name} took {time.monotonic() - started:.0f} s; results in bench/results/README.md")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
