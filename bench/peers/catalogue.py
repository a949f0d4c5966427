"""How each peer is started: its command, environment, consumer group, and what it needs before and after a run."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.engine import PARTITIONS, Bus
from bench.environment import PROJECT, STREAMS_VERSION, kafka_streams, peer_version, peers_python


@dataclass(frozen=True)
class Job:
    """One run of one peer: where it reads, writes and keeps its state."""

    broker: str
    input: str
    output: str
    group: str
    folder: Path

    def environment(self) -> dict[str, str]:
        """What the Python peers read."""
        return {
            "BENCH_BROKER": self.broker,
            "BENCH_INPUT": self.input,
            "BENCH_OUTPUT": self.output,
            "BENCH_GROUP": self.group,
            "BENCH_STATE_DIR": str(self.folder / "state"),
            "BENCH_PARTITIONS": str(PARTITIONS),
        }


@dataclass(frozen=True)
class Peer:
    """A way to do the book job."""

    name: str
    version: Callable[[], str]
    command: Callable[[Job], list[str]]
    environment: Callable[[Job], dict[str, str]] = field(default=Job.environment)
    #: Before each run: remove what an earlier run left. None: nothing is shared between runs.
    prepare: Callable[[Bus], Awaitable[None]] | None = None
    #: None: the group may be chosen freely, and so may the topics.
    fixed_group: str | None = None
    fixed_output: str | None = None


def _python(module: str) -> Callable[[Job], list[str]]:
    return lambda job: [str(peers_python()), "-W", "ignore", "-m", module]


def _streams_command(threads: int, heap: str) -> Callable[[Job], list[str]]:
    def command(job: Job) -> list[str]:
        build = kafka_streams()
        assert build is not None
        flags = [f"-Xmx{heap}", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        arguments = [job.broker, job.input, job.output, job.group, str(job.folder / "state"), str(threads)]
        return [str(build.java), *flags, "-cp", build.class_path, "bench.BookJob", *arguments]

    return command


def _streams_version() -> str:
    build = kafka_streams()
    return f"{STREAMS_VERSION}, {build.java_version if build else 'no JDK'}"


STOCK_FAUST = Peer(
    "stock faust-streaming",
    lambda: peer_version("faust-streaming"),
    _python("bench.peers.stock_faust"),
)
QUIX = Peer("Quix Streams", lambda: peer_version("quixstreams"), _python("bench.peers.quix"))
KAFKA_STREAMS = Peer("Kafka Streams, 1 thread", _streams_version, _streams_command(1, "512m"))


def child_environment(peer: Peer, job: Job) -> dict[str, str]:
    """The environment a peer runs with: ours of the bench, none of the project's settings of the person's shell."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"} | peer.environment(job)
