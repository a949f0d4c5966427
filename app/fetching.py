"""How the consumers of this process fetch: in sessions, all of their partitions at once, at a pace where one is set.

aiokafka has one request in flight per broker and leaves out the partitions whose last records nobody has taken. While
the fold works on what came, such a request asks for the others only, and may wait for them long after the fold is
done. Here none is sent before everything was taken: partitions that flow and those that do not are always asked for
together, and a session makes the quiet ones free (`app.fetch_session`).
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from aiokafka.consumer import consumer as aiokafka_consumer
from aiokafka.consumer import fetcher as aiokafka_fetcher

from app.fetch_session import FetchSession, SessionRequest

#: How long a request may wait at the broker while a partition is held back: when it is let go it is asked for again.
HELD_BACK_WAIT_MS = 50


@dataclass(frozen=True)
class FetchPace:
    """The broker answers when it has `min_bytes`, or `wait_ms` after it was asked: a sink's records come in few large
    pieces, and its writes follow the fetches."""

    min_bytes: int = 1
    wait_ms: int = 500


class SessionFetcher(aiokafka_fetcher.Fetcher):
    """aiokafka's fetcher, with other requests."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sessions: dict[int, FetchSession] = {}
        self._wanted: Collection[Any] = ()  # what was asked of us last; empty: everything

    async def fetched_records(self, partitions: Any, timeout: float = 0, max_records: int | None = None) -> Any:
        self._wanted = partitions
        return await super().fetched_records(partitions, timeout, max_records)

    def _get_actions_per_node(self, assignment: Any) -> Any:
        requests, *others = super()._get_actions_per_node(assignment)
        if requests and self._records:
            if not self._wanted or any(tp in self._wanted for tp in self._records):
                requests = []  # the next look follows when they are taken
            for _node, request in requests:
                request._max_wait_ms = min(request._max_wait_ms, HELD_BACK_WAIT_MS)
        return requests, *others

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> Any:
        session = self._sessions.setdefault(node_id, FetchSession())
        try:
            result = await super()._proc_fetch_request(assignment, node_id, SessionRequest(request, session))
        finally:
            session.settle()
        if not result and assignment.active:
            self._note_empty_answer(assignment, request)
        return result

    def _note_empty_answer(self, assignment: Any, request: Any) -> None:
        """Partitions without anything are not named in an answer, and have been answered all the same."""
        now_ms = int(time.time() * 1_000)
        for topic, partitions in request.topics:
            for partition, *_rest in partitions:
                assignment.state_value(aiokafka_fetcher.TopicPartition(topic, partition)).timestamp = now_ms


def fetch_in_sessions() -> None:
    """From now on, every aiokafka consumer of this process."""
    aiokafka_consumer.Fetcher = SessionFetcher
