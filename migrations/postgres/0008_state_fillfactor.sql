-- Every transaction of the sink may update every row of a projection. With half of each page free a new version lands
-- beside the old one: no index is touched, the next visitor of the page clears the old version away, and the table keeps
-- its size. Pages that exist fill up as before and empty as their rows move.
alter table state_spot_latest set (fillfactor = 45);
alter table state_quote_latest set (fillfactor = 45);
alter table state_market_latest set (fillfactor = 45);
alter table state_contract_latest set (fillfactor = 45);
alter table state_positions set (fillfactor = 45);
alter table state_orders set (fillfactor = 45);
