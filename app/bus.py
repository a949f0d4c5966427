"""How every client of ours connects to Kafka: one place for addresses, TLS and SASL.

Reads settings; writes nothing. Never puts a password into an error or a log line.
"""

import ssl
from typing import Any

from app.settings import Settings
from domain.errors import UserMistake

#: Keyword arguments for AIOKafkaProducer, AIOKafkaConsumer and AIOKafkaAdminClient alike.
BusConfig = dict[str, Any]

MESSAGE_BYTES_MAX = 8 << 20  # the broker's and every topic's bound; producers pass it as max_request_size


def aiokafka_options(settings: Settings) -> BusConfig:
    """Connection options for any aiokafka client.

    Raises:
        UserMistake: BUS_URL is missing or no address, a password or a certificate file is missing or unreadable.
    """
    options: BusConfig = {
        "bootstrap_servers": ",".join(bus_addresses(settings)),
        "security_protocol": settings.bus_security_protocol,
    }
    if settings.bus_security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.bus_security_protocol.startswith("SASL"):
        if not settings.bus_sasl_username or settings.bus_sasl_password is None:
            raise UserMistake("BUS_SASL_USERNAME, BUS_SASL_PASSWORD: expected both with SASL, was one or none")
        options["sasl_mechanism"] = settings.bus_sasl_mechanism
        options["sasl_plain_username"] = settings.bus_sasl_username
        options["sasl_plain_password"] = settings.bus_sasl_password.get_secret_value()
    return options


def bus_addresses(settings: Settings) -> list[str]:
    """The bootstrap addresses, each host:port. Raises UserMistake when BUS_URL is missing or malformed."""
    if settings.bus_url is None:
        raise UserMistake("BUS_URL: expected host:port of Kafka, was not set (`kalshi-streams up` sets it)")
    text = settings.bus_url.removeprefix("kafka://")
    addresses = [part.strip() for part in text.replace(";", ",").split(",") if part.strip()]
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or "@" in host or not port.isdigit() or not 0 < int(port) < 65_536:
            shown = address.rpartition("@")[2]  # what stands before it may be a password
            raise UserMistake(f"BUS_URL: expected host:port[,host:port], was {shown!r}"[:200])
    if not addresses:
        raise UserMistake("BUS_URL: expected host:port[,host:port], was empty")
    return addresses


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.bus_ssl_cafile)
        if settings.bus_ssl_certfile is not None:
            context.load_cert_chain(settings.bus_ssl_certfile, settings.bus_ssl_keyfile)
    except (OSError, ssl.SSLError) as wrong:
        raise UserMistake(
            f"BUS_SSL_CAFILE, BUS_SSL_CERTFILE, BUS_SSL_KEYFILE: expected PEM files, was {type(wrong).__name__}"
        ) from None
    return context
