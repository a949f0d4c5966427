"""The engines alone: made from settings, started left running by `stack start`, ended by `stack stop`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.settings import Settings
from domain.errors import UserMistake
from ops.child import Component, EngineComponent, in_thread
from ops.data_dir import DataDir
from ops.display import Display
from ops.engines.kafka import KafkaEngine
from ops.engines.postgres import PostgresEngine, postgres_answers
from ops.plan import KAFKA_PORT
from ops.polling import side_by_side
from ops.ports import default_or_free

STACK_KAFKA = "stack.kafka"  # its mark: engines started by `stack start` outlive the command on purpose


@dataclass
class Engines:
    """The embedded engines of one data directory; None where a URL replaces one."""

    kafka: KafkaEngine | None
    postgres: PostgresEngine | None

    def components(self) -> list[Component]:
        """Those that are ours to start and stop."""
        found: list[Component] = []
        if self.kafka is not None:
            found.append(EngineComponent(self.kafka, self.kafka.kill9))
        if self.postgres is not None:
            found.append(EngineComponent(self.postgres))
        return found


def make_engines(settings: Settings, data: DataDir, kafka_port: int, mark: str = "kafka") -> Engines:
    """The engines that settings do not replace by a URL; nothing is started."""
    kafka = None
    if settings.bus_url is None:
        log = data.log_file("kafka")
        kafka = KafkaEngine(data / "kafka", log, kafka_port, environment=data.marks(mark))
    return Engines(kafka, PostgresEngine(data / "postgres") if settings.pg_dsn is None else None)


def refuse_running_stack(data: DataDir) -> None:
    """Raises UserMistake when `stack start` keeps engines running on this directory."""
    if STACK_KAFKA in data.children().values():
        raise UserMistake(f"--data-dir: engines of `stack start` run on {data.root}; end them with `stack stop` first")


async def fetch_jars(engines: Engines, display: Display) -> None:
    """Kafka's jars, with progress: minutes on the first start of a machine, half a second later."""
    if engines.kafka is not None:
        kafka, bar = engines.kafka, display.download("kafka")
        display.step("kafka", "starting")
        await in_thread(lambda: kafka.fetch(bar))


async def check_external(settings: Settings) -> None:
    """Raises UserMistake when a configured Postgres does not answer (a configured Kafka is met by `topics apply`)."""
    if settings.pg_dsn is not None:
        dsn = settings.pg_dsn.get_secret_value()
        if not await in_thread(lambda: postgres_answers(dsn)):
            raise UserMistake("PG_DSN: expected a PostgreSQL that answers, was none")


async def start_stack(settings: Settings, data: DataDir, display: Display) -> dict[str, str | None]:
    """Start the engines and leave them running. Returns their addresses, also written to the endpoints file."""
    data.lock("stack start")
    try:
        refuse_running_stack(data)
        for line in data.end_leftovers():
            display.say(f"ended what an earlier run left: {line}")
        engines = make_engines(settings, data, default_or_free(KAFKA_PORT), STACK_KAFKA)
        with display:
            await fetch_jars(engines, display)
            await side_by_side(*(component.start() for component in engines.components()))
        endpoints = stack_endpoints(settings, data, engines)
        data.write_endpoints(endpoints)
        return endpoints
    finally:
        data.unlock()


def stack_endpoints(settings: Settings, data: DataDir, engines: Engines) -> dict[str, str | None]:
    """The addresses of the engines; null for what only `up` runs."""
    dsn = settings.pg_dsn.get_secret_value() if settings.pg_dsn else None
    return {
        "bus_url": engines.kafka.bus_url if engines.kafka else settings.bus_url,
        "pg_dsn": engines.postgres.dsn if engines.postgres else dsn,
        "clickhouse_url": settings.clickhouse_url,
        "clickhouse_path": None if settings.clickhouse_url else str(data / "clickhouse"),
        "parquet_dir": str((settings.parquet_dir or data / "parquet").expanduser().resolve()),
    } | dict.fromkeys(
        (
            "state_url",
            "sink_clickhouse_url",
            "sink_postgres_url",
            "sink_parquet_url",
            "producer_market_url",
            "producer_account_url",
            "simulator_url",
            "kalshi_ws_url",
            "kalshi_rest_url",
        )
    )


def stop_stack(data: DataDir) -> list[str]:
    """End the engines of `stack start`, and what a killed run left. Returns what was ended."""
    data.lock("stack stop")
    try:
        postgres = PostgresEngine(data / "postgres")
        ended = data.end_leftovers()
        if postgres.end_running():
            ended.append("postgres")
        data.endpoints_file.unlink(missing_ok=True)
        return ended
    finally:
        data.unlock()


@contextmanager
def running_engines(settings: Settings, root: Path, command: str = "qa") -> Iterator[Settings]:
    """Settings that reach the engines of a data directory: those of a running `up` or stack, else started for the
    block and stopped after it. For commands on a stopped directory (`command` names the holder of its lock). Blocking.

    Raises:
        UserMistake: the directory does not exist.
    """
    data = DataDir(root)
    if not data.root.is_dir():
        raise UserMistake(f"--data-dir: expected a data directory, was none at {data.root}")
    known = data.read_endpoints()
    # A file left by a killed run names addresses where nobody listens.
    if known.get("bus_url") and known.get("pg_dsn") and (data.in_use() or STACK_KAFKA in data.children().values()):
        yield settings.model_copy(update=_addresses(known["bus_url"], known["pg_dsn"]))
        return
    data.prepare()
    data.lock(command)
    engines = make_engines(settings, data, default_or_free(KAFKA_PORT))
    started: list[KafkaEngine | PostgresEngine] = []
    try:
        data.end_leftovers()
        for engine in (engines.postgres, engines.kafka):
            if engine is not None:
                started.append(engine)
                engine.start()
        addresses = stack_endpoints(settings, data, engines)
        yield settings.model_copy(update=_addresses(addresses["bus_url"], addresses["pg_dsn"]))
    finally:
        for engine in reversed(started):
            engine.stop()
        data.unlock()


def _addresses(bus_url: str | None, pg_dsn: str | None) -> dict[str, object]:
    from pydantic import SecretStr

    return {"bus_url": bus_url, "pg_dsn": SecretStr(pg_dsn or "")}
