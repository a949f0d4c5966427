"""One Kafka with the catalogue's topics for all scenarios that leave it right."""

from collections.abc import Iterator

import pytest
from engines import new_kafka
from kernel_world import World


@pytest.fixture(scope="session")
def lasting_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Shared: each scenario adds input with a session of its own, and at its end all topics must be right."""
    folder = tmp_path_factory.mktemp("kernel")
    kafka = new_kafka(folder / "kafka")
    kafka.start()
    yield World(kafka, folder / "world")
    kafka.kill9()


@pytest.fixture
def world(lasting_world: World) -> Iterator[World]:
    """The shared world; no worker of the test outlives it."""
    yield lasting_world
    lasting_world.stop_all()
