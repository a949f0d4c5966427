"""Whose broker answers: an embedded Kafka is known by its cluster id, and moves away from a port that was taken."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from ops.engines import EngineFailed
from ops.engines.cluster_id import answering_cluster, new_cluster_id, read_cluster_id
from ops.engines.kafka import KafkaEngine
from ops.ports import LOOPBACK


def test_cluster_ids_differ_and_are_no_options_of_a_command_line() -> None:
    """22 characters of base64url, never a leading dash."""
    ids = {new_cluster_id() for _ in range(1_000)}

    assert len(ids) == 1_000
    assert {len(one) for one in ids} == {22}
    assert not [one for one in ids if one.startswith("-")]


def test_cluster_id_of_an_unformatted_folder_is_none(tmp_path: Path) -> None:
    """Before the first start nobody can be taken for this folder's broker."""
    assert read_cluster_id(tmp_path) is None


@pytest.mark.engines
@pytest.mark.timeout(240)
def test_broker_that_lost_its_port_moves_and_is_never_taken_for_the_other(kafka: KafkaEngine, tmp_path: Path) -> None:
    """Another Kafka bound the port between the choice and the start: the start ends on a free port, on its own data."""
    engine = KafkaEngine(tmp_path / "kafka", tmp_path / "kafka.log", kafka.port, heap_mb=256)
    engine.spawn()
    try:
        with pytest.raises(EngineFailed, match="ended while starting"):
            engine.wait_until_ready()  # the other one answers on this port all the time
        engine.kill9()
        engine.start()
        moved, own = engine.port, read_cluster_id(tmp_path / "kafka" / "log")
        assert moved != kafka.port
        assert answering_cluster(engine.bus_url, 5.0) == own
        assert answering_cluster(kafka.bus_url, 5.0) not in (None, own)
        engine.restart()
        assert (engine.port, engine.answers()) == (moved, True)
    finally:
        engine.kill9()


@pytest.mark.engines
@pytest.mark.timeout(120)
def test_port_that_the_user_chose_is_not_left_silently(tmp_path: Path) -> None:
    """A taken port is one line that names it."""
    with closing(socket.socket()) as holder:
        holder.bind((LOOPBACK, 0))
        holder.listen()
        port = holder.getsockname()[1]
        engine = KafkaEngine(tmp_path / "kafka", tmp_path / "kafka.log", port, heap_mb=256, fixed_port=True)
        with pytest.raises(EngineFailed, match=f"^kafka: port {port} was taken by another process; see [^\n]*$"):
            engine.start()
        assert engine.pid is None
