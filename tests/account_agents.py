"""The four account agents as the state worker has them, on logs in memory: fed in any cut, checkpointed, killed."""

import json
from types import SimpleNamespace
from typing import Any

from account_desk import Desk

from app.settings import load_settings
from app.worker import build_app
from schemas.account_build import change_of
from schemas.account_records import Fill, FillAmended
from schemas.codec import encode_record
from schemas.registry import (
    DECISION_LINKS,
    DLQ,
    FILL_REPORTS,
    FILLS,
    ORDER_REPORTS,
    ORDER_STATES,
    ORDERS,
    POSITION_REPORTS,
    POSITIONS,
    decoder,
    topic_named,
)
from tables import open_orders, seen_fills
from tables.changelog import Restore
from tables.checkpointed import PartitionTable
from tables.headers import Headers
from tables.kernel import TransientOutbox
from tables.outlets import Outlets, always
from tables.stage import Stage
from tables.store import MemoryStore
from tables.task import Task

REPORTS = {
    "fill_report": FILL_REPORTS,
    "order_report": ORDER_REPORTS,
    "resting_orders": ORDER_REPORTS,
    "order_action": ORDERS,
}
INPUTS = (FILL_REPORTS, ORDER_REPORTS, POSITION_REPORTS, ORDERS)
TOPICS = (*INPUTS, FILLS, POSITIONS, ORDER_STATES, DECISION_LINKS, DLQ)


class Agent:
    """One stage on one partition. `at` is where it reads next in each of its inputs."""

    def __init__(self, stage: Stage[Any], logs: dict[str, list[Any]]) -> None:
        self.stage = stage
        self.logs = logs
        self.fold = stage.fold
        self.task = self._task(MemoryStore())
        self.at = dict.fromkeys(stage.sources, 0)

    def _task(self, store: MemoryStore) -> Task[Any]:
        table = PartitionTable(self.stage.table, store, 4 << 20)
        outlets = Outlets(dict.fromkeys(self.stage.outputs, always(0)), TransientOutbox)
        changelog = TransientOutbox("changelog", 0)
        return Task(0, self.stage.sources, table, outlets, changelog, (100, 100), 1_000_000)

    def take(self, topic: str, count: int) -> int:
        """Fold up to `count` records of one input, as `Stage.take` does; how many there were."""
        rows = self.logs[topic][self.at[topic] : self.at[topic] + count]
        if not rows:
            return 0
        self.at[topic] += len(rows)
        outputs: dict[str, list[Any]] = {}
        for part in [[row] for row in rows] if self.task.ahead else [rows]:
            new = self.task.admit(topic, part)
            for name, sent in self.fold(self.task, topic, new).items() if new else ():
                outputs.setdefault(name, []).extend(sent)
        self.task.publish(outputs, lambda: None)
        for name, sent in outputs.items():
            for key, value in sent:
                append(self.logs[name], key, value)
        return len(rows)

    async def checkpoint(self) -> None:
        """Everything so far is in the changelog."""
        await self.task.checkpoint()

    def kill(self, lost: int) -> None:
        """End without a checkpoint, the last `lost` changelog records never written; start again from the rest."""
        sent = self.task._changelog.sent  # type: ignore[attr-defined]
        del sent[max(0, len(sent) - lost) :]
        job = Restore(0, MemoryStore(), Headers(self.stage.table.first_sources))
        if sent:
            job.apply([SimpleNamespace(offset=i, key=k, value=v) for i, (k, v) in enumerate(sent)])
        job.finish()
        self.task = self._task(job.store)  # type: ignore[arg-type]
        self.task._changelog.sent.extend(sent)  # type: ignore[attr-defined]
        self.task.load(job)
        if self.stage.table.residents_max is None:
            self.task.table.warm()
        self.at = dict(self.task.vector)


class AgentDesk:
    """Four agents and their topics, one partition."""

    def __init__(self, tmp_path: Any, **settings: Any) -> None:
        stages = {s.name: s for s in build_app(load_settings(data_dir=tmp_path, **settings), transient=True).stages}
        self.logs: dict[str, list[Any]] = {topic.name: [] for topic in TOPICS}
        self.fills = Agent(stages["dedup_fills"], self.logs)
        self.positions = Agent(stages["track_positions"], self.logs)
        self.orders = Agent(stages["track_orders"], self.logs)
        self.links = Agent(stages["link_decisions"], self.logs)
        self.agents = (self.fills, self.positions, self.orders, self.links)

    def report(self, records: list[Any]) -> None:
        """The producer publishes these."""
        for record in records:
            topic = REPORTS.get(type(record).__struct_config__.tag, POSITION_REPORTS)
            append(self.logs[topic.name], record.payload.market_ticker.encode(), encode_record(record))

    def drain(self) -> None:
        """Read everything to its end."""
        taken = 1
        while taken:
            taken = sum(agent.take(topic, 1_000) for agent in self.agents for topic in agent.stage.sources)

    def records(self, topic: str) -> list[Any]:
        """What was published, decoded; a repeated key counts once, the first time."""
        first: dict[str, bytes] = {}
        for row in self.logs[topic]:
            first.setdefault(json.loads(row.value)["idempotency_key"], row.value)
        return [decoder(topic_named(topic)).decode(value) for value in first.values()]

    def desk(self) -> Desk:
        """What the agents hold, in the form that can be compared with the simulated account."""
        desk = Desk()
        for record in self.records(FILLS.name):
            assert isinstance(record, Fill | FillAmended)
            fill = change_of(record.payload).fill
            known = desk.fills.get(fill.fill_id)
            if known is None or known.revision < fill.revision:
                desk.fills[fill.fill_id] = fill
        desk.ledgers = {key.decode(): value for key, value in self.positions.task.table.items()}
        for _, value in self.orders.task.table.items():
            if isinstance(value, open_orders.KnownOrder):
                desk.orders[value.order_id] = value
        for _, value in self.fills.task.table.items():
            if isinstance(value, seen_fills.SeenEntry) and value.fill is not None:
                desk.seen[value.fill.fill_id] = value
        return desk

    def live(self) -> dict[str, list[str]]:
        """Ids of live orders per market, from the lists."""
        table = self.orders.task.table
        return {m.market_ticker: list(m.live) for m in open_orders.markets(table) if m.live}


def append(log: list[Any], key: bytes | None, value: bytes | None) -> None:
    """One more record."""
    log.append(SimpleNamespace(offset=len(log), key=key, value=value, timestamp=0))
