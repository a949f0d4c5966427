"""Which Kafka is it that answers: the name of a cluster, on its disk and over its socket.

A port says nothing about who listens there. Each data directory gives its broker a cluster id of its own, so that
nobody takes another run's broker for this one.
"""

import asyncio
import base64
import threading
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

_PROPERTY = "cluster.id="


def new_cluster_id() -> str:
    """A random id in Kafka's own form: 16 bytes as base64url without padding, 22 characters."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):  # the format tool would take it for an option; Kafka's own avoid it too
            return text


def read_cluster_id(log_dir: Path) -> str | None:
    """The id that a formatted folder has in its `meta.properties`; None while it is not formatted."""
    try:
        lines = (log_dir / "meta.properties").read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((line.removeprefix(_PROPERTY).strip() for line in lines if line.startswith(_PROPERTY)), None)


def answering_cluster(bus_url: str, timeout_s: float) -> str | None:
    """The id of the cluster whose broker answers at `bus_url` (no TLS) within the time; None where nobody does.

    Blocks; may be called where a loop already runs in this thread.
    """
    return _run_in_thread(_ask(bus_url, timeout_s))


async def _ask(bus_url: str, timeout_s: float) -> str | None:
    from aiokafka.client import AIOKafkaClient
    from aiokafka.protocol.metadata import MetadataRequest

    client = AIOKafkaClient(bootstrap_servers=bus_url, request_timeout_ms=int(timeout_s * 1_000))
    try:
        async with asyncio.timeout(timeout_s):
            await client.bootstrap()
            node = client.get_random_node()
            if node is None:
                return None
            answer = await client.send(node, MetadataRequest([]))
            return answer.cluster_id if client.cluster.brokers() else None
    except Exception:
        return None
    finally:
        await client.close()


def _run_in_thread(work: Coroutine[Any, Any, str | None]) -> str | None:
    answer: list[str | None] = []
    thread = threading.Thread(target=lambda: answer.append(asyncio.run(work)), daemon=True)
    thread.start()
    thread.join()
    return answer[0] if answer else None
