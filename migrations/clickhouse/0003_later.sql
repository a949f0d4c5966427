-- Tables for the records of later issues; empty until their topics exist. Columns beyond these come with those issues.

create table if not exists {database}.spot_ticks_raw
(
    product_id LowCardinality(String),
    price Decimal(38, 10),
    size Nullable(Decimal(38, 10)),
    best_bid Nullable(Decimal(38, 10)),
    best_ask Nullable(Decimal(38, 10)),
    sequence_num Nullable(UInt64),
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
order by (product_id, _partition, _offset, _row)
settings non_replicated_deduplication_window = 1000;

create or replace view {database}.spot_ticks as
select * from {database}.spot_ticks_raw final;

create table if not exists {database}.mm_decisions_raw
(
    market_ticker LowCardinality(String),
    decision_id String,
    pos_filled Decimal(18, 2),
    pos_open_exposure Decimal(18, 2),
    pos_total_est Decimal(18, 2),
    open_orders_count UInt32,
    open_yes_bid_size Decimal(18, 2),
    open_yes_ask_size Decimal(18, 2),
    open_no_bid_size Decimal(18, 2),
    open_no_ask_size Decimal(18, 2),
    allowed UInt8,
    block_stage LowCardinality(String),
    block_codes Array(LowCardinality(String)),
    reason_codes Array(LowCardinality(String)),
    inv_convention LowCardinality(String),
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

create or replace view {database}.mm_decisions as
select * from {database}.mm_decisions_raw final;

create table if not exists {database}.mm_order_actions_raw
(
    market_ticker LowCardinality(String),
    decision_id String,
    client_order_id String,
    exchange_order_id String,
    action LowCardinality(String),
    side LowCardinality(String),
    price Nullable(Decimal(9, 4)),
    size Decimal(18, 2),
    request_json String codec(ZSTD(3)),
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

create or replace view {database}.mm_order_actions as
select * from {database}.mm_order_actions_raw final;

create table if not exists {database}.mm_order_responses_raw
(
    market_ticker LowCardinality(String),
    decision_id String,
    client_order_id String,
    exchange_order_id String,
    status LowCardinality(String),
    reject_reason String,
    response_json String codec(ZSTD(3)),
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

create or replace view {database}.mm_order_responses as
select * from {database}.mm_order_responses_raw final;

create table if not exists {database}.mm_position_snapshots_raw
(
    market_ticker LowCardinality(String),
    pos_filled Decimal(18, 2),
    inv_convention LowCardinality(String),
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

create or replace view {database}.mm_position_snapshots as
select * from {database}.mm_position_snapshots_raw final;

create table if not exists {database}.edge_snapshots_raw
(
    market_ticker LowCardinality(String),
    strategy_version LowCardinality(String),
    payload String codec(ZSTD(3)),
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

create or replace view {database}.edge_snapshots as
select * from {database}.edge_snapshots_raw final;

create table if not exists {database}.opportunity_decisions_raw
(
    market_ticker LowCardinality(String),
    side LowCardinality(String),
    strategy_version LowCardinality(String),
    eligible UInt8,
    reason_codes Array(LowCardinality(String)),
    payload String codec(ZSTD(3)),
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

create or replace view {database}.opportunity_decisions as
select * from {database}.opportunity_decisions_raw final;
