"""The Postgres sink: append-only events, monotonic projections, offsets; all of one batch in one transaction."""
