"""The level fold over a whole block of records at once: what `LevelFold` does record by record, on columns.

The book's own rules run for each record, in order; the rows of `latest_levels` are made once per block. That is right
because only the last change of a level in a block is kept, and its size is then what the market shows at the end.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from domain.book import APPLIED, APPLIED_BELOW_TOP
from domain.errors import InvariantViolated
from sinks.clickhouse import arrays
from sinks.clickhouse.levels import LevelFold, LevelRow

PRICES = 10_000  # prices in e4 are below it: (market, side, price) fits one integer
Broken = tuple[int, str]  # (row of the block, reason code)


class _Touched:
    """(level key, row) of each change that the table is to show; a later row of the same key replaces the earlier."""

    def __init__(self, deltas: list[int], delta_keys: np.ndarray[Any, Any]) -> None:
        self._keys, self._rows = [delta_keys[deltas]], [np.array(deltas, np.int64)]

    def add(self, row: int, keys: list[int]) -> None:
        self._keys.append(np.array(keys, np.int64))
        self._rows.append(np.full(len(keys), row, np.int64))

    def last(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Each key once, rising, and the last row that touched it."""
        keys, rows = np.concatenate(self._keys), np.concatenate(self._rows)
        order = np.lexsort((rows, keys))
        keys, rows = keys[order], rows[order]
        is_last = np.append(keys[1:] != keys[:-1], True) if len(keys) else np.zeros(0, bool)
        return keys[is_last], rows[is_last]


def fold_block(fold: LevelFold, table: pa.Table) -> tuple[list[Broken], pa.Table | None]:
    """Fold records of market.book_updates (columns of the topic, in offset order).

    Returns the impossible ones, and the columns of `latest_levels` for what changed (None: nothing did).
    """
    tickers = arrays.dictionary(table["market_ticker"])
    names: list[str] = tickers.dictionary.to_pylist()
    codes = np.asarray(tickers.indices, dtype=np.int64)
    is_no = np.asarray(pc.fill_null(pc.equal(arrays.one_chunk(table["side"]), "no"), False), dtype=np.int64)
    prices = _numbers(table["price_e4"])
    keys = (codes * 2 + is_no) * PRICES + prices
    broken: list[Broken] = []
    deltas, snapshots = _fold_records(fold, table, names, codes.tolist(), prices.tolist(), broken)
    touched = _Touched(deltas, keys)
    for row, market_keys in snapshots:
        touched.add(row, market_keys)
    level_keys, rows = touched.last()
    return broken, (_level_rows(fold, table, names, level_keys, rows) if len(rows) else None)


def _fold_records(
    fold: LevelFold, table: pa.Table, names: list[str], codes: list[int], prices: list[int], broken: list[Broken]
) -> tuple[list[int], list[tuple[int, list[int]]]]:
    """The rows of the deltas that changed a book, and (row, keys of its levels and of those that went) per snapshot."""
    markets = [fold.market(name) if name else None for name in names]
    apply_delta = [market.book.apply_delta if market else None for market in markets]
    sessions, sides, kinds = (_texts(table[name]) for name in ("session_id", "side", "event_type"))
    sids, seqs, changes = (_numbers(table[name]).tolist() for name in ("sid", "seq", "delta_e2"))
    deltas: list[int] = []
    snapshots: list[tuple[int, list[int]]] = []
    for row, (kind, code, session, sid, seq, side, price_e4, delta_e2) in enumerate(
        zip(kinds, codes, sessions, sids, seqs, sides, prices, changes, strict=True)
    ):
        try:
            if kind == "book_delta":
                verdict = apply_delta[code](session, sid, seq, side, price_e4, delta_e2)
                if verdict is APPLIED_BELOW_TOP or verdict is APPLIED:
                    deltas.append(row)
            elif kind == "book_snapshot":
                snapshots.append((row, _fold_snapshot(fold, table, row, names[code], code, session, sid, seq)))
            elif kind == "book_reset":
                fold.reset(names[code], session, table["reason"][row].as_py())
        except InvariantViolated as wrong:
            broken.append((row, wrong.reason))
            if kind == "book_delta":
                fold.market(names[code]).refuse(wrong, side, price_e4, delta_e2)
    return deltas, snapshots


def _fold_snapshot(
    fold: LevelFold, table: pa.Table, row: int, ticker: str, code: int, session: str, sid: int, seq: int
) -> list[int]:
    yes, no = table["yes"][row].as_py(), table["no"][row].as_py()
    market_id = table["market_id"][row].as_py() or ""
    fold.snapshot(ticker, market_id, session, sid, yes, no, LevelRow(0, 0, 0, seq, 0))
    changed = fold.take_rows()
    return [(code * 2 + (side == "no")) * PRICES + price_e4 for _, side, price_e4 in changed]


def _level_rows(
    fold: LevelFold, table: pa.Table, names: list[str], keys: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]
) -> pa.Table:
    """Columns of `latest_levels`: sizes as the markets show them now, the rest from the row of the last change."""
    ladders, prices = keys // PRICES, keys % PRICES
    shown: dict[int, dict[int, int]] = {}
    for code in np.unique(ladders // 2).tolist():
        shown[2 * code], shown[2 * code + 1] = fold.market(names[code]).shown()
    sizes = [shown[ladder].get(price, 0) for ladder, price in zip(ladders.tolist(), prices.tolist(), strict=True)]
    market_ids = pa.array([fold.market(name).market_id if name else "" for name in names], pa.string())
    codes = pa.array(ladders // 2, pa.int32())
    at = pa.array(rows)
    return pa.table(
        {
            "market_id": pa.DictionaryArray.from_arrays(codes, market_ids).cast(pa.string()),
            "market_ticker": pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string())),
            "side": pa.DictionaryArray.from_arrays(pa.array(ladders % 2, pa.int32()), pa.array(["yes", "no"])),
            "price": arrays.scaled(pa.array(prices), arrays.PRICE),
            "size": arrays.scaled(pa.array(sizes, pa.int64()), arrays.SIZE),
            "ts": arrays.venue_times(table).take(at),
            "ingest_ts": arrays.times(table["ts_ingest"]).take(at),
            "seq": arrays.one_chunk(table["seq"]).take(at),
            "_offset": arrays.one_chunk(table["_offset"]).take(at),
        }
    )


def _numbers(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    return np.asarray(pc.fill_null(arrays.one_chunk(column), 0), dtype=np.int64)


def _texts(column: pa.ChunkedArray) -> list[str]:
    """Text of few different values as a list: each value is made once."""
    encoded = arrays.dictionary(column)
    values = np.array(encoded.dictionary.to_pylist(), dtype=object)
    texts: list[str] = values[np.asarray(encoded.indices)].tolist()
    return texts
