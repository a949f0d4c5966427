"""A state worker as a process of its own, on a real Kafka. Its input: `kernel_input`; its judge: `kernel_judge`."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.partitioner import murmur2
from kernel_input import BookInput
from kernel_judge import first_by_key, judge, lowered, parsed, repeats_differ, table_of

from app.bus import aiokafka_options
from app.settings import Settings, load_settings
from ops.engines.kafka import KafkaEngine
from ops.ports import free_ports
from ops.topics import apply_topics
from schemas.registry import BOOK_UPDATES, DESK_TICKS, QUOTE_UPDATES, changelog_topic
from tables import order_books

ROOT = Path(__file__).resolve().parent.parent
PARTITIONS = 4
CHANGELOG = changelog_topic(order_books.TABLE)
#: Crash points of `tables.task`, in their order.
CHECKPOINT_STEPS = (
    "checkpoint.encoded",
    "checkpoint.outputs_acked",
    "checkpoint.changelog_acked",
    "checkpoint.stored",
    "checkpoint.source_acked",
)
DEADLINE_S = 120.0
#: For workers whose end another one must notice. The others have longer: a loop that stands still for half of its
#: session ends its worker, and rocksdict holds the interpreter while it opens a store on a busy disk.
SHORT_SESSION = {"SESSION_TIMEOUT_S": "6"}
#: Records in one step of `World.load`: the worker is never idle and the whole stays quick to judge.
LOAD_RECORDS = 50


def partition_of(key: bytes) -> int:
    """Where Kafka's default partitioner puts a key."""
    return (murmur2(key) & 0x7FFFFFFF) % PARTITIONS


class World:
    """Kafka with the catalogue's topics, and state workers on it."""

    def __init__(self, kafka: KafkaEngine, folder: Path, **settings: Any) -> None:
        self.kafka = kafka
        #: What `faust -A` names.
        self.app = "app"
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.settings: Settings = load_settings(bus_url=kafka.bus_url, data_dir=folder, **settings)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.ports: dict[str, int] = {}
        self.apply_topics()

    def apply_topics(self) -> None:
        """Create what the catalogue wants and is not there."""
        asyncio.run(apply_topics(aiokafka_options(self.settings), self.settings))

    def delete_topic(self, topic: str) -> None:
        """Delete a topic; returns when the broker no longer knows it."""

        async def work(admin: AIOKafkaAdminClient) -> None:
            await admin.delete_topics([topic])
            until = time.monotonic() + DEADLINE_S
            while topic in await admin.list_topics():
                assert time.monotonic() < until, f"{topic} is still there"
                await asyncio.sleep(0.1)

        asyncio.run(self._administer(work))

    def delete_records(self, topic: str, before: dict[int, int]) -> None:
        """Delete the records of each partition before an offset, as retention does."""

        async def work(admin: AIOKafkaAdminClient) -> None:
            await admin.delete_records({TopicPartition(topic, p): RecordsToDelete(o) for p, o in before.items()})

        asyncio.run(self._administer(work))

    async def _administer(self, work: Callable[[AIOKafkaAdminClient], Coroutine[Any, Any, None]]) -> None:
        admin = AIOKafkaAdminClient(**aiokafka_options(self.settings))
        await admin.start()
        try:
            await work(admin)
        finally:
            await admin.close()

    # --- input and output ---

    def produce(self, pairs: list[tuple[bytes, bytes]], topic: str = BOOK_UPDATES.name) -> None:
        """Write pairs in order, acknowledged."""
        asyncio.run(self._produce(topic, pairs))

    async def _produce(self, topic: str, pairs: list[tuple[bytes, bytes]]) -> None:
        producer = AIOKafkaProducer(**aiokafka_options(self.settings), enable_idempotence=True, linger_ms=5)
        await producer.start()
        try:
            sends = [await producer.send(topic, v, key=k, partition=partition_of(k)) for k, v in pairs]
            for send in sends:
                await send
        finally:
            await producer.stop()

    @contextlib.contextmanager
    def load(self, feed: BookInput, pause_s: float = 0.02) -> Iterator[None]:
        """Input that keeps coming, acknowledged in small steps, until the end of the block."""
        stop = threading.Event()

        async def produce() -> None:
            producer = AIOKafkaProducer(**aiokafka_options(self.settings), enable_idempotence=True)
            await producer.start()
            try:
                while not stop.is_set():
                    pairs = feed.take(LOAD_RECORDS)
                    sends = [
                        await producer.send(BOOK_UPDATES.name, v, key=k, partition=partition_of(k)) for k, v in pairs
                    ]
                    for send in sends:
                        await send
                    await asyncio.sleep(pause_s)
            finally:
                await producer.stop()

        thread = threading.Thread(target=asyncio.run, args=(produce(),))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def read(self, topic: str) -> dict[int, list[Any]]:
        """Every record of a topic, per partition, in offset order."""
        return asyncio.run(self._read(topic))

    def partitions_of(self, topic: str) -> int:
        """How many partitions a topic of this world has."""
        return 1 if topic == DESK_TICKS.name else PARTITIONS

    async def _read(self, topic: str) -> dict[int, list[Any]]:
        consumer = AIOKafkaConsumer(**aiokafka_options(self.settings), auto_offset_reset="earliest")
        await consumer.start()
        try:
            tps = [TopicPartition(topic, p) for p in range(self.partitions_of(topic))]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            rows: dict[int, list[Any]] = {tp.partition: [] for tp in tps}
            deadline_s = time.monotonic() + DEADLINE_S
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                if time.monotonic() > deadline_s:
                    raise TimeoutError(f"{topic}: expected to read to {ends}")
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    rows[tp.partition] += [
                        SimpleNamespace(offset=c.offset, key=c.key, value=c.value, timestamp=c.timestamp)
                        for c in _flat(records)
                    ]
            return rows
        finally:
            await consumer.stop()

    def ends(self, topic: str) -> dict[int, int]:
        """Log end of each partition."""

        async def ask() -> dict[int, int]:
            consumer = AIOKafkaConsumer(**aiokafka_options(self.settings))
            await consumer.start()
            try:
                ends = await consumer.end_offsets([TopicPartition(topic, p) for p in range(self.partitions_of(topic))])
                return {tp.partition: end for tp, end in ends.items()}
            finally:
                await consumer.stop()

        return asyncio.run(ask())

    # --- workers ---

    def start(self, *, instance: str = "0", crash_at: str | None = None, **env: str) -> "WorkerProcess":
        """A state worker with the local state of that instance."""
        worker = WorkerProcess(self, instance, crash_at, env)
        self.workers.append(worker.process)
        return worker

    def forget_local_state(self, instance: str) -> None:
        """As if the disk were new: the next start restores everything from the changelog."""
        shutil.rmtree(self.folder / f"faust-{instance}", ignore_errors=True)

    def stop_all(self) -> None:
        """Kill what still runs."""
        for process in self.workers:
            if process.poll() is None:
                process.kill()
                process.wait()


def _flat(records: list[Any]) -> list[Any]:
    # A process that also made an application reads our topics as runs (app.transport.read_lean).
    return [row for item in records for row in (item if isinstance(item, list) else [item])]


class WorkerProcess:
    """`faust -A app worker` for the state role."""

    def __init__(self, world: World, instance: str, crash_at: str | None, env: dict[str, str]) -> None:
        self.port = world.ports.setdefault(instance, free_ports(1)[0])
        self.datadir = world.folder / f"faust-{instance}"
        self.log = world.folder / f"worker-{instance}.log"
        environment = os.environ | {
            "BUS_URL": world.kafka.bus_url, "DATA_DIR": str(world.folder), "WORKER_ROLE": "kalshi-streams-state",
            "WORKER_INSTANCE": instance, "WEB_PORT": str(self.port), "CHECKPOINT_MS": "20", "SESSION_TIMEOUT_S": "20",
            "PYTHONPATH": os.pathsep.join((str(ROOT / "tests"), os.environ.get("PYTHONPATH", ""))).rstrip(os.pathsep),
        } | env  # fmt: skip
        environment.pop("KALSHI_STREAMS_CRASH_AT", None)
        if crash_at:
            environment["KALSHI_STREAMS_CRASH_AT"] = crash_at
        command = [
            sys.executable, "-m", "faust", "-L", "uvloop", "-A", world.app, "--datadir", str(self.datadir),
            "worker", "-l", "info", "--web-port", str(self.port),
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def get(self, path: str) -> Any:
        """The JSON answer, whatever its status; None while the worker does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())
        except OSError:
            return None

    def wait_committed(self, ends: dict[int, int], deadline_s: float = DEADLINE_S) -> None:
        """Until all of market.book_updates is committed up to these ends and this worker's tables are restored.

        The commits alone are not enough: they may be an earlier worker's, read while this one is still restoring.
        """
        wanted = {f"{BOOK_UPDATES.name}-{p}": end for p, end in ends.items() if end}
        until = time.monotonic() + deadline_s
        rows = None
        while time.monotonic() < until:
            rows = self.get("/lag")
            there = rows and all((rows.get(name) or {}).get("committed") == end for name, end in wanted.items())
            if there and not self._busy_reasons():
                return
            if self.process.poll() is not None:
                raise AssertionError(f"worker ended with {self.process.returncode}:\n{self.tail()}")
            time.sleep(0.05)
        raise AssertionError(f"expected commits at {wanted}, were {rows}:\n{self.tail()}")

    def _busy_reasons(self) -> list[str]:
        """Why its tables can not be read yet, from /readyz; other reasons (a silent feed) do not count."""
        answer = self.get("/readyz") or {"reasons": ["restoring: no answer"]}
        return [reason for reason in answer["reasons"] if "restoring" in reason or "rebalancing" in reason]

    def wait_owning(self, partitions: int, deadline_s: float = DEADLINE_S) -> None:
        """Until it owns that many partitions of market.book_updates and has restored everything."""

        def owns() -> bool:
            answer = self.get("/readyz") or {"positions": {}}
            owned = [name for name in answer["positions"] if name.startswith(f"{BOOK_UPDATES.name}-")]
            return len(owned) == partitions and not self._busy_reasons()

        self._wait(owns, deadline_s)

    def wait_progress(self, deadline_s: float = DEADLINE_S) -> None:
        """Until it has committed more of some partition than when it was first seen here."""
        first: dict[str, int] = {}

        def moved() -> bool:
            now = {name: row.get("committed") for name, row in (self.get("/lag") or {}).items()}
            return any(at is not None and at > first.setdefault(name, at) for name, at in now.items())

        self._wait(moved, deadline_s)

    def _wait(self, done: Callable[[], bool], deadline_s: float) -> None:
        until = time.monotonic() + deadline_s
        while not done():
            assert self.process.poll() is None, f"worker ended with {self.process.returncode}:\n{self.tail()}"
            assert time.monotonic() < until, f"not reached within {deadline_s} s:\n{self.tail()}"
            time.sleep(0.05)

    def wait_answering(self, deadline_s: float = DEADLINE_S) -> None:
        """Until its web server answers, which is before it owns anything."""
        self._wait(lambda: self.get("/healthz") is not None, deadline_s)

    def wait_killed(self, meanwhile: Callable[[], None] = lambda: None, deadline_s: float = DEADLINE_S) -> None:
        """Until its crash point killed it; `meanwhile` runs now and then, to bring more input."""
        until = time.monotonic() + deadline_s
        while self.process.poll() is None:
            assert time.monotonic() < until, f"expected to be killed, log:\n{self.tail()}"
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
                break
            meanwhile()
        assert self.process.returncode == -9, f"expected to be killed, log:\n{self.tail()}"

    def wait_end(self, deadline_s: float = DEADLINE_S) -> int:
        """The exit status."""
        return self.process.wait(deadline_s)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.terminate()
        return self.wait_end()

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4_000:]


def assert_right(world: World) -> int:
    """Outputs, repeats, causes and table against the judge. Returns the number of repeated outputs."""
    source = world.read(BOOK_UPDATES.name)
    expected = judge(source)
    repeated = 0
    for topic in {topic for topic, _ in expected.outputs} | {QUOTE_UPDATES.name}:
        got = world.read(topic)
        for partition in range(PARTITIONS):
            rows = got[partition]
            assert repeats_differ(rows) == [], f"{topic}-{partition}: a key came back with other bytes"
            values = first_by_key(rows)
            wanted = expected.outputs.get((topic, partition), [])
            wanted_keys = [json.loads(v)["idempotency_key"] for v in wanted]
            got_keys = [json.loads(v)["idempotency_key"] for v in values]
            assert got_keys == wanted_keys, f"{topic}-{partition}: {len(got_keys)} outputs, expected {len(wanted_keys)}"
            assert parsed(values) == parsed(wanted)
            repeated += len(rows) - len(values)
    changelog = world.read(CHANGELOG)
    assert table_of(changelog) == expected.table, "the changelog is not the fold of the input"
    assert lowered(changelog) == [], "the last value of a key is not its highest: compaction would lose the highest"
    return repeated
