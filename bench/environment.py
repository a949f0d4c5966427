"""What the measurements run in: the peers' own Python environment, Kafka Streams compiled by the machine's JDK, and a
description of machine and versions for the results."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
WORK = HERE / ".work"
RESULTS = HERE / "results"
PEERS_VENV = HERE / ".venv"
PEERS_LOCK = PROJECT / "requirements-bench.lock"
STREAMS_ENDPOINT = "org.apache.kafka:kafka-streams:4.1.1+org.slf4j:slf4j-simple:1.7.36"
STREAMS_VERSION = "4.1.1"
STREAMS_SOURCES = HERE / "peers" / "kafka_streams"
JAVA_RELEASE = "17"


class JobFailed(Exception):
    """A peer or a step of the bench died, stalled, or did not do its job; its log says why."""


def say(line: str) -> None:
    """One line of progress."""
    print(line, flush=True)


@cache
def peers_python() -> Path:
    """The interpreter of the peers' environment, created from requirements-bench.lock on the first use."""
    python = PEERS_VENV / "bin" / "python"
    stamp = PEERS_VENV / ".installed"
    if not stamp.exists() or stamp.stat().st_mtime < PEERS_LOCK.stat().st_mtime:
        say("bench: creating the peers' environment (once)")
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(PEERS_VENV)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
        subprocess.run([str(python), *install, "--require-hashes", "-r", str(PEERS_LOCK)], check=True)
        stamp.touch()
    return python


def run_in_peers(module: str, *arguments: str) -> str:
    """What `python -m module` prints in the peers' environment. Raises JobFailed; its errors show here."""
    command = [str(peers_python()), "-W", "ignore", "-m", module, *arguments]
    done = subprocess.run(command, check=False, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise JobFailed(f"{module} ended with {done.returncode}")
    return done.stdout


@dataclass(frozen=True)
class StreamsBuild:
    """How to run the compiled Kafka Streams peer."""

    java: Path
    class_path: str
    java_version: str


@cache
def kafka_streams() -> StreamsBuild | None:
    """Compile the Kafka Streams peer. None, after a notice, on a machine without a JDK (the embedded runtime has no
    compiler)."""
    javac, java = shutil.which("javac"), shutil.which("java")
    if javac is None or java is None:
        say("bench: no javac on this machine: Kafka Streams is skipped")
        return None
    import jgo

    jars = ":".join(map(str, jgo.build(STREAMS_ENDPOINT).all_jars))
    classes = WORK / "kafka_streams"
    shutil.rmtree(classes, ignore_errors=True)
    classes.mkdir(parents=True)
    sources = [str(source) for source in sorted(STREAMS_SOURCES.glob("*.java"))]
    subprocess.run([javac, "--release", JAVA_RELEASE, "-nowarn", "-cp", jars, "-d", str(classes), *sources], check=True)
    version = subprocess.run([java, "-version"], check=True, stderr=subprocess.PIPE, text=True).stderr.splitlines()[0]
    return StreamsBuild(Path(java), f"{classes}:{jars}", version)


def machine() -> dict[str, str]:
    """Machine and versions, for the head of the results. No host name, no path."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{pages / (1 << 30):.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "kafka": "4.1.1, KRaft, one broker on the same machine",
    } | {name: importlib.metadata.version(name) for name in ("faust-streaming", "aiokafka", "msgspec", "rocksdict")}


@cache
def peer_version(distribution: str) -> str:
    """The installed version of a peer."""
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    command = [str(peers_python()), "-c", code]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
