"""Builds the Faust application of this process: settings, batched transport, kernel, and the role's stages."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faust
from faust.types import TP

from app.assembly import assemble
from app.bus import aiokafka_options, bus_addresses
from app.fetching import fetch_in_sessions
from app.http_guard import guarded, http_guard
from app.logs import logging_config
from app.pauses import PromptTableManager, PromptWorker
from app.settings import Settings, settings
from app.transport import BatchSchema, Transport, read_lean
from tables.kernel import Kernel

log = logging.getLogger(__name__)

Assemble = Callable[[Any, Settings, Kernel], list[Any]]

#: Fetched per partition and request. 1 MiB beat 4 MiB in the book job: what is fetched is still in the cache.
FETCH_BYTES = 1 << 20
#: Commits follow acknowledgements by at most this; the replay after a kill is bounded by the checkpoint, not by it.
COMMIT_INTERVAL_S = 0.5
#: Allocations between collections: records hold no cycles, and the default of 700 cost a third of a run.
GC_THRESHOLD = (200_000, 20, 100)


class App(faust.App):
    """Faust's application with a kernel. Stages are told of rebalances through Faust's own signals."""

    kernel: Kernel
    stages: list[Any]

    async def on_start(self) -> None:
        gc.set_threshold(*GC_THRESHOLD)
        quiet_loggers()
        await self.kernel.start()
        self.consumer.on_drain.append(self._hasten)
        await super().on_start()

    async def on_stop(self) -> None:
        await super().on_stop()
        for stage in self.stages:
            await stage.stop()
        await self.kernel.stop()

    def _hasten(self) -> None:
        for stage in self.stages:
            stage.hasten()


def quiet_loggers() -> None:
    """Faust sets the root logger to DEBUG for its spinner when asked for `-l warn` or less: aiokafka then makes 25 log
    records for each fetch that nobody sees, a fifth of the worker's time at 5,000 records/s."""
    root = logging.getLogger()
    if root.handlers:
        root.setLevel(root.handlers[0].level)


def build_app(chosen: Settings | None = None, *, transient: bool = False, assemble: Assemble = assemble) -> App:
    """The application of WORKER_ROLE; `assemble` makes its stages. Raises UserMistake where a setting is wrong."""
    conf = chosen or settings()
    group = conf.worker_role
    app = App(
        group,
        broker=";".join(f"kafka://{address}" for address in (["127.0.0.1:9092"] if transient else bus_addresses(conf))),
        broker_credentials=None if transient else _credentials(conf),
        datadir=_datadir(conf, group),
        store="memory://",
        topic_partitions=conf.topic_partitions,
        topic_replication_factor=conf.bus_replication_factor,
        topic_allow_declare=False,
        topic_disable_leader=True,
        broker_session_timeout=conf.session_timeout_s,
        broker_heartbeat_interval=max(1, conf.session_timeout_s // 5),
        broker_commit_interval=COMMIT_INTERVAL_S,
        broker_commit_every=1_000_000,
        consumer_max_fetch_size=FETCH_BYTES,
        consumer_auto_offset_reset="earliest",
        # Static membership: a restart after a kill takes its partitions over at once. The port is part because the
        # broker answers a returning member with its old assignment, and that names the web address it had.
        consumer_group_instance_id=f"{group}-{conf.worker_instance}-{conf.web_port}",
        stream_wait_empty=True,
        stream_buffer_maxsize=8,
        stream_recovery_delay=0,
        web_bind=conf.web_bind,
        web_port=conf.web_port,
        web_in_thread=False,
        # Its pages answer an unknown name with a traceback; views ask the owner of a partition themselves.
        web_router_enabled=False,
        web_application_options={"middlewares": [guarded(http_guard(conf.web_bind, conf.http_allowed_hosts))]},
        worker_redirect_stdouts=False,
        logging_config=logging_config(group.removeprefix("kalshi-streams-"), conf.log_level, conf.log_format),
        table_standby_replicas=1,
        cache="memory://",
        TableManager=PromptTableManager,
        Worker=PromptWorker,
    )
    fetch_in_sessions()
    transport = Transport(app.conf.broker_consumer, app)
    app.transport = transport
    app.kernel = Kernel(app, conf, transient=transient)
    app.stages = assemble(app, conf, app.kernel)
    transport.batch([topic for stage in app.stages for topic in stage.sources])
    read_lean([stage.changelog for stage in app.stages if hasattr(stage, "changelog")])
    _connect(app)
    return app


def batched_topic(app: Any, names: tuple[str, ...]) -> Any:
    """A Faust topic whose events are runs of records."""
    return app.topic(*names, schema=BatchSchema(key_type=bytes, value_type=bytes), value_type=bytes, key_type=bytes)


def _datadir(conf: Settings, group: str) -> Path:
    """`faust --datadir`, else <data-dir>/faust/<group>. Made here, because Faust makes only the last folder."""
    chosen = os.environ.get("FAUST_DATADIR") or os.environ.get("F_DATADIR")
    path = Path(chosen) if chosen else Path(conf.data_dir) / "faust" / group
    path.mkdir(parents=True, exist_ok=True)
    return path


def _credentials(conf: Settings) -> Any:
    """TLS and SASL for Faust's own consumer, the same as every other client's (`app.bus`)."""
    options = aiokafka_options(conf)
    context = options.get("ssl_context")
    if "sasl_mechanism" in options:
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None


def _connect(app: App) -> None:
    @app.on_partitions_assigned.connect(weak=False)
    async def assigned(sender: Any, assigned: set[TP], **kwargs: Any) -> None:
        for stage in app.stages:
            mine = {tp for tp in assigned if tp.topic in stage.sources}
            stage.assign(mine if hasattr(stage, "feeds") else {tp.partition for tp in mine})

    @app.on_partitions_revoked.connect(weak=False)
    async def revoked(sender: Any, revoked: set[TP], **kwargs: Any) -> None:
        for stage in app.stages:
            stage.revoke()

    @app.task
    async def tick() -> None:
        await app.kernel.tick()

    @app.task
    async def watch() -> None:
        from app.health import watch_progress

        await watch_progress(app)
