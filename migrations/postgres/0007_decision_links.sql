-- One row per fill, its newest revision, with the decision behind its order. Links are rows of events_orders: they may
-- come before the fill or long after it, so they are looked up when asked for.
create view mm_fills as
select
    f.market_ticker, f.fill_id, f.order_id, f.client_order_id, coalesce(f.decision_id, l.decision_id) as decision_id,
    f.revision, f.side, f.action, f.price, f.size, f.is_taker, f.fee, f.fill_ts, f.ts_source, f.venue_fill_id,
    f.ts_event, f.ts_ingest
from (
    select distinct on (market_ticker, fill_id) * from events_fills
    order by market_ticker, fill_id, revision desc
) as f
left join (
    select distinct on (order_id) order_id, decision_id from events_orders
    where event_type = 'decision_link' order by order_id, ts_event, decision_id collate "C"
) as l on l.order_id = f.order_id;

grant select on mm_fills to reader, writer;
