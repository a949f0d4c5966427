"""The judge of the state worker: knows nothing of batches, checkpoints or kills.

It folds the input in one pass in memory, and compares outputs, table and changelog with that.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from agents.maintain_books import BookFold
from schemas.registry import BOOK_UPDATES, DLQ, QUOTE_UPDATES, SNAPSHOT_REQUESTS
from tables import order_books
from tables.checkpointed import PartitionTable
from tables.headers import Headers
from tables.kernel import TransientOutbox
from tables.outlets import Outlets, always
from tables.store import MARK_KEY, MemoryStore
from tables.task import Task

BOOK_OUTPUTS = (QUOTE_UPDATES, SNAPSHOT_REQUESTS, DLQ)
GRACE_MS = 3_600_000
HEADERS = Headers((BOOK_UPDATES.name,))


@dataclass
class Outcome:
    """What one pass over the input gives: outputs per topic and partition in order, and the table's bodies."""

    outputs: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)
    table: dict[bytes, bytes] = field(default_factory=dict)


def memory_task(partition: int = 0) -> Task[order_books.BookState]:
    """A task without a broker or a disk."""
    table = PartitionTable(order_books.ORDER_BOOKS, MemoryStore(), 4 << 20)
    outlets = Outlets({t.name: always(partition) for t in BOOK_OUTPUTS}, TransientOutbox)
    changelog = TransientOutbox("changelog", partition)
    return Task(partition, (BOOK_UPDATES.name,), table, outlets, changelog, (100, 100), 1_000_000)


def judge(rows_by_partition: dict[int, list[Any]]) -> Outcome:
    """Fold the whole input in one pass, in memory."""
    outcome = Outcome()
    for partition, rows in rows_by_partition.items():
        task = memory_task(partition)
        fold = BookFold(GRACE_MS)
        for topic, sent in fold(task, BOOK_UPDATES.name, rows).items() if rows else ():
            outcome.outputs[topic, partition] = [value for _, value in sent if value is not None]
        for key, state in task.table.items():
            outcome.table[key] = order_books.encode(state)
    return outcome


def first_by_key(rows: list[Any]) -> list[bytes]:
    """Values without repeats of an idempotency_key: the first counts."""
    seen: set[str] = set()
    values = []
    for row in rows:
        key = json.loads(row.value)["idempotency_key"]
        if key not in seen:
            seen.add(key)
            values.append(row.value)
    return values


def repeats_differ(rows: list[Any]) -> list[str]:
    """Keys that came twice with different bytes: there must be none."""
    seen: dict[str, bytes] = {}
    return [
        key for row in rows if seen.setdefault(key := json.loads(row.value)["idempotency_key"], row.value) != row.value
    ]


def table_of(changelog: dict[int, list[Any]]) -> dict[bytes, bytes]:
    """What a changelog says: the body of the last value of each key, deleted ones left out."""
    table: dict[bytes, bytes] = {}
    for rows in changelog.values():
        for row in rows:
            if row.key == MARK_KEY:
                continue
            table.pop(row.key, None)
            if row.value is not None and (body := row.value[HEADERS.width(row.value) :]):
                table[row.key] = body
    return table


def lowered(changelog: dict[int, list[Any]]) -> list[bytes]:
    """Keys whose last value has a lower version than an earlier one (a zombie's word stood last)."""
    highest: dict[bytes, int] = {}
    last: dict[bytes, int] = {}
    for rows in changelog.values():
        for row in rows:
            if row.value is not None and row.key != MARK_KEY:
                last[row.key] = HEADERS.version(row.value)
                highest[row.key] = max(last[row.key], highest.get(row.key, -1))
    return [key for key, version in last.items() if version < highest[key]]


def parsed(values: list[bytes]) -> list[Any]:
    """Values as JSON, to compare without regard to the order of fields."""
    return [json.loads(value) for value in values]
