-- Projections: the latest row per stable key. An update wins by (ts_event, idempotency_key); the key is compared
-- bytewise and ends in a zero-padded revision, so the order of arrival never shows.
create temporary table state_envelope (
    idempotency_key text collate "C" not null,
    ts_event timestamptz not null,
    ts_ingest timestamptz not null,
    _partition integer not null,
    _offset bigint not null
) on commit drop;

create table state_spot_latest (
    product_id text collate "C" primary key,
    like state_envelope,
    exchange_sequence bigint,
    price numeric(18, 8) not null,
    best_bid numeric(18, 8),
    best_ask numeric(18, 8)
);

create table state_quote_latest (
    market_ticker text collate "C" primary key,
    like state_envelope,
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
    no_ba_sz numeric(18, 2)
);

create table state_market_latest (
    market_ticker text collate "C" primary key,
    like state_envelope,
    status text not null,
    close_ts timestamptz,
    expected_expiration_ts timestamptz,
    expiration_ts timestamptz,
    settlement_ts timestamptz
);

create table state_contract_latest (
    market_ticker text collate "C" primary key,
    like state_envelope,
    series_ticker text,
    event_ticker text,
    strike_type text,
    floor_strike numeric(18, 6),
    cap_strike numeric(18, 6),
    close_ts timestamptz,
    expected_expiration_ts timestamptz,
    expiration_ts timestamptz,
    settled_ts timestamptz,
    outcome text
);

-- Positions have no event table of their own (they are derived from events_fills), hence the payload here.
-- Signed counts: YES positive. cost is that of the open contracts at average cost; realized_pnl is before fees.
create table state_positions (
    market_ticker text collate "C" primary key,
    like state_envelope,
    revision bigint not null,
    inv_convention text not null,
    pos_filled numeric(18, 2) not null,
    cash numeric(20, 6) not null,
    cost numeric(20, 6) not null,
    realized_pnl numeric(20, 6) not null,
    fees numeric(20, 6) not null,
    fills bigint not null,
    fills_without_fee bigint not null,
    last_fill_ts timestamptz,
    settled_value numeric(6, 4),
    settled_ts timestamptz,
    venue_position numeric(18, 2),
    drift numeric(18, 2),
    payload jsonb not null
);

create table state_orders (
    order_id text collate "C" primary key,
    like state_envelope,
    market_ticker text collate "C" not null,
    client_order_id text,
    decision_id text,
    revision bigint,
    status text not null,
    side text,
    action text,
    price numeric(6, 4),
    initial_size numeric(18, 2),
    filled_size numeric(18, 2),
    remaining_size numeric(18, 2),
    created_ts timestamptz,
    updated_ts timestamptz
);

-- Written from settings at each start of the sink until execution exists.
create table state_risk_limits (
    limit_name text collate "C" primary key,
    limit_value numeric(20, 6) not null,
    unit text not null,
    source text not null,
    updated_at timestamptz not null default now()
);
