-- Raw tables hold what the sink inserted; read the views without `_raw`, they leave out what a retry inserted twice.
-- `_topic`, `_partition`, `_offset`, `_row` say which record a row comes from and which row of it.
-- `_offset < 0` in PARTITION BY is always 0: it makes every part keep the lowest and highest `_offset`, so that the
-- sink's question "what is the highest offset you hold?" is answered from part headers (_minmax_count_projection).
-- Times without a venue time (snapshots have none) show `ingest_ts` as `ts`.

create table if not exists {database}.orderbook_events_raw
(
    market_id String codec(ZSTD(1)),
    market_ticker LowCardinality(String),
    type LowCardinality(String) comment 'delta; snapshot (a level of one); snapshot_begin, reset (markers); broken (our own judgement); refused',
    side LowCardinality(String) comment 'yes, no; empty in markers',
    price Decimal(9, 4) codec(ZSTD(1)) comment 'dollars',
    qty Decimal(18, 2) codec(ZSTD(1)) comment 'contracts: absolute in snapshots, signed in deltas',
    sid Int64 codec(ZSTD(1)),
    seq Int64 codec(Delta, ZSTD(1)),
    ts DateTime64(3, 'UTC') codec(Delta, ZSTD(1)),
    ingest_ts DateTime64(3, 'UTC') codec(Delta, ZSTD(1)),
    session_id LowCardinality(String),
    reason LowCardinality(String) comment 'of a reset, a broken or a refused record',
    _topic LowCardinality(String),
    _partition UInt16 codec(ZSTD(1)),
    _offset UInt64 codec(Delta, ZSTD(1)),
    _row UInt32 codec(ZSTD(1))
)
engine = ReplacingMergeTree
partition by (_topic, _partition, toYYYYMM(ingest_ts), _offset < 0)
order by (market_ticker, _partition, _offset, _row)
settings non_replicated_deduplication_window = 1000;

create or replace view {database}.orderbook_events as
select * from {database}.orderbook_events_raw final;

create table if not exists {database}.latest_levels
(
    market_id String codec(ZSTD(1)),
    market_ticker LowCardinality(String),
    side LowCardinality(String),
    price Decimal(9, 4),
    size Decimal(18, 2) comment 'contracts; 0: cleared',
    ts DateTime64(3, 'UTC') comment 'the venue''s time of the change',
    ingest_ts DateTime64(3, 'UTC') comment 'when we saw it',
    seq Int64,
    _partition UInt16,
    _offset UInt64
)
engine = ReplacingMergeTree(_offset)
partition by (_partition, _offset < 0)
order by (market_ticker, side, price)
settings non_replicated_deduplication_window = 1000;

create or replace view {database}.latest_levels_deduped as
select
    argMax(market_id, _offset) as market_id,
    market_ticker,
    side,
    price,
    argMax(l.size, _offset) as size,
    argMax(l.ts, _offset) as ts,
    argMax(l.ingest_ts, _offset) as ingest_ts
from {database}.latest_levels as l
group by market_ticker, side, price;

create table if not exists {database}.trades_raw
(
    market_ticker LowCardinality(String),
    trade_id String codec(ZSTD(1)),
    yes_price Decimal(9, 4) codec(ZSTD(1)),
    no_price Decimal(9, 4) codec(ZSTD(1)),
    count Decimal(18, 2) codec(ZSTD(1)),
    taker_side LowCardinality(String),
    is_block_trade Nullable(Bool),
    ts DateTime64(3, 'UTC') codec(Delta, ZSTD(1)),
    ingest_ts DateTime64(3, 'UTC') codec(Delta, ZSTD(1)),
    idempotency_key String codec(ZSTD(1)),
    _topic LowCardinality(String),
    _partition UInt16 codec(ZSTD(1)),
    _offset UInt64 codec(Delta, ZSTD(1)),
    _row UInt32 codec(ZSTD(1))
)
engine = ReplacingMergeTree
partition by (_topic, _partition, toYYYYMM(ingest_ts), _offset < 0)
order by (market_ticker, _partition, _offset, _row)
settings non_replicated_deduplication_window = 1000;

create or replace view {database}.trades as
select * from {database}.trades_raw final;

create table if not exists {database}.quote_updates_raw
(
    market_ticker LowCardinality(String),
    session_id LowCardinality(String),
    sid Nullable(Int64) codec(ZSTD(1)),
    seq Nullable(Int64) codec(ZSTD(1)),
    revision UInt64 codec(Delta, ZSTD(1)),
    status LowCardinality(String),
    yes_bb_px Nullable(Decimal(9, 4)) codec(ZSTD(1)),
    yes_bb_sz Nullable(Decimal(18, 2)) codec(ZSTD(1)),
    yes_ba_px Nullable(Decimal(9, 4)) codec(ZSTD(1)),
    yes_ba_sz Nullable(Decimal(18, 2)) codec(ZSTD(1)),
    no_bb_px Nullable(Decimal(9, 4)) codec(ZSTD(1)),
    no_bb_sz Nullable(Decimal(18, 2)) codec(ZSTD(1)),
    no_ba_px Nullable(Decimal(9, 4)) codec(ZSTD(1)),
    no_ba_sz Nullable(Decimal(18, 2)) codec(ZSTD(1)),
    ts DateTime64(3, 'UTC') codec(Delta, ZSTD(1)),
    ingest_ts DateTime64(3, 'UTC') codec(Delta, ZSTD(1)),
    idempotency_key String codec(ZSTD(1)),
    cause_topic LowCardinality(String),
    cause_partition UInt16 codec(ZSTD(1)),
    cause_offset UInt64 codec(Delta, ZSTD(1)),
    cause_n UInt32 codec(ZSTD(1)),
    _topic LowCardinality(String),
    _partition UInt16 codec(ZSTD(1)),
    _offset UInt64 codec(Delta, ZSTD(1)),
    _row UInt32 codec(ZSTD(1))
)
engine = ReplacingMergeTree
partition by (_topic, _partition, toYYYYMM(ingest_ts), _offset < 0)
order by (market_ticker, _partition, _offset, _row)
settings non_replicated_deduplication_window = 1000;

create or replace view {database}.quote_updates as
select * from {database}.quote_updates_raw final;

create table if not exists {database}.latest_bbo_raw
(
    market_ticker LowCardinality(String),
    status LowCardinality(String),
    session_id LowCardinality(String),
    sid Nullable(Int64),
    seq Nullable(Int64),
    revision UInt64,
    yes_bb_px Nullable(Decimal(9, 4)),
    yes_bb_sz Nullable(Decimal(18, 2)),
    yes_ba_px Nullable(Decimal(9, 4)),
    yes_ba_sz Nullable(Decimal(18, 2)),
    no_bb_px Nullable(Decimal(9, 4)),
    no_bb_sz Nullable(Decimal(18, 2)),
    no_ba_px Nullable(Decimal(9, 4)),
    no_ba_sz Nullable(Decimal(18, 2)),
    ts DateTime64(3, 'UTC'),
    ingest_ts DateTime64(3, 'UTC'),
    _partition UInt16,
    _offset UInt64
)
engine = ReplacingMergeTree(_offset)
order by market_ticker
settings non_replicated_deduplication_window = 1000;

-- The seeds' names (yes_bid_px ..) beside the project's.
create or replace view {database}.latest_bbo as
select *, yes_bb_px as yes_bid_px, yes_bb_sz as yes_bid_sz, yes_ba_px as yes_ask_px, yes_ba_sz as yes_ask_sz
from {database}.latest_bbo_raw final;

-- Written only when the last records of a batch left no row elsewhere (refused, or derived twice): where to resume.
create table if not exists {database}.sink_marks
(
    _topic LowCardinality(String),
    _partition UInt16,
    _offset UInt64
)
engine = ReplacingMergeTree(_offset)
order by (_topic, _partition);

-- Offsets [first_offset, next_offset) that the log no longer held when the sink came to them.
create table if not exists {database}.sink_holes
(
    _topic LowCardinality(String),
    _partition UInt16,
    first_offset UInt64,
    next_offset UInt64
)
engine = ReplacingMergeTree
order by (_topic, _partition, first_offset);
