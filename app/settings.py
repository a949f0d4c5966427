"""All settings, read once from the environment and `.env`, frozen. Each stands in `.env.example` (a test compares).

Names follow the user's documents where those have one. Secrets are `SecretStr`: they never print.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.errors import UserMistake

Role = Literal[
    "kalshi-streams-state",
    "kalshi-streams-sink-postgres",
    "kalshi-streams-sink-clickhouse",
    "kalshi-streams-sink-parquet",
    "sinks",
    "all",
]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Frozen; one instance per process (`settings()`)."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    # --- the venue ---
    kalshi_env: Literal["sim", "demo", "prod"] = "sim"
    kalshi_ws_url: str | None = None
    kalshi_rest_url: str | None = None
    coinbase_ws_url: str | None = None
    prod_keyid: SecretStr | None = None
    prod_keyfile: Path | None = None
    prod_keyfile_password: SecretStr | None = None
    sim_keyid: SecretStr | None = None  # the simulator's; `up --feed sim` makes a key pair of its own
    sim_keyfile: Path | None = None
    demo_keyid: SecretStr | None = None
    demo_keyfile: Path | None = None
    demo_keyfile_password: SecretStr | None = None
    producer_port: PositiveInt = 6070
    market_tickers: Annotated[tuple[str, ...], NoDecode] = ()
    market_series: Annotated[tuple[str, ...], NoDecode] = ("KXBTCD", "KXBTC15M")
    market_events: Annotated[tuple[str, ...], NoDecode] = ()
    market_poll_interval_s: PositiveInt = 30
    markets_per_subscription: PositiveInt = 50
    snapshot_requests_per_s: PositiveInt = 10
    ws_silence_timeout_s: PositiveInt = 25
    producer_buffer_records: PositiveInt = 20_000
    kalshi_tier: Literal["basic", "advanced", "premier", "paragon", "prime"] = "basic"
    account_poll_interval_s: PositiveFloat = 10
    account_poll_overlap_s: PositiveInt = 60
    fill_retention_days: PositiveInt = 90  # fill and order ids are remembered so long, in event time
    seen_fills_max: PositiveInt = 5_000_000  # per partition: an alarm above it, never an eviction
    use_recorder: bool = True
    recorder_file_mb: PositiveInt = 64
    recorder_file_age_s: PositiveInt = 3_600
    recorder_keep_files: PositiveInt = 48

    # --- Kafka ---
    bus_url: str | None = None
    bus_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    bus_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    bus_sasl_username: str | None = None
    bus_sasl_password: SecretStr | None = None
    bus_ssl_cafile: Path | None = None
    bus_ssl_certfile: Path | None = None
    bus_ssl_keyfile: Path | None = None
    bus_stream_retention_hours: PositiveInt = 168
    bus_stream_retention_mb: PositiveInt = 4_096
    bus_dlq_retention_hours: PositiveInt = 720
    bus_replication_factor: PositiveInt = 1
    topic_partitions: PositiveInt = 4
    send_stall_s: PositiveInt = 10

    # --- stores ---
    pg_dsn: SecretStr | None = None
    pg_pool_min: PositiveInt = 1
    pg_pool_max: PositiveInt = 4
    pg_statement_timeout_ms: PositiveInt = 10_000
    pg_event_retention_days: PositiveInt = 90
    # What state_risk_limits shows; the unit is the name's end. Execution will enforce them.
    risk_max_order_contracts: PositiveInt = 10
    risk_max_position_contracts: PositiveInt = 100
    risk_max_open_orders: PositiveInt = 20
    risk_max_exposure_usd: PositiveInt = 100
    risk_max_daily_loss_usd: PositiveInt = 50
    use_clickhouse: bool = True
    # Whether fills, orders and positions are followed; needs the venue's REST and a key that may read the account.
    use_account: bool = True
    kalshi_subaccount: Annotated[int, Field(ge=0, le=63)] = 0  # which one the desk trades and shows; 0 is the primary
    clickhouse_url: str | None = None
    clickhouse_user: str = "default"
    clickhouse_password: SecretStr | None = None
    clickhouse_database: str = "kalshi"
    clickhouse_http_port: PositiveInt = 8123
    clickhouse_retention_days: Annotated[int, Field(ge=0)] = 0
    # How old levels may be before a best price read from ClickHouse counts as stale, ms by series: series whose books
    # move every second are fast, every other one ("") is slow, because a quiet book is not a dead one.
    mm_max_level_age_ms: Annotated[dict[str, PositiveInt], NoDecode] = {
        **dict.fromkeys(("KXBTC15M", "KXBTCD", "KXBTC", "KXETH15M", "KXETHD", "KXGOLD15M"), 10_000),
        "": 600_000,
    }
    parquet_dir: Path | None = None
    parquet_rotate_rows: PositiveInt = 200_000
    parquet_rotate_mb: PositiveInt = 128
    parquet_rotate_age_s: PositiveInt = 60
    parquet_compact: bool = False

    # --- the worker ---
    data_dir: Path = Path("data")
    worker_role: Role = "kalshi-streams-state"
    worker_instance: str = "0"
    checkpoint_ms: PositiveInt = 100
    checkpoint_max_ms: PositiveInt = 1_000
    checkpoint_records: PositiveInt = 100_000
    table_standby_replicas: Annotated[int, Field(ge=0)] = 0
    table_value_max_bytes: PositiveInt = 4 << 20
    rocksdb_block_cache_mb: PositiveInt = 16
    rocksdb_write_buffer_mb: PositiveInt = 8
    recovery_deadline_s: PositiveInt = 600
    session_timeout_s: PositiveInt = 10
    commit_stall_s: PositiveInt = 60
    feed_stale_ms: PositiveInt = 15_000
    removed_book_grace_s: PositiveInt = 3_600
    web_bind: str = "127.0.0.1"
    http_allowed_hosts: Annotated[
        tuple[str, ...], NoDecode
    ] = ()  # besides loopback, web_bind and the machine's own name
    web_port: PositiveInt = 6066
    api_token: SecretStr | None = None
    restarts_max: PositiveInt = 10  # `up`: deaths of one component in restart_window_s that are restarted
    restart_window_s: PositiveInt = 120
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @field_validator("market_tickers", "market_series", "market_events", "http_allowed_hosts", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("mm_max_level_age_ms", mode="before")
    @classmethod
    def _split_limits(cls, value: object) -> object:
        """`SERIES:ms,..,ms`: the one without a series is for all others."""
        if not isinstance(value, str):
            return value
        pairs = [part.strip().rpartition(":") for part in value.split(",") if part.strip()]
        limits = {series.strip(): ms.strip() for series, _, ms in pairs}
        if "" not in limits or len(limits) < len(pairs):
            raise ValueError("expected SERIES:ms for each series once, and one ms without a series for all others")
        return limits


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment, with overrides from the command line.

    Raises:
        UserMistake: one line naming each wrong variable; values are not repeated, they may be secrets.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as wrong:
        lines = "; ".join(f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in wrong.errors())
        raise UserMistake(f"wrong setting: {lines}") from None


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()
