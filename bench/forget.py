"""Remove a consumer group and topics, and wait until they are gone: `python -m bench.forget BROKER GROUP [TOPIC..]`.

Runs in the peers' environment: aiokafka cannot delete groups.
"""

import sys
import time
from collections.abc import Callable

GONE_S_MAX = 120.0  # a coordinator that is just loading, or a member that just left, takes seconds
PAUSE_S = 0.2


def _until(condition: Callable[[], str | None]) -> None:
    """Call it until it returns None; its text says what is still wrong."""
    deadline = time.monotonic() + GONE_S_MAX
    while (wrong := condition()) is not None:
        if time.monotonic() > deadline:
            sys.exit(wrong)
        time.sleep(PAUSE_S)


def main() -> None:
    """See the module's docstring."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    broker, group, *topics = sys.argv[1:]
    admin = AdminClient({"bootstrap.servers": broker})

    def group_left() -> str | None:
        try:
            admin.delete_consumer_groups([group])[group].result()
        except KafkaException as wrong:
            if wrong.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                return f"group {group}: {wrong}"
        return None

    def topics_left() -> str | None:
        present = sorted(set(topics) & set(admin.list_topics().topics))
        return f"topics still there: {present}" if present else None

    _until(group_left)
    present = [name for name in topics if name in admin.list_topics().topics]
    if present:
        for future in admin.delete_topics(present).values():
            future.result()
        _until(topics_left)


if __name__ == "__main__":
    main()
