"""Names that the Faust side and the commands share: consumer groups, their sources, and tables with a changelog."""

from tables.decision_links import TABLE as DECISION_LINKS
from tables.open_orders import TABLE as OPEN_ORDERS
from tables.order_books import TABLE as ORDER_BOOKS
from tables.positions import TABLE as POSITIONS
from tables.seen_fills import TABLE as SEEN_FILLS

GROUP_STATE = "kalshi-streams-state"
GROUP_SINK_POSTGRES = "kalshi-streams-sink-postgres"
GROUP_SINK_CLICKHOUSE = "kalshi-streams-sink-clickhouse"
GROUP_SINK_PARQUET = "kalshi-streams-sink-parquet"
SINK_GROUPS = (GROUP_SINK_CLICKHOUSE, GROUP_SINK_POSTGRES, GROUP_SINK_PARQUET)
GROUPS = (GROUP_STATE, *SINK_GROUPS)

#: Tables with a changelog, in the order of `topics apply`.
TABLES: tuple[str, ...] = (ORDER_BOOKS, SEEN_FILLS, POSITIONS, OPEN_ORDERS, DECISION_LINKS)
