-- Fills and positions. mm_fills shows the seeds' columns, one row per fill (its newest revision); is_valid = 0: refused.

create table if not exists {database}.mm_fills_raw
(
    market_ticker LowCardinality(String),
    fill_id String codec(ZSTD(1)) comment 'empty in an invalid fill',
    exchange_order_id String codec(ZSTD(1)),
    client_order_id String codec(ZSTD(1)),
    decision_id String codec(ZSTD(1)) comment 'empty while unknown',
    side LowCardinality(String),
    action LowCardinality(String),
    price Decimal(9, 4) comment 'dollars, of the filled side''s own leg',
    size Decimal(18, 2) comment 'contracts',
    fee Nullable(Decimal(38, 6)) comment 'dollars',
    is_taker Nullable(Bool),
    revision UInt64,
    is_valid UInt8,
    reason LowCardinality(String) comment 'the gate that refused it',
    ts DateTime64(3, 'UTC') codec(Delta, ZSTD(1)) comment 'the fill''s own time',
    ingest_ts DateTime64(3, 'UTC') codec(Delta, ZSTD(1)),
    idempotency_key String codec(ZSTD(1)),
    cause_topic LowCardinality(String),
    cause_partition UInt16,
    cause_offset UInt64,
    cause_n UInt32,
    _topic LowCardinality(String),
    _partition UInt16,
    _offset UInt64 codec(Delta, ZSTD(1)),
    _row UInt32
)
engine = ReplacingMergeTree
partition by (_topic, _partition, toYYYYMM(ingest_ts), _offset < 0)
order by (market_ticker, fill_id, _partition, _offset, _row)
settings non_replicated_deduplication_window = 1000;

create or replace view {database}.mm_fills as
select
    r.ts as ts, market_ticker, side, action,
    cast(price * 100, 'Decimal(6, 2)') as price_cents,
    size, fill_id, exchange_order_id,
    nullIf(decision_id, '') as decision_id,
    is_valid, reason, price, fee, is_taker, revision, r.ingest_ts as ingest_ts
from
(
    select * from {database}.mm_fills_raw final
    order by revision desc, _offset desc
    limit 1 by market_ticker, fill_id, if(is_valid = 1, 0, _offset + 1)
) as r;

create table if not exists {database}.mm_positions_raw
(
    market_ticker LowCardinality(String),
    revision UInt64,
    inv_convention LowCardinality(String),
    pos_filled Decimal(18, 2) comment 'contracts, YES positive',
    cash Decimal(38, 6) comment 'dollars, fees apart',
    cost Decimal(38, 6),
    realized_pnl Decimal(38, 6) comment 'before fees',
    fees Decimal(38, 6),
    fills UInt64,
    venue_position Nullable(Decimal(18, 2)),
    drift Nullable(Decimal(18, 2)),
    ts DateTime64(3, 'UTC') codec(Delta, ZSTD(1)),
    ingest_ts DateTime64(3, 'UTC') codec(Delta, ZSTD(1)),
    idempotency_key String codec(ZSTD(1)),
    cause_topic LowCardinality(String),
    cause_partition UInt16,
    cause_offset UInt64,
    cause_n UInt32,
    _topic LowCardinality(String),
    _partition UInt16,
    _offset UInt64 codec(Delta, ZSTD(1)),
    _row UInt32
)
engine = ReplacingMergeTree
partition by (_topic, _partition, toYYYYMM(ingest_ts), _offset < 0)
order by (market_ticker, _partition, _offset, _row)
settings non_replicated_deduplication_window = 1000;

create or replace view {database}.mm_positions as
select * from {database}.mm_positions_raw final;
