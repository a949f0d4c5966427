"""Secrets never stand in an error, a repr, a metric or a page."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from prometheus_client import generate_latest
from pydantic import SecretStr

from app.bus import aiokafka_options
from app.health import not_ready_reasons
from app.metrics import registry_of
from app.settings import Settings, load_settings
from app.worker import build_app
from domain.errors import UserMistake
from ops.migrate import migrate_postgres
from producers.market import venue_signer
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import SinkUnavailable
from sinks.postgres.sink import PostgresSink
from venues.kalshi.auth import load_signer

MARKER = "M4RKER"  # stands in every secret, and nowhere else
DEAD_PORT = 1  # nobody listens there


def _settings(**more: object) -> Settings:
    secrets = {
        name: f"{MARKER}-{name}"
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation) and name != "pg_dsn"
    }
    dsn = f"postgresql://u:{MARKER}@127.0.0.1:{DEAD_PORT}/x"
    return Settings(_env_file=None, **(secrets | {"pg_dsn": dsn, "bus_url": f"127.0.0.1:{DEAD_PORT}"} | more))


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: str | None = None) -> bytes:
    lock = s.BestAvailableEncryption(password.encode()) if password else s.NoEncryption()
    return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, lock)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    """Small, because only its errors are looked at."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def test_every_password_and_key_is_a_secret() -> None:
    """A setting with such a name that is a plain string would print."""
    for name, field in Settings.model_fields.items():
        if any(word in name for word in ("password", "keyid", "token", "dsn")) and "file_" not in f"{name}_":
            assert "SecretStr" in str(field.annotation), name


def test_printed_settings_show_no_secret() -> None:
    """repr, str, JSON and a plain dump."""
    settings = _settings()

    for text in (repr(settings), str(settings), f"{settings}", settings.model_dump_json(), str(settings.model_dump())):
        assert MARKER not in text
        assert "**********" in text


def test_wrong_settings_are_named_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value of a wrong variable may be a secret that was pasted into the wrong line."""
    monkeypatch.setenv("PG_POOL_MAX", MARKER)
    monkeypatch.setenv("KALSHI_ENV", MARKER)
    with pytest.raises(UserMistake) as told:
        load_settings()

    assert "PG_POOL_MAX" in str(told.value) and "KALSHI_ENV" in str(told.value)
    assert MARKER not in str(told.value)


def test_bad_key_files_are_named_without_what_is_in_them(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    """Missing, no key, half a key, not RSA, encrypted without and with the wrong password, a password too many."""
    cases: dict[str, tuple[bytes | None, str | None]] = {
        "missing": (None, None),
        "garbage": (f"{MARKER}\n".encode() * 3, None),
        "cut": (_pem(rsa_key)[:400] + MARKER.encode(), None),
        "not-rsa": (_pem(ec.generate_private_key(ec.SECP256R1())), None),
        "encrypted": (_pem(rsa_key, MARKER), None),
        "wrong-password": (_pem(rsa_key, "other"), MARKER),
        "password-too-many": (_pem(rsa_key), MARKER),
    }
    for name, (content, password) in cases.items():
        file = tmp_path / f"{name}.pem"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UserMistake) as told:
            load_signer(f"{MARKER}-id", file, password)
        text = str(told.value)

        assert name in text and "\n" not in text, name
        assert MARKER not in text and "BEGIN" not in text, name
        assert told.value.__cause__ is None, name


def test_half_a_key_is_named_without_the_other_half(tmp_path: Path) -> None:
    """Only the name of what is missing."""
    for env in ("prod", "demo"):
        with pytest.raises(UserMistake, match=f"{env.upper()}_KEYFILE") as told:
            venue_signer(_settings(kalshi_env=env))
        assert MARKER not in str(told.value)


def test_a_signer_does_not_print_its_key(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    """Neither the id nor the key."""
    (tmp_path / "key.pem").write_bytes(_pem(rsa_key))

    assert MARKER not in repr(load_signer(f"{MARKER}-id", tmp_path / "key.pem"))


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://u:{MARKER}@127.0.0.1:{DEAD_PORT}/x",
        f"postgresql://u:{MARKER}%zz@127.0.0.1:{DEAD_PORT}/x",
        f"postgresql://u:{MARKER}@127.0.0.1:port/x",
        f"host=127.0.0.1 port={DEAD_PORT} password='{MARKER}",
        f"host=127.0.0.1 password {MARKER}",
    ],
)
def test_an_unreachable_or_malformed_postgres_is_told_without_its_password(dsn: str) -> None:
    """libpq repeats the text around a mistake; we do not."""
    with pytest.raises(UserMistake) as told:
        migrate_postgres(dsn)

    assert MARKER not in str(told.value)


def test_a_malformed_kafka_address_is_told_without_credentials() -> None:
    """BUS_URL has no credentials by design; whoever writes some does not see them again."""
    for address in (f"u:{MARKER}@host", f"kafka://u:{MARKER}@host:9092"):
        with pytest.raises(UserMistake, match="BUS_URL") as told:
            aiokafka_options(_settings(bus_url=address))
        assert MARKER not in str(told.value)


async def _why_away(sink: PostgresSink | ClickHouseSink) -> str:
    with pytest.raises((SinkUnavailable, UserMistake)) as told:
        await sink.start()
    return str(told.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PostgresSink.from_settings(_settings(pg_statement_timeout_ms=100)),
        lambda: ClickHouseSink.from_settings(_settings(clickhouse_url=f"http://127.0.0.1:{DEAD_PORT}")),
        lambda: ClickHouseSink.from_settings(_settings(clickhouse_url=f"http://u:{MARKER}@127.0.0.1:{DEAD_PORT}")),
    ],
)
async def test_pages_of_a_worker_whose_store_is_away_show_no_secret(
    make: Callable[[], PostgresSink | ClickHouseSink], caplog: pytest.LogCaptureFixture
) -> None:
    """/readyz repeats what the store's client said, and so may the log; /metrics has labels."""
    sink = make()
    try:
        reason = await _why_away(sink)
    finally:
        await sink.stop()

    assert reason
    assert MARKER not in reason
    assert MARKER not in caplog.text


@pytest.mark.parametrize("role", ["kalshi-streams-state", "kalshi-streams-sink-postgres"])
def test_metrics_readiness_and_configuration_of_a_worker_show_no_secret(role: str, tmp_path: Path) -> None:
    """Built with a secret in every place that has one."""
    settings = _settings(
        worker_role=role, data_dir=tmp_path, bus_security_protocol="SASL_PLAINTEXT", bus_sasl_username="user"
    )
    app = build_app(settings, transient=True)
    pages = [generate_latest(registry_of(app)).decode(), json.dumps(not_ready_reasons(app)), repr(app), str(app.conf)]

    assert "kalshi_streams_ready 0.0" in pages[0]
    assert not [page for page in pages if MARKER in page]
    assert isinstance(app.kernel.settings.pg_dsn, SecretStr)


def test_a_producer_with_a_bad_key_prints_one_line_without_it(tmp_path: Path) -> None:
    """The whole output of the command: one line on stderr, exit code 2, no traceback."""
    (tmp_path / "key.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{MARKER}\n-----END PRIVATE KEY-----\n")
    environment = os.environ | {
        "KALSHI_ENV": "demo",
        "DEMO_KEYID": f"{MARKER}-id",
        "DEMO_KEYFILE": "key.pem",
        "DEMO_KEYFILE_PASSWORD": f"{MARKER}-password",
        "BUS_URL": f"127.0.0.1:{DEAD_PORT}",
        "DATA_DIR": str(tmp_path),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "ops.cli", "producer", "market"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1), ran.stderr[-1_000:]
    assert "key.pem" in ran.stderr
    assert MARKER not in ran.stdout + ran.stderr
