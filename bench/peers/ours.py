"""This project as a peer: the real state worker, exactly as `up` starts it, on the project's own topic names."""

import asyncio
import sys
from pathlib import Path

from app.bus import aiokafka_options
from app.settings import Settings, load_settings
from app.topics import GROUP_STATE, TABLES
from bench.engine import Bus
from bench.peers.catalogue import Job, Peer
from ops.ports import free_ports
from ops.topics import apply_topics
from schemas.registry import BOOK_UPDATES, QUOTE_UPDATES, TOPICS, changelog_topic


def settings(broker: str) -> Settings:
    """Defaults and this broker; the person's `.env` is not read, so that results compare."""
    return load_settings(_env_file=None, bus_url=broker)


def worker_command(datadir: Path, port: int, level: str) -> list[str]:
    """A worker of ours as `up` starts it; its role is in the environment."""
    options = ["--datadir", str(datadir), "worker", "-l", level, "--web-port", str(port)]
    return [sys.executable, "-m", "faust", "-L", "uvloop", "-A", "app", *options]


def _command(job: Job) -> list[str]:
    return worker_command(job.folder / "faust", web_port(job), "info")


def _environment(job: Job) -> dict[str, str]:
    return {
        "BUS_URL": job.broker,
        "DATA_DIR": str(job.folder),
        "WORKER_ROLE": GROUP_STATE,
        "WEB_PORT": str(web_port(job)),
        "LOG_LEVEL": "warning",
    }


def web_port(job: Job) -> int:
    """The port of this run's web server, chosen once per run."""
    chosen = Path(job.folder) / "web_port"
    if not chosen.exists():
        chosen.write_text(str(free_ports(1)[0]))
    return int(chosen.read_text())


async def fresh_topics(view: Bus) -> None:
    """All topics of the project anew except the input, and no commits: each run starts from nothing."""
    names = [topic.name for topic in TOPICS if topic is not BOOK_UPDATES] + [changelog_topic(t) for t in TABLES]
    await asyncio.to_thread(view.forget, GROUP_STATE, *names)
    conf = settings(view.broker)
    await apply_topics(aiokafka_options(conf), conf)
    await view.refresh()


async def fresh_input(view: Bus) -> str:
    """An empty input topic under the name that our worker reads."""
    await asyncio.to_thread(view.forget, GROUP_STATE, BOOK_UPDATES.name)
    await fresh_topics(view)
    return BOOK_UPDATES.name


OURS = Peer(
    "kalshi-streams (ours)",
    lambda: "this checkout",
    _command,
    _environment,
    prepare=fresh_topics,
    fixed_group=GROUP_STATE,
    fixed_output=QUOTE_UPDATES.name,
)
