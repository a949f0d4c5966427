"""`python -m bench feed`: the feed's faults, with a sid per subscribe and with one sid per channel.

Gaps flagged and missed, and the time from a fault to a live book; from a venue's return to live books; until a
subscription that was accepted and then forgotten is found.
"""

import asyncio
import logging
import os
import time
from dataclasses import replace
from typing import Any

import uvloop

from bench.environment import JobFailed, say
from bench.feed_judge import line, percentiles
from bench.feed_run import PHASES, all_live, feeding, play, until
from ops.ports import free_ports
from venues.simulator.config import FaultSettings, SimConfig
from venues.simulator.server import WS_PATH, serving

PHASE_S = float(os.environ.get("BENCH_FEED_PHASE_S", "10"))
RATE = 2_000  # frames/s
GROUP_SIZE = 50
CALM_S = 3.0  # frames after the last phase: a lost last frame could not be noticed by anyone
AWAY_S = (1.0, 5.0, 15.0)
MUTED_EVERY = 3  # of four subscribes the third
#: 191 markets: four subscribes; nothing settles in the run.
CONFIG = SimConfig(rate=RATE, strikes=190, seed=5, start_ms=1_760_000_100_000 // 900_000 * 900_000 + 120_000)
MODES = {"a sid per subscribe": False, "one sid per channel": True}


async def run() -> dict[str, Any]:
    """Both modes."""
    logging.getLogger("producers").setLevel(logging.ERROR)
    rows: list[dict[str, Any]] = []
    missed = slowest_ms = slowest_return_ms = 0
    for mode, join_sid in MODES.items():
        frames = int(RATE * (PHASE_S * len(PHASES) + CALM_S))
        verdict, done = await play(replace(CONFIG, frames=frames), join_sid, PHASE_S, GROUP_SIZE)
        if verdict.wrong:
            raise JobFailed(f"{mode}: {verdict.wrong[0]}")
        returns_ms = [await _return_ms(join_sid, away_s) for away_s in AWAY_S]
        took = {
            **verdict.live_again_ms,
            "all of these": [ms for kind in verdict.live_again_ms.values() for ms in kind],
            "venue away for 1, 5, 15 s, from its return": returns_ms,
            "silent subscription, until it is found": [await _silent_ms(join_sid)],
        }
        rows += [{"sids": mode, "fault": kind, **percentiles(ms)} for kind, ms in took.items()]
        say(f"{mode}: {verdict.flagged} of {verdict.gaps} gaps flagged; {done}")
        for kind, ms in took.items():
            say(line(kind, ms))
        missed += verdict.missed
        slowest_ms = max(slowest_ms, percentiles(took["all of these"])["max_ms"])
        slowest_return_ms = max(slowest_return_ms, *returns_ms)
    return {
        "rows": rows,
        "targets": [
            ["feed: gaps missed, both ways of sids", missed, "<=", 0, 0],
            ["feed: slowest live book after a fault, s", slowest_ms / 1_000, "<=", 2, 1],
            ["feed: live books after the venue's return, s", slowest_return_ms / 1_000, "<=", 5, 2],
        ],
    }


async def _return_ms(join_sid: bool, away_s: float) -> int:
    """From the moment at which the venue listens again until every book is live."""
    (port,) = free_ports(1)
    config = replace(CONFIG, port=port, faults=FaultSettings(join_sid=join_sid))
    async with feeding(f"ws://127.0.0.1:{port}{WS_PATH}", GROUP_SIZE) as (feed, _):
        async with serving(config) as simulator:
            feed.set_markets(sorted(simulator.hub.markets))
            await until(lambda: all_live(feed), "live books")
        await asyncio.sleep(away_s)
        async with serving(config):
            back_s = time.monotonic()
            await until(lambda: all_live(feed), "live books after the return")
            return round((time.monotonic() - back_s) * 1_000)


async def _silent_ms(join_sid: bool) -> int:
    """From the acknowledgement of a subscription that nothing follows until it was made again."""
    config = replace(CONFIG, faults=FaultSettings(join_sid=join_sid, mute_every=MUTED_EVERY))
    async with (
        serving(config) as simulator,
        feeding(f"ws://127.0.0.1:{simulator.port}{WS_PATH}", GROUP_SIZE) as (feed, publisher),
    ):
        feed.set_markets(sorted(simulator.hub.markets))
        await until(lambda: simulator.hub.faults.counts["mute"], "a mute subscription")
        simulator.hub.faults.set(FaultSettings(join_sid=join_sid))
        began_s = time.monotonic()
        await until(
            lambda: any(r.tag == "book_reset" and r.payload.reason == "channel_error" for r in publisher.records),
            "a probe",
        )
        return round((time.monotonic() - began_s) * 1_000)


if __name__ == "__main__":
    uvloop.run(run())
