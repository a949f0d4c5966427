"""Columns that many tables share."""

import pyarrow as pa
import pyarrow.compute as pc

from sinks.clickhouse import arrays

CAUSE_NUMBERS = ("cause_partition", "cause_offset", "cause_n")


def times(table: pa.Table) -> dict[str, pa.Array]:
    """`ts` (the venue's, or ours where it gave none) and `ingest_ts`."""
    return {"ts": arrays.venue_times(table), "ingest_ts": arrays.times(table["ts_ingest"])}


def causes(table: pa.Table) -> dict[str, pa.Array]:
    """Where a derived record comes from; empty and 0 for one that has no cause."""
    numbers = {name: pc.fill_null(arrays.one_chunk(table[name]), 0) for name in CAUSE_NUMBERS}
    return {"cause_topic": arrays.dictionary(table["cause_topic"])} | numbers
