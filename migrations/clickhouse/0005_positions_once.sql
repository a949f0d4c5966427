-- Position records have no cause: after a kill some stand here twice. One row per market and revision is shown.
create or replace view {database}.mm_positions as
select * from {database}.mm_positions_raw final
order by _offset desc
limit 1 by market_ticker, revision;
