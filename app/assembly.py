"""What runs in each role: an explicit list. Autodiscovery would only warn about an agent that fails to import."""

from __future__ import annotations

from functools import partial
from typing import Any

from agents import dedup_fills, link_decisions, maintain_books, track_orders, track_positions
from app.bus import aiokafka_options
from app.fetching import FetchPace
from app.settings import Settings
from app.topics import GROUP_SINK_CLICKHOUSE, GROUP_SINK_PARQUET, GROUP_SINK_POSTGRES, GROUP_STATE
from domain.errors import UserMistake
from ops.topics import topic_incarnations
from sinks.contract import Sink
from tables.kernel import Kernel
from tables.processor import Processor

#: What the state worker runs, in the order that its views want.
STATE: tuple[Processor[Any], ...] = (
    maintain_books.PROCESSOR,
    dedup_fills.PROCESSOR,
    track_positions.PROCESSOR,
    track_orders.PROCESSOR,
    link_decisions.PROCESSOR,
)
#: A sink's fetch is answered when so much is there, or after its store's wait: most of a record's way into the store
#: when little happens, and nothing of it under load.
SINK_FETCH_BYTES = 1 << 20
POSTGRES_WAIT_MS = 200  # publish to persist stays under 300 ms
CLICKHOUSE_WAIT_MS = 1_000  # fewer and larger INSERTs; two seconds to visible
PARQUET_WAIT_MS = 2_000  # its files close each minute

#: A sink, how long its fetches wait, the most records of one write, companions.
SinkParts = tuple[Sink, int, int, list[Any]]


def assemble(app: Any, conf: Settings, kernel: Kernel) -> list[Any]:
    """The stages of WORKER_ROLE, each with its Faust agent and views."""
    kernel.incarnations = partial(topic_incarnations, aiokafka_options(conf)) if conf.bus_url else kernel.incarnations
    if conf.worker_role == GROUP_STATE:
        return _state(app, conf, kernel)
    if conf.worker_role in (GROUP_SINK_POSTGRES, GROUP_SINK_CLICKHOUSE, GROUP_SINK_PARQUET):
        return _sink(app, conf, kernel)
    raise UserMistake(
        f"WORKER_ROLE: expected one group per process, was {conf.worker_role!r} (`up` starts one of each)"
    )


def _state(app: Any, conf: Settings, kernel: Kernel) -> list[Any]:
    from app.web import views
    from app.web.account import add_account

    books, *account = stages = [processor.stage(kernel) for processor in STATE]
    for stage in stages:
        add_agent(app, stage)
    views.add_common(app)
    views.add_books(app, books, conf)
    add_account(app, *account)
    return stages


def _sink(app: Any, conf: Settings, kernel: Kernel) -> list[Any]:
    from agents.store_records import SinkStage
    from app.web import views

    parts = {
        GROUP_SINK_POSTGRES: _postgres,
        GROUP_SINK_CLICKHOUSE: _clickhouse,
        GROUP_SINK_PARQUET: _parquet,
    }[conf.worker_role]
    sink, wait_ms, records_max, companions = parts(conf)
    app.transport.pace = FetchPace(SINK_FETCH_BYTES, wait_ms)
    stage = SinkStage(sink, kernel, records_max, companions)
    add_agent(app, stage)
    views.add_common(app)
    return [stage]


def _postgres(conf: Settings) -> SinkParts:
    from sinks.postgres.sink import PostgresSink

    # Behind, it gets several transactions at once: the rows of one are made while the server takes the one before.
    return PostgresSink.from_settings(conf), POSTGRES_WAIT_MS, 20_000, []


def _clickhouse(conf: Settings) -> SinkParts:
    from app.clickhouse_http import ClickHouseHttp
    from ops.migrate import migrate_clickhouse
    from sinks.clickhouse.freshness import LevelFreshness
    from sinks.clickhouse.sink import ClickHouseSink

    sink = ClickHouseSink.from_settings(conf, lambda client: migrate_clickhouse(client, conf.clickhouse_database))
    companions: list[Any] = [LevelFreshness(sink.store)]
    if conf.clickhouse_url is None:  # a server has an HTTP interface of its own
        companions.append(ClickHouseHttp(sink.store, conf))
    return sink, CLICKHOUSE_WAIT_MS, 50_000, companions


def _parquet(conf: Settings) -> SinkParts:
    from sinks.parquet.compact import Compactor
    from sinks.parquet.sink import ParquetSink

    sink = ParquetSink.from_settings(conf)
    return sink, PARQUET_WAIT_MS, 20_000, [Compactor(sink.root)] if conf.parquet_compact else []


def add_agent(app: Any, stage: Any) -> None:
    """Add a Faust agent named after its stage, on the stage's topics."""
    from app.worker import batched_topic

    async def agent(stream: Any) -> None:
        await stage.consume(stream)

    agent.__name__ = agent.__qualname__ = stage.name
    app.agent(batched_topic(app, stage.sources), name=stage.name)(agent)
