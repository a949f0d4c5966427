"""Kafka connection settings: what is passed on, what is refused, what stays secret."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from app.bus import aiokafka_options
from app.settings import Settings
from domain.errors import UserMistake


def _settings(**more: Any) -> Settings:
    return Settings(_env_file=None, **more)


def test_plain_address_list_passes_through() -> None:
    """Several addresses, blanks and Faust's scheme are understood."""
    assert aiokafka_options(_settings(bus_url="kafka://a:1, b:2")) == {
        "bootstrap_servers": "a:1,b:2",
        "security_protocol": "PLAINTEXT",
    }


def test_sasl_over_tls_carries_context_and_password() -> None:
    """All of TLS and SASL reaches aiokafka."""
    options = aiokafka_options(
        _settings(
            bus_url="a:1",
            bus_security_protocol="SASL_SSL",
            bus_sasl_mechanism="SCRAM-SHA-512",
            bus_sasl_username="u",
            bus_sasl_password="hush",
        )
    )

    assert isinstance(options.pop("ssl_context"), ssl.SSLContext)
    assert options == {
        "bootstrap_servers": "a:1",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "u",
        "sasl_plain_password": "hush",
    }


@pytest.mark.parametrize("bad", ["nohost", "host:", ":9092", "host:port", "host:99999", ","])
def test_malformed_address_is_named(bad: str) -> None:
    """An address that is none is a user mistake naming the variable."""
    with pytest.raises(UserMistake, match="BUS_URL: expected host:port"):
        aiokafka_options(_settings(bus_url=bad))


def test_missing_password_and_certificate_are_named_without_secrets(tmp_path: Path) -> None:
    """What is missing is said; what is secret is not."""
    with pytest.raises(UserMistake, match="expected both with SASL") as wrong:
        aiokafka_options(_settings(bus_url="a:1", bus_security_protocol="SASL_SSL", bus_sasl_password="hush"))
    with pytest.raises(UserMistake, match="expected PEM files"):
        aiokafka_options(_settings(bus_url="a:1", bus_security_protocol="SSL", bus_ssl_cafile=tmp_path / "none.pem"))

    assert "hush" not in str(wrong.value)
