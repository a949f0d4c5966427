"""The book job on every peer, one after the other, on one broker and one input topic.

The clock is the broker's: a job's processing time runs from the first to the last record in its output topic
(LogAppendTime), so start-up is apart and nobody reports about themselves. Commits are watched from outside: a run ends
when the group's commits stand at the end of the input. CPU is measured from the first output to that last commit.
"""

import asyncio
import json
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from typing import Any

from bench.engine import Bus, now_ms
from bench.environment import PROJECT, WORK, JobFailed, run_in_peers, say
from bench.input import Expected
from bench.meter import Meter
from bench.peers.catalogue import Job, Peer, child_environment

POLL_S = 0.2
FIRST_OUTPUT_S_MAX = 60.0
CUT_S = 60.0  # a peer that needs longer is stopped, its rate is over what it committed
STOP_S_MAX = 15.0
STUCK_S_MAX = 90.0  # without progress of the commits


@dataclass(frozen=True)
class Outcome:
    """One run. CPU in seconds per million records; `right` compares quotes and final prices (None: not compared)."""

    peer: str
    version: str
    records: int
    records_per_s: float
    cpu_s_per_million: float
    broker_cpu_s_per_million: float
    rss_peak_mib: float
    start_s: float
    start_cpu_s: float
    processing_s: float
    commit_s: float
    quotes: int
    right: bool | None
    cut: bool


@dataclass
class Watched:
    """What was seen from outside while a peer ran: times in ms of the wall clock, commits as (ms, records)."""

    spawned_ms: float
    first_output_ms: float = 0.0
    commits: list[tuple[float, int]] = field(default_factory=list)
    done: bool = False

    @property
    def last_ms(self) -> float:
        return self.commits[-1][0]


async def make_input(view: Bus, topic: str, records: int, markets: int) -> Expected:
    """Fill an empty input topic."""
    text = await asyncio.to_thread(run_in_peers, "bench.input", view.broker, topic, str(records), str(markets))
    made = json.loads(text)
    seconds = made.pop("seconds")
    say(f"bench: {records:,} records of {made['bytes_each']:.0f} B, {markets} markets, produced in {seconds} s")
    return Expected(**made)


async def run_peer(
    peer: Peer, view: Bus, topic: str, expected: Expected, broker_pid: int, tag: str, cut_s: float
) -> Outcome:
    """One run of one peer from an empty state; stops it in the end."""
    job = await _prepare(peer, view, topic, tag)
    watched = Watched(now_ms())
    process = spawn(peer, job)
    meters = Meter(process.pid).start(), Meter(broker_pid).start()
    try:
        await _watch(peer, view, job, process, watched, expected.records, cut_s)
        for meter in meters:
            meter.stop()
    finally:
        stop(process)
    found = json.loads(await asyncio.to_thread(run_in_peers, "bench.check", view.broker, job.output))
    return _outcome(peer, expected, watched, found, *meters)


async def _prepare(peer: Peer, view: Bus, topic: str, tag: str) -> Job:
    folder = WORK / "jobs" / tag
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    output = peer.fixed_output or f"quotes-{tag}"
    group = peer.fixed_group or f"bench-{tag}"
    if peer.prepare is not None:
        await peer.prepare(view)
    if peer.fixed_output is None:
        await view.create(output)
    return Job(view.broker, topic, output, group, folder)


async def _watch(
    peer: Peer, view: Bus, job: Job, process: subprocess.Popen[bytes], watched: Watched, records: int, cut_s: float
) -> None:
    progressed_ms = watched.spawned_ms
    while not watched.done:
        await asyncio.sleep(POLL_S)
        if process.poll() is not None:
            raise JobFailed(f"{peer.name}: ended with {process.returncode}; see {job.folder / 'log'}")
        now = now_ms()
        if not watched.first_output_ms:
            if sum((await view.ends(job.output)).values()):
                watched.first_output_ms = progressed_ms = now
            elif now - watched.spawned_ms > FIRST_OUTPUT_S_MAX * 1_000:
                raise JobFailed(f"{peer.name}: no output in {FIRST_OUTPUT_S_MAX:.0f} s; see {job.folder / 'log'}")
            continue
        count = sum((await view.committed(job.group, job.input)).values())
        if not watched.commits or count > watched.commits[-1][1]:
            watched.commits.append((now, count))
            progressed_ms = now
        watched.done = count >= records
        if now - watched.first_output_ms > cut_s * 1_000:
            return
        if now - progressed_ms > STUCK_S_MAX * 1_000:
            raise JobFailed(f"{peer.name}: stuck at {count} of {records} committed; see {job.folder / 'log'}")


def spawn(peer: Peer, job: Job) -> subprocess.Popen[bytes]:
    """Start a peer with its output in <job folder>/log."""
    env = child_environment(peer, job)
    with (job.folder / "log").open("ab") as log:
        return subprocess.Popen(
            peer.command(job), cwd=PROJECT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def stop(process: subprocess.Popen[Any]) -> None:
    """SIGTERM, then by force."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _outcome(
    peer: Peer, expected: Expected, watched: Watched, found: dict[str, Any], own: Meter, broker: Meter
) -> Outcome:
    first_ms, last_ms = float(found["first_ms"]), float(found["last_ms"])
    records = expected.records
    right = None
    if watched.done:
        right = (found["quotes"], found["final_sha"]) == (expected.quotes, expected.final_sha)
    else:
        # Cut: between the first and the last commit that moved.
        (first_ms, before), (last_ms, after) = watched.commits[0], watched.commits[-1]
        records = after - before
    end_ms = watched.last_ms
    seconds = (last_ms - first_ms) / 1_000
    return Outcome(
        peer=peer.name,
        version=peer.version(),
        records=records,
        records_per_s=round(records / seconds),
        cpu_s_per_million=round(own.cpu_s(first_ms, end_ms) / records * 1e6, 2),
        broker_cpu_s_per_million=round(broker.cpu_s(first_ms, end_ms) / records * 1e6, 2),
        rss_peak_mib=round(own.rss_peak_mib(), 1),
        start_s=round((found["first_ms"] - watched.spawned_ms) / 1_000, 2),
        start_cpu_s=round(own.cpu_s(watched.spawned_ms, found["first_ms"]), 2),
        processing_s=round(seconds, 2),
        commit_s=round((end_ms - last_ms) / 1_000, 2),
        quotes=found["quotes"],
        right=right,
        cut=not watched.done,
    )


def describe(outcome: Outcome) -> str:
    """One line for the terminal."""
    verdict = {True: "right", False: "WRONG", None: "cut"}[outcome.right]
    return (
        f"{outcome.peer:26} {outcome.records_per_s:>9,}/s  CPU {outcome.cpu_s_per_million:>7.2f} s/M "
        f"(broker {outcome.broker_cpu_s_per_million:.2f})  {outcome.rss_peak_mib:>6.0f} MiB  "
        f"start {outcome.start_s:.1f} s  "
        f"{outcome.quotes:,} quotes, {verdict}"
    )
