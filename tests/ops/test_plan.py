"""What `up` would run: ports, feeds, environments, addresses."""

import socket
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from domain.errors import UserMistake
from ops.data_dir import DataDir
from ops.feed import parse_feed
from ops.plan import UP_PORTS, Plan, UpOptions, choose_ports, make_simulator_keys
from ops.ports import LOOPBACK, free_port_base


def _settings(**more: Any) -> Settings:
    return Settings(_env_file=None, **more)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    port = free_port_base(UP_PORTS)  # those after it are free, or another one would be named
    with socket.create_server((LOOPBACK, port)):
        yield port


def _plan(tmp_path: Path, feed: str = "sim", **more: Any) -> Plan:
    settings = _settings(data_dir=tmp_path, **more)
    return Plan(settings, UpOptions(parse_feed(feed)), DataDir(tmp_path), choose_ports(settings, None))


def test_default_port_that_is_taken_is_replaced(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asked for the default, so another port does."""
    monkeypatch.setattr("ops.plan.PORT_BASE", taken)
    ports = choose_ports(_settings(), None)

    assert ports.state != taken
    assert len(set(astuple(ports))) == len(astuple(ports))


def test_port_base_that_is_taken_is_refused(taken: int) -> None:
    """The user asked for it, so it is said, not replaced."""
    with pytest.raises(UserMistake, match=rf"^port of state: expected port {taken} to be free, was in use"):
        choose_ports(_settings(), taken)


def test_clickhouse_port_that_was_asked_for_and_is_taken_is_refused(taken: int) -> None:
    """The same for the port that a setting names; with a ClickHouse server it is not used at all."""
    with pytest.raises(UserMistake, match="port of clickhouse-http"):
        choose_ports(_settings(clickhouse_http_port=taken), None)

    choose_ports(_settings(clickhouse_http_port=taken, clickhouse_url="http://127.0.0.1:1"), None)


def test_port_base_numbers_the_components() -> None:
    """State first, then the sinks, the producer, the simulator, and the engines: two stacks share no default."""
    base = free_port_base(UP_PORTS + 1)
    ports = choose_ports(_settings(), base)

    assert astuple(ports) == tuple(range(base, base + UP_PORTS))
    assert (ports.state, ports.sink_parquet, ports.simulator, ports.kafka) == (base, base + 3, base + 5, base + 7)
    assert choose_ports(_settings(clickhouse_http_port=base + UP_PORTS), base).clickhouse_http == base + UP_PORTS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "expected sim, replay:PATH"),
        ("sim:x", "expected sim, replay:PATH"),
        ("replay:", "was no path"),
        ("replay:/no/such/file", "expected a readable capture, was /no/such/file: No such file"),
        ("replay:/", "Is a directory"),
    ],
)
def test_wrong_feed_is_one_line(text: str, message: str) -> None:
    """Each wrong --feed says what was expected."""
    with pytest.raises(UserMistake, match=message):
        parse_feed(text)


def test_replay_takes_several_files(tmp_path: Path) -> None:
    """Paths are separated by commas and made absolute; the simulator gets each of them."""
    for name in ("a.ndjson", "b.ndjson"):
        (tmp_path / name).write_text("")
    plan = _plan(tmp_path, f"replay:{tmp_path}/a.ndjson,{tmp_path}/b.ndjson")

    assert plan.simulator().argv.count("--capture") == 2
    assert plan.environment("state")["KALSHI_ENV"] == "sim"


def test_live_feed_leaves_venue_addresses_to_the_user(tmp_path: Path) -> None:
    """With demo or prod no address of ours stands in for the venue's."""
    plan = _plan(tmp_path, "demo")

    assert plan.environment("producer-market")["KALSHI_ENV"] == "demo"
    assert "KALSHI_WS_URL" not in plan.environment("producer-market")
    assert plan.endpoints()["simulator_url"] is None


def test_endpoints_name_everything_and_null_what_is_absent(tmp_path: Path) -> None:
    """The chDB path is exactly the contract's; without ClickHouse its addresses are null and its worker is absent."""
    with_clickhouse, without = _plan(tmp_path).endpoints(), _plan(tmp_path, use_clickhouse=False)

    assert with_clickhouse["clickhouse_path"] == str(tmp_path / "clickhouse")
    assert with_clickhouse["clickhouse_url"] is not None
    assert without.endpoints()["clickhouse_path"] is without.endpoints()["clickhouse_url"] is None
    assert without.sinks == ["sink-postgres", "sink-parquet"]


def test_simulator_key_is_private(tmp_path: Path) -> None:
    """The private half is readable by its owner alone, also when an older one is replaced."""
    make_simulator_keys(tmp_path)
    make_simulator_keys(tmp_path)

    assert (tmp_path / "simulator-private.pem").stat().st_mode & 0o777 == 0o600
    assert b"PUBLIC KEY" in (tmp_path / "simulator-public.pem").read_bytes()
