-- Which decision an order came from, and through it every fill of the order.

create table if not exists {database}.mm_decision_links_raw
(
    market_ticker LowCardinality(String),
    exchange_order_id String codec(ZSTD(1)),
    client_order_id String codec(ZSTD(1)),
    decision_id String codec(ZSTD(1)),
    ts DateTime64(3, 'UTC') codec(Delta, ZSTD(1)) comment 'of the order action',
    ingest_ts DateTime64(3, 'UTC') codec(Delta, ZSTD(1)),
    idempotency_key String codec(ZSTD(1)),
    _topic LowCardinality(String),
    _partition UInt16,
    _offset UInt64 codec(Delta, ZSTD(1)),
    _row UInt32
)
engine = ReplacingMergeTree
partition by (_topic, _partition, toYYYYMM(ingest_ts), _offset < 0)
order by (market_ticker, exchange_order_id, _partition, _offset, _row)
settings non_replicated_deduplication_window = 1000;

-- One row per order: a link may be stored twice, and an order amended by us has one for each of its client order ids.
create or replace view {database}.mm_decision_links as
select market_ticker, exchange_order_id, client_order_id, decision_id, ts, ingest_ts
from {database}.mm_decision_links_raw
order by ts, decision_id
limit 1 by exchange_order_id;

create or replace view {database}.mm_fills as
select
    r.ts as ts, r.market_ticker as market_ticker, r.side as side, r.action as action,
    cast(r.price * 100, 'Decimal(6, 2)') as price_cents,
    r.size as size, r.fill_id as fill_id, r.exchange_order_id as exchange_order_id,
    nullIf(if(r.decision_id != '', r.decision_id, l.decision_id), '') as decision_id,
    r.is_valid as is_valid, r.reason as reason, r.price as price, r.fee as fee, r.is_taker as is_taker,
    r.revision as revision, r.ingest_ts as ingest_ts
from
(
    select * from {database}.mm_fills_raw final
    order by revision desc, _offset desc
    limit 1 by market_ticker, fill_id, if(is_valid = 1, 0, _offset + 1)
) as r
left join (select exchange_order_id, decision_id from {database}.mm_decision_links) as l
on l.exchange_order_id = r.exchange_order_id;
