"""`python -m bench book`: the book job on all peers, and the equality of those that were cut, on a shorter input."""

import os
from dataclasses import asdict, replace
from statistics import median
from typing import Any

from bench.book_job import CUT_S, Outcome, describe, make_input, run_peer
from bench.engine import Bus, bus, kafka
from bench.environment import JobFailed, kafka_streams, say
from bench.peers.catalogue import KAFKA_STREAMS, QUIX, STOCK_FAUST, Peer
from bench.peers.ours import OURS, fresh_input
from ops.engines.kafka import KafkaEngine

RECORDS = int(os.environ.get("BENCH_RECORDS", "2000000"))
RECORDS_SHORT = int(os.environ.get("BENCH_RECORDS_SHORT", "50000"))  # stock Faust needs about 15 s for it
MARKETS = 500
RUNS = int(os.environ.get("BENCH_RUNS", "1"))


async def run() -> dict[str, Any]:
    """All peers, `BENCH_RUNS` times, interleaved: what the machine does meanwhile hits all of them."""
    peers = [OURS, *([KAFKA_STREAMS] if kafka_streams() else []), QUIX, STOCK_FAUST]
    outcomes: list[Outcome] = []
    with kafka() as engine:
        async with bus(engine.bus_url) as view:
            topic = await fresh_input(view)
            expected = await make_input(view, topic, RECORDS, MARKETS)
            for number in range(RUNS):
                for peer in peers:
                    outcomes += await _attempt(peer, view, topic, expected, engine, f"{number}", CUT_S)
            cut = [peer for peer in peers if any(o.cut for o in outcomes if o.peer == peer.name)]
            verdicts = await _check_short(view, engine, cut)
    rows = [replace(o, right=verdicts.get(o.peer)) if o.cut else o for o in outcomes]
    return {
        "records": RECORDS,
        "markets": MARKETS,
        "bytes_each": expected.bytes_each,
        "quotes": expected.quotes,
        "runs": [asdict(row) for row in rows],
        "medians": [_median([row for row in rows if row.peer == peer.name]) for peer in peers if _ran(peer, rows)],
    }


async def _attempt(
    peer: Peer, view: Bus, topic: str, expected: Any, engine: KafkaEngine, tag: str, cut_s: float
) -> list[Outcome]:
    """One run; a peer that fails is said and left out, the others go on."""
    name = "".join(c if c.isalnum() else "-" for c in peer.name)
    try:
        outcome = await run_peer(peer, view, topic, expected, engine.pid or 0, f"{name}-{tag}", cut_s)
    except JobFailed as wrong:
        say(f"bench: {wrong}")
        return []
    say(describe(outcome))
    return [outcome]


async def _check_short(view: Bus, engine: KafkaEngine, peers: list[Peer]) -> dict[str, bool | None]:
    """Whether the cut peers are right, on an input they can finish."""
    if not peers:
        return {}
    topic = await fresh_input(view)
    expected = await make_input(view, topic, RECORDS_SHORT, MARKETS)
    verdicts: dict[str, bool | None] = {}
    for peer in peers:
        for outcome in await _attempt(peer, view, topic, expected, engine, "short", 2 * CUT_S):
            verdicts[peer.name] = outcome.right
    return verdicts


def _ran(peer: Peer, rows: list[Outcome]) -> bool:
    return any(row.peer == peer.name for row in rows)


def _median(rows: list[Outcome]) -> dict[str, Any]:
    """Median of every number over the runs; right only if all were."""
    first = asdict(rows[0])
    numbers = {k: median(asdict(row)[k] for row in rows) for k, v in first.items() if type(v) in (int, float)}
    verdicts = [row.right for row in rows]
    right = False if False in verdicts else (None if None in verdicts else True)
    return first | numbers | {"right": right, "cut": any(row.cut for row in rows), "runs": len(rows)}
