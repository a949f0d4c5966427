"""What an agent reads: runs of records decoded, and what must be refused turned into dead letters, in one place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from domain.errors import BadInput
from schemas.codec import decode_many, encode_record
from schemas.dead_letters import dead_letter
from schemas.registry import DLQ, Topic, decoder
from tables.outlets import Outputs
from tables.task import Task


class Intake:
    """Of one agent. `source` names it in dead letters; they are counted in `counts` as `dead_letters`."""

    def __init__(self, source: str, counts: Counter[str], *topics: Topic) -> None:
        self._source = source
        self._counts = counts
        self._decoders = {topic.name: decoder(topic) for topic in topics}

    def records(self, task: Task[Any], topic: str, rows: list[Any], outputs: Outputs) -> Iterator[tuple[Any, Any]]:
        """(row, record) in offset order; what cannot be read or has no key goes into `outputs` as a dead letter."""
        records = decode_many(self._decoders[topic], [row.value for row in rows])
        for row, record in zip(rows, records, strict=True):
            wrong = refusal(row, record)
            if wrong is None:
                yield row, record
            else:
                self.refuse(task, topic, row, None, wrong, outputs)

    def refuse(
        self, task: Task[Any], topic: str, row: Any, ticker: str | None, wrong: BadInput, outputs: Outputs
    ) -> None:
        """Put the dead letter of a record into `outputs`, under the record's own key."""
        self._counts["dead_letters"] += 1
        letter = dead_letter(self._source, topic, task.partition, row, ticker, wrong)
        outputs.setdefault(DLQ.name, []).append((row.key, encode_record(letter)))


def refusal(row: Any, record: Any) -> BadInput | None:
    """Why a decoded record cannot be taken, None when it can."""
    if isinstance(record, BadInput):
        return record
    return BadInput("no_key", "expected a market_ticker as key") if row.key is None else None
