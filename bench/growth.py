"""`python -m bench growth`: our job with 100, 1,000 and 10,000 markets of 60 levels: cost and memory."""

import os
from dataclasses import asdict
from statistics import median
from typing import Any

from bench.book_job import Outcome, describe, make_input, run_peer
from bench.engine import bus, kafka
from bench.environment import say
from bench.peers.ours import OURS, fresh_input

MARKETS = (100, 1_000, 10_000)
RECORDS = int(os.environ.get("BENCH_GROWTH_RECORDS", "1000000"))
RUNS = int(os.environ.get("BENCH_RUNS", "1"))
CUT_S = 120.0


async def run() -> dict[str, Any]:
    """One input per number of markets; snapshots are part of it, as they are of a session."""
    outcomes: dict[int, list[Outcome]] = {}
    with kafka() as engine:
        async with bus(engine.bus_url) as view:
            for markets in MARKETS:
                topic = await fresh_input(view)
                expected = await make_input(view, topic, RECORDS, markets)
                for number in range(RUNS):
                    tag = f"growth-{markets}-{number}"
                    outcome = await run_peer(OURS, view, topic, expected, engine.pid or 0, tag, CUT_S)
                    say(f"{markets:>6} markets: {describe(outcome)}")
                    outcomes.setdefault(markets, []).append(outcome)
    return summary(outcomes)


def summary(outcomes: dict[int, list[Outcome]]) -> dict[str, Any]:
    """The table's rows and the two ratios."""
    rows = []
    for markets, runs in outcomes.items():
        fields = ("records_per_s", "cpu_s_per_million", "broker_cpu_s_per_million", "rss_peak_mib")
        row = {name: median(asdict(run)[name] for run in runs) for name in fields}
        rows.append({"markets": markets} | row | {"right": all(run.right for run in runs)})
    first, last = rows[0], rows[-1]
    cost = last["cpu_s_per_million"] / first["cpu_s_per_million"]
    kib = (last["rss_peak_mib"] - first["rss_peak_mib"]) * 1_024 / (last["markets"] - first["markets"])
    return {
        "rows": rows,
        "targets": [
            ["CPU per record, 10,000 markets against 100", round(cost, 2), "<=", 1.3, 1.1],
            ["memory per market of 60 levels, KiB", round(kib, 1), "<=", 20, 8],
        ],
        "note": f"{RECORDS:,} records each; memory per market is the growth of the peak from 100 to 10,000 markets.",
    }
