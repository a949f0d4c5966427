"""Busy partitions are fetched as if the quiet ones were not there.

aiokafka has one request in flight per broker, and each names every partition whose last records have been taken. Two
costs of that, at the broker's end of the pipe:

- While the fold still works on what came, the request names the other partitions only, and those may have nothing for
  the whole of `fetch_max_wait_ms`: 1.5 s under Faust, in which the busy ones are not asked for. A worker that caught up
  stood still for half of the time. Here such a request waits PARTIAL_WAIT_MS.
- Of the 24 partitions of the state worker four carry the books; the other twenty took a third of its time at 5,000
  records/s, written into each request and read from each answer by Python. Here they are asked for each QUIET_EVERY_S.
"""

import time
from typing import Any

from aiokafka.consumer import consumer as aiokafka_consumer
from aiokafka.consumer import fetcher as aiokafka_fetcher

#: How long a request without the busy partitions may wait at the broker: shorter than the fold of what is fetched
#: already (50,000 records, some 200 ms), so that they are asked for in time; longer wakes the loop less often.
PARTIAL_WAIT_MS = 20
#: While busy partitions flow, the others are asked for this often: the latest that a record of theirs waits.
QUIET_EVERY_S = 0.01
#: A partition is busy this long after its last records.
BUSY_S = 1.0


class PromptFetcher(aiokafka_fetcher.Fetcher):
    """aiokafka's fetcher, with other partitions and another wait in the requests that it makes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: (topic, partition) -> when its last records came; node -> when all of its partitions were last asked for.
        self._came_s: dict[tuple[str, int], float] = {}
        self._asked_s: dict[int, float] = {}

    def _get_actions_per_node(self, assignment: Any) -> Any:
        actions = super()._get_actions_per_node(assignment)
        for node, request in actions[0]:
            self._sharpen(node, request)
        return actions

    def _sharpen(self, node: int, request: Any) -> None:
        now_s = time.monotonic()
        next_s = self._asked_s.get(node, 0.0) + QUIET_EVERY_S
        busy = [
            (topic, named)
            for topic, partitions in request.topics
            if (named := [p for p in partitions if now_s - self._came_s.get((topic, p[0]), 0.0) < BUSY_S])
        ]
        if busy and now_s < next_s:
            request._topics = busy
            request._max_wait_ms = min(request._max_wait_ms, 1 + int((next_s - now_s) * 1_000))
            return
        self._asked_s[node] = now_s
        if self._records:
            # What is in there was fetched and not yet taken: its partitions are missing from this request.
            request._max_wait_ms = min(request._max_wait_ms, PARTIAL_WAIT_MS)

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> Any:
        result = await super()._proc_fetch_request(assignment, node_id, request)
        now_s = time.monotonic()
        for topic, partitions in request.topics:
            for partition, *_rest in partitions:
                if (topic, partition) in self._records:
                    self._came_s[topic, partition] = now_s
        return result


def fetch_promptly() -> None:
    """From now on, every aiokafka consumer of this process."""
    aiokafka_consumer.Fetcher = PromptFetcher
