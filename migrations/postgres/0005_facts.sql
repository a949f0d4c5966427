-- Filled by the scoring of a later stage; the schema stands now so that readers can be written against it.
create table fact_edge_snapshot_scores (
    asof_ts timestamptz not null,
    market_ticker text collate "C" not null,
    strategy_version text not null,
    settled_ts timestamptz,
    outcome text,
    prob_yes numeric(12, 9),
    brier numeric(12, 9),
    log_loss numeric(12, 9),
    realized_ev_yes numeric(20, 6),
    realized_ev_no numeric(20, 6),
    scored_at timestamptz not null default now(),
    primary key (asof_ts, market_ticker, strategy_version)
);

create table fact_opportunity_outcomes (
    ts_eval timestamptz not null,
    market_ticker text collate "C" not null,
    side text not null,
    strategy_version text not null,
    outcome text,
    entry_price numeric(6, 4),
    fee numeric(20, 6),
    pnl numeric(20, 6),
    scored_at timestamptz not null default now(),
    primary key (ts_eval, market_ticker, side, strategy_version)
);

create table fact_daily_performance (
    day date not null,
    strategy_version text not null,
    opportunities integer not null default 0,
    fills integer not null default 0,
    volume numeric(18, 2) not null default 0,
    fees numeric(20, 6) not null default 0,
    realized_pnl numeric(20, 6) not null default 0,
    scored_at timestamptz not null default now(),
    primary key (day, strategy_version)
);
