"""What one `up` consists of: ports, addresses, the environment and command line of every child."""

import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from app.settings import Settings
from app.topics import GROUP_SINK_CLICKHOUSE, GROUP_SINK_PARQUET, GROUP_SINK_POSTGRES, GROUP_STATE
from ops.child import Child
from ops.data_dir import DataDir
from ops.feed import Feed
from ops.ports import LOOPBACK, free_ports, is_free, require_free

PORT_BASE = 6066
UP_PORTS = 9  # in a row from --port-base: four workers, two producers, the simulator, Kafka, ClickHouse
KAFKA_PORT = 9092
SIMULATOR = "simulator"
SIMULATOR_ADMIN_FILE = "simulator-admin-token"  # in run/: what a POST to the simulator's /admin must bring
PRODUCER = "producer-market"
ACCOUNT = "producer-account"
STATE = "state"
SINKS = {
    "sink-clickhouse": GROUP_SINK_CLICKHOUSE,
    "sink-postgres": GROUP_SINK_POSTGRES,
    "sink-parquet": GROUP_SINK_PARQUET,
}
WORKERS = {STATE: GROUP_STATE, **SINKS}


@dataclass(frozen=True)
class UpOptions:
    """The command line of `up`. `speed` is of a capture (0: as fast as it goes), `rate` frames/s of the generator."""

    feed: Feed
    speed: float = 1.0
    rate: int | None = None
    seed: int | None = None
    duration_s: float | None = None
    until_drained: bool = False
    port_base: int | None = None
    simulator_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ports:
    """One port each; `kafka` is unused with a BUS_URL, `clickhouse_http` with a CLICKHOUSE_URL."""

    state: int
    sink_clickhouse: int
    sink_postgres: int
    sink_parquet: int
    producer: int
    simulator: int
    account: int
    kafka: int
    clickhouse_http: int


def choose_ports(settings: Settings, port_base: int | None) -> Ports:
    """Defaults where they are free, else free ones; what the user asked for is taken or refused.

    Raises:
        UserMistake: a port that the user named is in use.
    """
    names = [field.name for field in fields(Ports)]
    base = PORT_BASE if port_base is None else port_base
    wanted = {name: base + n for n, name in enumerate(names)}
    explicit = set(names) if port_base is not None else set()
    if port_base is None:
        wanted["kafka"] = KAFKA_PORT
    if port_base is None or "clickhouse_http_port" in settings.model_fields_set:
        wanted["clickhouse_http"] = settings.clickhouse_http_port
    if settings.clickhouse_url is None and "clickhouse_http_port" in settings.model_fields_set:
        explicit.add("clickhouse_http")
    if "producer_port" in settings.model_fields_set and port_base is None:
        wanted["producer"] = settings.producer_port
        explicit.add("producer")
    for name in sorted(explicit):
        require_free(wanted[name], f"port of {name.replace('_', '-')}")
    spare = iter(free_ports(len(names)))
    return Ports(**{name: p if name in explicit or is_free(p) else next(spare) for name, p in wanted.items()})


class Plan:
    """Children and addresses of one run."""

    def __init__(self, settings: Settings, options: UpOptions, data: DataDir, ports: Ports) -> None:
        self.settings = settings
        self.options = options
        self.data = data
        self.ports = ports
        self.bus_url = settings.bus_url or f"{LOOPBACK}:{ports.kafka}"
        self.pg_dsn = settings.pg_dsn.get_secret_value() if settings.pg_dsn else ""
        self.tickers = ",".join(settings.market_tickers)

    @property
    def sinks(self) -> list[str]:
        """The sink workers of this run, by component name."""
        return [name for name in SINKS if name != "sink-clickhouse" or self.settings.use_clickhouse]

    @property
    def workers(self) -> list[str]:
        """All workers, in the order they are started."""
        return [STATE, *self.sinks]

    def url(self, component: str) -> str:
        """The component's HTTP address."""
        return f"http://{LOOPBACK}:{self._port(component)}"

    def _port(self, component: str) -> int:
        by_name = {PRODUCER: "producer", ACCOUNT: "account", SIMULATOR: "simulator"}
        port: int = getattr(self.ports, by_name.get(component, component.replace("-", "_")))
        return port

    def environment(self, component: str) -> dict[str, str]:
        """What a child finds in its environment besides ours: addresses, its role, and the mark of this directory."""
        venue = {"KALSHI_ENV": self.options.feed.kalshi_env}
        if self.options.feed.simulated:
            base = f"{LOOPBACK}:{self.ports.simulator}"
            venue |= {
                "KALSHI_WS_URL": f"ws://{base}/trade-api/ws/v2",
                "KALSHI_REST_URL": f"http://{base}/trade-api/v2",
                "COINBASE_WS_URL": f"ws://{base}/coinbase",
                "SIM_KEYID": "simulator",
                "SIM_KEYFILE": str(self.data / "run" / "simulator-private.pem"),
            }
        return (
            venue
            | self.data.marks(component)
            | {
                "BUS_URL": self.bus_url,
                "PG_DSN": self.pg_dsn,
                "DATA_DIR": str(self.data.root),
                "PARQUET_DIR": str(self.parquet_dir),
                "PRODUCER_PORT": str(self.ports.producer),
                "CLICKHOUSE_HTTP_PORT": str(self.ports.clickhouse_http),
                "MARKET_TICKERS": self.tickers,
            }
        )

    @property
    def parquet_dir(self) -> Path:
        """Where the Parquet sink writes."""
        return (self.settings.parquet_dir or self.data / "parquet").expanduser().resolve()

    def worker(self, component: str) -> Child:
        """One Faust worker."""
        group = WORKERS[component]
        port = str(self._port(component))
        store = str(self.data / "faust" / group)
        argv = ["-m", "faust", "-L", "uvloop", "--datadir", store, "-A", "app", "worker", "-l", self.settings.log_level]
        environment = self.environment(component) | {"WORKER_ROLE": group, "WEB_PORT": port}
        return self._child(component, [*argv, "--web-port", port], environment)

    def producer(self) -> Child:
        """The market producer."""
        return self._child(PRODUCER, ["-m", "ops.cli", "producer", "market"], self.environment(PRODUCER))

    @property
    def has_account(self) -> bool:
        """Whether the account is followed: a recorded capture has none."""
        return self.options.feed.kind != "replay" and self.settings.use_account

    def account_producer(self) -> Child:
        """The account producer."""
        environment = self.environment(ACCOUNT) | {"PRODUCER_PORT": str(self.ports.account)}
        child = self._child(ACCOUNT, ["-m", "ops.cli", "producer", "account"], environment)
        child.essential = False  # books are recorded whether the account can be read or not
        return child

    def simulator(self) -> Child:
        """The venue simulator."""
        options = self.options
        argv = ["-m", "venues.simulator", "--port", str(self.ports.simulator)]
        argv += ["--public-key", str(self.data / "run" / "simulator-public.pem")]
        argv += ["--admin-token-file", str(self.data / "run" / SIMULATOR_ADMIN_FILE)]
        if options.feed.kind == "replay":
            argv += ["--source", "capture", "--speed", f"{options.speed:g}"]
            for path in options.feed.captures:
                argv += ["--capture", str(path)]
        elif options.rate is not None:
            argv += ["--rate", str(options.rate)]
        if options.seed is not None:
            argv += ["--seed", str(options.seed)]
        return self._child(SIMULATOR, [*argv, *options.simulator_options], self.environment(SIMULATOR))

    def _child(self, name: str, arguments: list[str], environment: dict[str, str]) -> Child:
        return Child(name, [sys.executable, *arguments], environment, self.data.log_file(name))

    def endpoints(self) -> dict[str, str | None]:
        """Every address of this run; null where there is none (`<data dir>/run/endpoints.json`)."""
        embedded = self.settings.use_clickhouse and self.settings.clickhouse_url is None
        http = f"http://{LOOPBACK}:{self.ports.clickhouse_http}" if embedded else self.settings.clickhouse_url
        simulated = self.options.feed.simulated
        venue = self.environment(PRODUCER)
        return {
            "bus_url": self.bus_url,
            "pg_dsn": self.pg_dsn,
            "clickhouse_url": http if self.settings.use_clickhouse else None,
            "clickhouse_path": str(self.data / "clickhouse") if embedded else None,
            "parquet_dir": str(self.parquet_dir),
            "state_url": self.url(STATE),
            "sink_clickhouse_url": self.url("sink-clickhouse") if self.settings.use_clickhouse else None,
            "sink_postgres_url": self.url("sink-postgres"),
            "sink_parquet_url": self.url("sink-parquet"),
            "producer_market_url": self.url(PRODUCER),
            "producer_account_url": self.url(ACCOUNT) if self.has_account else None,
            "simulator_url": self.url(SIMULATOR) if simulated else None,
            "kalshi_ws_url": venue.get("KALSHI_WS_URL", self.settings.kalshi_ws_url),
            "kalshi_rest_url": venue.get("KALSHI_REST_URL", self.settings.kalshi_rest_url),
        }


def make_simulator_keys(folder: Path) -> None:
    """A fresh RSA pair for this run: the producer signs with one half, the simulator checks with the other."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    private = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    private_file = folder / "simulator-private.pem"
    private_file.unlink(missing_ok=True)
    with os.fdopen(os.open(private_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(private)
    (folder / "simulator-public.pem").write_bytes(public)
