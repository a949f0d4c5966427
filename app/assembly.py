"""What runs in each role: an explicit list. Autodiscovery would only warn about an agent that fails to import."""

from __future__ import annotations

from functools import partial
from typing import Any

from agents import dedup_fills, link_decisions, track_orders, track_positions
from agents.maintain_books import BookFold
from app.bus import aiokafka_options
from app.fetching import FetchPace
from app.settings import Settings
from app.topics import GROUP_SINK_CLICKHOUSE, GROUP_SINK_PARQUET, GROUP_SINK_POSTGRES, GROUP_STATE
from domain.errors import UserMistake
from ops.topics import topic_incarnations
from schemas.registry import (
    BOOK_UPDATES,
    DECISION_LINKS,
    DLQ,
    FILL_REPORTS,
    FILLS,
    ORDER_REPORTS,
    ORDER_STATES,
    POSITIONS,
    QUOTE_UPDATES,
    SNAPSHOT_REQUESTS,
    changelog_topic,
)
from sinks.contract import Sink
from tables import decision_links, positions
from tables.checkpointed import CheckpointedTable
from tables.kernel import Kernel
from tables.open_orders import OPEN_ORDERS
from tables.order_books import ORDER_BOOKS
from tables.seen_fills import SEEN_FILLS
from tables.stage import Stage

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

    books = _books(conf, kernel)
    account = _account(conf, kernel)
    for stage in (books, *account):
        add_agent(app, stage)
    views.add_common(app)
    views.add_books(app, books, conf)
    add_account(app, *account)
    return [books, *account]


def _books(conf: Settings, kernel: Kernel) -> Stage[Any]:
    fold = BookFold(conf.removed_book_grace_s * 1_000)
    outputs = (QUOTE_UPDATES.name, SNAPSHOT_REQUESTS.name, DLQ.name)
    return _stage("maintain_books", (BOOK_UPDATES.name,), ORDER_BOOKS, outputs, fold, kernel)


def _account(conf: Settings, kernel: Kernel) -> tuple[Stage[Any], Stage[Any], Stage[Any], Stage[Any]]:
    """Fills, positions, orders, decision links."""
    retention_ms = conf.fill_retention_days * 86_400_000
    horizon = dedup_fills.Horizon(retention_ms, conf.seen_fills_max)
    fills, orders = dedup_fills.FillFold(horizon), track_orders.OrderFold(retention_ms)
    held = track_positions.PositionFold()
    return (
        _stage(dedup_fills.SOURCE, (FILL_REPORTS.name,), SEEN_FILLS, (FILLS.name, DLQ.name), fills, kernel),
        _stage(
            track_positions.SOURCE,
            track_positions.SOURCES,
            positions.POSITIONS,
            (POSITIONS.name, DLQ.name),
            held,
            kernel,
        ),
        _stage(track_orders.SOURCE, (ORDER_REPORTS.name,), OPEN_ORDERS, (ORDER_STATES.name, DLQ.name), orders, kernel),
        _stage(
            link_decisions.SOURCE,
            link_decisions.SOURCES,
            decision_links.DECISION_LINKS,
            (DECISION_LINKS.name, DLQ.name),
            link_decisions.LinkFold(retention_ms),
            kernel,
        ),
    )


def _stage(
    name: str,
    sources: tuple[str, ...],
    table: CheckpointedTable[Any],
    outputs: tuple[str, ...],
    fold: Any,
    kernel: Kernel,
) -> Stage[Any]:
    stage = Stage(name, sources, table, outputs, fold, fold.on_hole, changelog_topic(table.name), kernel)
    stage.partitions = kernel.settings.topic_partitions
    return stage


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
