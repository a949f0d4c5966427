-- Append-only events, partitioned by the UTC day of ts_event. Prices are dollars, sizes are contracts, money is dollars:
-- exact decimals of the integers on the topics. ts_event is a function of idempotency_key, so that
-- (idempotency_key, ts_event) is unique exactly when the key is.
create temporary table event_envelope (
    idempotency_key text collate "C" not null,
    event_type text not null,
    schema_version smallint not null,
    ts_event timestamptz not null,
    ts_ingest timestamptz not null,
    source text not null,
    cause_topic text,
    cause_partition integer,
    cause_offset bigint,
    cause_n integer,
    _partition integer not null,
    _offset bigint not null,
    payload jsonb not null
) on commit drop;

create table events_spot_ticks (
    like event_envelope,
    product_id text collate "C" not null,
    exchange_sequence bigint,
    price numeric(18, 8) not null,
    best_bid numeric(18, 8),
    best_ask numeric(18, 8),
    unique (idempotency_key, ts_event)
) partition by range (ts_event);

create table events_quote_updates (
    like event_envelope,
    market_ticker text collate "C" not null,
    session_id text not null,
    sid bigint,
    seq bigint,
    revision bigint not null,
    status text not null,
    yes_bb_px numeric(6, 4),
    yes_bb_sz numeric(18, 2),
    yes_ba_px numeric(6, 4),
    yes_ba_sz numeric(18, 2),
    no_bb_px numeric(6, 4),
    no_bb_sz numeric(18, 2),
    no_ba_px numeric(6, 4),
    no_ba_sz numeric(18, 2),
    unique (idempotency_key, ts_event)
) partition by range (ts_event);

create table events_market_lifecycle (
    like event_envelope,
    market_ticker text collate "C" not null,
    status text not null,
    close_ts timestamptz,
    expected_expiration_ts timestamptz,
    expiration_ts timestamptz,
    settlement_ts timestamptz,
    unique (idempotency_key, ts_event)
) partition by range (ts_event);

create table events_contract_updates (
    like event_envelope,
    market_ticker text collate "C" not null,
    series_ticker text,
    event_ticker text,
    strike_type text,
    floor_strike numeric(18, 6),
    cap_strike numeric(18, 6),
    close_ts timestamptz,
    expected_expiration_ts timestamptz,
    expiration_ts timestamptz,
    settled_ts timestamptz,
    outcome text,
    unique (idempotency_key, ts_event)
) partition by range (ts_event);

create table events_edge_snapshots (
    like event_envelope,
    market_ticker text collate "C" not null,
    strategy_version text not null,
    asof_ts timestamptz not null,
    spot_price numeric(18, 8),
    prob_yes numeric(12, 9),
    ev_take_yes numeric(18, 6),
    ev_take_no numeric(18, 6),
    unique (idempotency_key, ts_event)
) partition by range (ts_event);

create table events_opportunity_decisions (
    like event_envelope,
    market_ticker text collate "C" not null,
    strategy_version text not null,
    ts_eval timestamptz not null,
    side text,
    is_eligible boolean not null,
    no_trade_reasons text[],
    unique (idempotency_key, ts_event)
) partition by range (ts_event);

-- order_state now; order_action and order_response when execution exists (hence the nulls).
create table events_orders (
    like event_envelope,
    market_ticker text collate "C" not null,
    order_id text collate "C",
    client_order_id text,
    decision_id text,
    revision bigint,
    status text,
    side text,
    action text,
    price numeric(6, 4),
    initial_size numeric(18, 2),
    filled_size numeric(18, 2),
    remaining_size numeric(18, 2),
    created_ts timestamptz,
    updated_ts timestamptz,
    open_orders_count integer,
    open_yes_bid_size numeric(18, 2),
    open_yes_ask_size numeric(18, 2),
    open_no_bid_size numeric(18, 2),
    open_no_ask_size numeric(18, 2),
    pos_open_exposure numeric(18, 2),
    unique (idempotency_key, ts_event)
) partition by range (ts_event);

-- fill and fill_amended. fill_ts is the fill's own time; ts_event never runs backwards within a market and may be later.
-- price is that of the filled side's own leg.
create table events_fills (
    like event_envelope,
    market_ticker text collate "C" not null,
    fill_id text collate "C" not null,
    order_id text collate "C" not null,
    client_order_id text,
    decision_id text,
    revision bigint not null,
    side text not null,
    action text not null,
    price numeric(6, 4) not null,
    size numeric(18, 2) not null,
    is_taker boolean,
    fee numeric(20, 6),
    fill_ts timestamptz not null,
    ts_source text not null,
    venue_fill_id text collate "C",
    unique (idempotency_key, ts_event)
) partition by range (ts_event);

-- Questions are asked per market and time.
create index on events_quote_updates (market_ticker, ts_event);
create index on events_spot_ticks (product_id, ts_event);
create index on events_edge_snapshots (market_ticker, ts_event);
create index on events_opportunity_decisions (market_ticker, ts_event);
create index on events_orders (market_ticker, ts_event);
create index on events_fills (market_ticker, fill_ts);
