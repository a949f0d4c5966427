"""The hot store: order-book events, levels, quotes and trades in ClickHouse (embedded chDB or a server)."""
