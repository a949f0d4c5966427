"""Rows of `orderbook_events`: a delta or a reset is one row, a snapshot a marker row and one row per level.

`_row` 0 is the record's own row, levels count from 1 (YES first, in the order received). A record that our own fold
judged impossible gets a further row of type `broken`, so that the state can be rebuilt from the table alone. A record
that could not be decoded is a row of type `refused`: every offset of the topic is found in the table.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sinks.clickhouse import arrays
from sinks.columns import UNDECODABLE

BROKEN_ROW = 1_000_000  # beyond any level of a snapshot (2 x 9,999)
_TYPES = {"book_delta": "delta", "book_reset": "reset", "book_snapshot": "snapshot_begin", UNDECODABLE: "refused"}
Broken = tuple[int, str]  # (row of the topic table, reason code)


def event_rows(table: pa.Table, broken: Sequence[Broken]) -> pa.Table:
    """The rows for these records of market.book_updates (columns of the topic, in offset order)."""
    parts = [_own_rows(table)]
    snapshots = table.filter(pc.equal(table["event_type"], "book_snapshot"))
    if snapshots.num_rows:
        parts.extend(_level_rows(snapshots, side) for side in ("yes", "no"))
    if broken:
        rows = [row for row, _ in broken]
        parts.append(_broken_rows(table.take(pa.array(rows, pa.int64())), [reason for _, reason in broken]))
    return pa.concat_tables(part.unify_dictionaries() for part in parts) if len(parts) > 1 else parts[0]


def _own_rows(table: pa.Table) -> pa.Table:
    types = arrays.dictionary(table["event_type"])
    types = pa.DictionaryArray.from_arrays(
        types.indices, pa.array([_TYPES[kind] for kind in types.dictionary.to_pylist()], pa.string())
    )
    delta = pc.fill_null(table["delta_e2"], 0)
    price = pc.fill_null(table["price_e4"], 0)
    row = arrays.constant(0, pa.uint32(), table.num_rows)
    return _rows(table, types, arrays.dictionary(table["side"]), price, delta, row, arrays.dictionary(table["reason"]))


def _level_rows(snapshots: pa.Table, side: str) -> pa.Table:
    """One row per level of one side: lists of (price, size) pairs laid flat."""
    levels = arrays.one_chunk(snapshots[side])
    parent = pc.list_parent_indices(levels)
    pairs = np.asarray(pc.list_flatten(pc.list_flatten(levels)), dtype=np.int64).reshape(-1, 2)
    owners = np.asarray(parent, dtype=np.int64)
    before = np.zeros(len(snapshots), np.int64)
    if side == "no":
        before = np.asarray(pc.list_value_length(arrays.one_chunk(snapshots["yes"])), dtype=np.int64)
    first_of_owner = np.searchsorted(owners, owners, side="left")
    numbers = 1 + before[owners] + np.arange(len(owners)) - first_of_owner
    count = len(owners)
    return _rows(
        snapshots.take(parent),
        arrays.repeated("snapshot", count),
        arrays.repeated(side, count),
        pa.array(pairs[:, 0]),
        pa.array(pairs[:, 1]),
        pa.array(numbers, pa.uint32()),
        arrays.repeated("", count),
    )


def _broken_rows(table: pa.Table, reasons: list[str]) -> pa.Table:
    count = table.num_rows
    zero = arrays.constant(0, pa.int64(), count)
    return _rows(
        table,
        arrays.repeated("broken", count),
        arrays.repeated("", count),
        zero,
        zero,
        arrays.constant(BROKEN_ROW, pa.uint32(), count),
        pa.array(reasons, pa.string()).dictionary_encode(),
    )


def _rows(
    table: pa.Table,
    types: pa.Array,
    side: pa.Array,
    price_e4: pa.Array,
    qty_e2: pa.Array,
    row: pa.Array,
    reason: pa.Array,
) -> pa.Table:
    return pa.table(
        {
            "market_id": arrays.text(table["market_id"]),
            "market_ticker": arrays.dictionary(table["market_ticker"]),
            "type": types,
            "side": side,
            "price": arrays.scaled(price_e4, arrays.PRICE),
            "qty": arrays.scaled(qty_e2, arrays.SIZE),
            "sid": pc.fill_null(arrays.one_chunk(table["sid"]), 0),
            "seq": pc.fill_null(arrays.one_chunk(table["seq"]), 0),
            "ts": arrays.venue_times(table),
            "ingest_ts": arrays.times(table["ts_ingest"]),
            "session_id": arrays.dictionary(table["session_id"]),
            "reason": reason,
            "_offset": arrays.one_chunk(table["_offset"]),
            "_row": row,
        }
    )
