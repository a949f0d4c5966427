"""`python -m conformance [--accept]`: the SDKs' calls, the stream through faults, and the drift alarm.

Environment: CONFORMANCE_S, seconds of faults (300); CONFORMANCE_PYTHON, the SDKs' interpreter.
Exit code 0: all held, or the SDKs cannot be installed here (a notice says so); 1: something did not.
"""

import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conformance import drift
from conformance.ours import FoldingPublisher, our_feed
from conformance.python import NoEnvironment, environment
from conformance.sdk_process import Listening, SdkFailed, run_calls
from conformance.venue import KEY_ID, STREAM_FAULTS, Venue, venue
from venues.simulator.config import FaultSettings
from venues.simulator.exchange import Pause
from venues.simulator.generator import Generator

FAULTS_S = 300.0
CLEAN_S = 3.0  # after the faults, so that a loss at their very end is noticed by the next frame
EQUAL_S = 60.0  # for the books to be equal once the exchange stands still


def say(line: str) -> None:
    """One line of the report."""
    print(line, flush=True)


async def run(python: Path, seconds: float) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The reports by name, and what did not hold."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        async with venue(Path(folder)) as at:
            tickers = at.open_tickers()
            where = KEY_ID, str(at.key_file)
            listening = await Listening.start(python, "conformance.sdk.stream", at.ws_url, *where, ",".join(tickers))
            try:
                official = await run_calls(python, "conformance.sdk.official", at.rest_url, *where)
                community = await run_calls(python, "conformance.sdk.community", at.rest_url, *where)
                _tell_lifecycles(at)
                wrong = await _through_faults(at, listening, tickers, seconds)
                stream = await listening.ask("end")
            finally:
                await listening.close()
    reports = {"kalshi-python-sync": official, "kalshi-sdk": community, "kalshi-sdk stream": stream}
    for name in ("kalshi-python-sync", "kalshi-sdk"):
        wrong += _judge_calls(name, reports[name])
    return reports, wrong + _judge_stream(stream)


def _tell_lifecycles(at: Venue) -> None:
    """A market is listed, opened and settled, for the channel of lives."""
    source = at.simulator.source
    assert isinstance(source, Generator)
    source.add_market("KXBTCD-NOW-T1.00", 1.0, 3_600)
    source.settle_now("KXBTCD-NOW-T1.00", "yes")
    at.simulator.hub.flush()


async def _through_faults(at: Venue, listening: Listening, tickers: list[str], seconds: float) -> list[str]:
    """Minutes of faults for both clients, then the exchange stands still and the books are compared."""
    async with our_feed(at.ws_url, at.signer, tickers) as (ours, counts):
        at.set_faults(STREAM_FAULTS)
        await asyncio.sleep(seconds)
        at.set_faults(FaultSettings())
        await asyncio.sleep(CLEAN_S)
        at.simulator.hub.exchange.set(Pause(trading_active=False))
        wrong = await _until_equal(at, listening, ours, tickers)
        at.simulator.hub.exchange.set(Pause())
        struck = dict(at.simulator.hub.faults.counts)
        say(f"stream: {seconds:.0f} s of faults {struck}, {len(tickers)} markets; our feed: {counts.gaps} gaps")
    return wrong


async def _until_equal(at: Venue, listening: Listening, ours: FoldingPublisher, tickers: list[str]) -> list[str]:
    deadline_s = time.monotonic() + EQUAL_S
    while True:
        theirs: Mapping[str, Any] = (await listening.ask("books"))["books"]
        wrong = []
        for ticker in tickers:
            truth, our = at.truth(ticker), ours.levels(ticker)
            if our != truth:
                wrong.append(f"our book of {ticker} is not the venue's")
            if theirs[ticker] != our:
                wrong.append(f"the SDK's book of {ticker} is not ours")
        if not wrong or time.monotonic() > deadline_s:
            say(f"books: {len(tickers)} compared, level by level: {wrong or 'all equal'}")
            return wrong
        await asyncio.sleep(0.5)


def _judge_calls(name: str, report: dict[str, Any]) -> list[str]:
    made, failed = report["made"], report["failed"]
    parsed = len(made) - len([call for call in failed if not call.startswith("stage ")])
    say(f"{name} {report['version']}: {parsed} of {len(made)} calls parsed, of {len(report['methods'])} that it has")
    wrong = [f"{name} {call}: {text}" for call, text in failed.items()]
    return wrong + [f"{name} {call}: no item came back, nothing was parsed" for call in report["empty"]]


EXPECTED_TYPES = {
    "orderbook_snapshot", "orderbook_delta", "ticker", "trade", "fill", "market_position", "user_order",
    "order_group_updates", "market_lifecycle_v2",
}  # fmt: skip
#: Complaints that are right: a type that the SDK does not know, and deltas that it drops while it subscribes anew.
TOLERATED = ("Unknown message type", "Delta for unknown ticker")


def _judge_stream(report: dict[str, Any]) -> list[str]:
    parsed = report["parsed"]
    say(f"{report['sdk']} stream {report['version']}: parsed {parsed}, {report['sessions']} sessions")
    say(f"  complaints {report['complaints']}, sessions ended by {report['errors']}")
    wrong = [f"the SDK parsed no {kind}" for kind in sorted(EXPECTED_TYPES - parsed.keys())]
    refused = {kind: text for kind, text in report["texts"].items() if kind not in TOLERATED}
    return wrong + [f"the SDK refused a frame: {text}" for text in refused.values()]


def judge_drift(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is not as `contract.json` says."""
    accepted = drift.load()
    return [
        f"{name}: {change}"
        for name, report in reports.items()
        for change in drift.changes(accepted.get(name, {}), report)
    ]


def main(arguments: list[str]) -> int:
    """The exit code."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        python, notice = environment()
    except NoEnvironment as without:
        say(f"conformance: NOTICE: not run, the SDKs cannot be installed here: {without}")
        return 0
    if notice:
        say(f"conformance: NOTICE: {notice}")
    try:
        reports, wrong = asyncio.run(run(python, float(os.environ.get("CONFORMANCE_S", FAULTS_S))))
    except SdkFailed as failed:
        say(f"conformance: {failed}")
        return 1
    if "--accept" in arguments:
        drift.save(reports)
        say(f"conformance: {drift.CONTRACT.name} accepted")
    changed = judge_drift(reports)
    for line in changed:
        say(f"drift: {line}")
    for line in wrong:
        say(f"wrong: {line}")
    say(f"conformance: {'held' if not wrong and not changed else 'did not hold'}")
    return 1 if wrong or changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
