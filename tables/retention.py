"""How long a table remembers: a clock of event time per partition, and a sweep that lets expired entries go.

Time is that of the records, so a replay expires what the first run expired. Whatever is past the horizon is refused by
the agent before it looks into the table: when exactly an entry is deleted is seen by nobody, and the sweep may take its
time (`SLICE_ENTRIES` for each run of input).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from tables.checkpointed import PartitionTable

S = TypeVar("S")

DAY_MS = 86_400_000
#: Event time between the beginnings of two sweeps.
SWEEP_INTERVAL_MS = DAY_MS
#: Entries looked at for each run of input: 2 ms.
SLICE_ENTRIES = 500


@dataclass(frozen=True, slots=True)
class Clock:
    """`newest_ms`: the newest event time. `entries`: how many are remembered, for an alarm (each kill may leave out
    those of one checkpoint). `swept_ms`: when the last sweep began; `sweep_from`: where the one under way goes on
    (empty: none is)."""

    newest_ms: int = 0
    entries: int = 0
    swept_ms: int = 0
    sweep_from: bytes = b""


def sweep(table: PartitionTable[S], clock: Clock, expired: Callable[[bytes, S], bool], counts: bytes) -> Clock:
    """One slice of a sweep, if one is due. Keys that start with `counts` are what `entries` counts."""
    if not clock.swept_ms:
        return replace(clock, swept_ms=clock.newest_ms)
    if clock.swept_ms > clock.newest_ms:  # the clock was set right (`domain.times.watermark_ms`)
        clock = replace(clock, swept_ms=clock.newest_ms)
    if not clock.sweep_from:
        if clock.newest_ms - clock.swept_ms < SWEEP_INTERVAL_MS:
            return clock
        clock = replace(clock, swept_ms=clock.newest_ms, sweep_from=b"\x01")
    keys = [key for key, _ in islice(table.store.items(clock.sweep_from), SLICE_ENTRIES)]
    gone = 0
    for key in keys:
        state = table.get(key)
        if state is not None and expired(key, state):
            table.delete(key)
            gone += key.startswith(counts)
    # The next key after this one in byte order; none left: the sweep is over.
    after = keys[-1] + b"\x00" if len(keys) == SLICE_ENTRIES else b""
    return replace(clock, sweep_from=after, entries=max(0, clock.entries - gone))
