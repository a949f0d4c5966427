"""Partitions with data are not made to wait for partitions without.

aiokafka has one request in flight per broker. While the fold still works on what came, it asks for the other
partitions, and those may have nothing for the whole of `fetch_max_wait_ms`: 1.5 s under Faust, in which the busy
partitions are not asked for. A worker that caught up stood still for half of the time.
"""

from typing import Any

from aiokafka.consumer import consumer as aiokafka_consumer
from aiokafka.consumer import fetcher as aiokafka_fetcher

#: How long a request for a part of the partitions may wait at the broker: shorter than the fold of what is fetched
#: already (50,000 records, some 200 ms), so that the busy ones are asked for in time; longer wakes the loop less often.
PARTIAL_WAIT_MS = 20


class PromptFetcher(aiokafka_fetcher.Fetcher):
    """Waits at the broker for new data only when it asks for every partition."""

    _fetch_max_wait_ms: int
    _full_wait_ms: int | None = None

    def _get_actions_per_node(self, assignment: Any) -> Any:
        if self._full_wait_ms is None:
            self._full_wait_ms = self._fetch_max_wait_ms
        # What is in _records was fetched and not yet taken: its partitions are left out of the next request.
        self._fetch_max_wait_ms = min(PARTIAL_WAIT_MS, self._full_wait_ms) if self._records else self._full_wait_ms
        return super()._get_actions_per_node(assignment)


def fetch_promptly() -> None:
    """From now on, every aiokafka consumer of this process."""
    aiokafka_consumer.Fetcher = PromptFetcher
