"""`qa fills`: the stored fills against what fills can be, against each other, and against the venue's own numbers.

Each store is asked the same (`qa_fill_checks`); then the two are compared fill by fill, positions with their fills,
orders with what was ordered, and both with the volume that the venue reported.
"""

import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from ops.qa_fill_checks import check_store
from ops.qa_fill_store import Connect, FillStore, clickhouse_fills, postgres_fills
from ops.qa_fill_volume import VenueVolume, check_volume, stored_volumes
from ops.qa_report import Report
from ops.qa_sources import Reader

CATCH_UP_S_MAX = 20.0  # sinks flush within a second; a running one that lags more is a finding of /lag
ROWS_PER_ORDER_MAX = 100  # the seeds' bound, for an order whose size nobody knows
DRIFT_MS_MAX = 60_000  # a difference to the venue that outlasts some polls

_TABLES = "select count() from system.tables where database = {d:String} and name = 'mm_fills_raw'"
_REFUSED = "select reason, count() from {db}.mm_fills_raw final where is_valid = 0 group by 1 order by 1"
_IDS = "select market_ticker, fill_id, revision from {newest}"
_ORDERS = "select order_id, sum(size), count(*) from {newest} group by order_id order by 1"
_COUNTED = "select market_ticker, fills from {positions} order by 1"
_ORDERED = "select order_id, initial_size from state_orders where initial_size is not null"
_DRIFT = """select market_ticker, drift,
    coalesce((payload ->> 'venue_as_of_ms')::bigint - (payload ->> 'drift_since_ms')::bigint, 0)
    from state_positions where drift <> 0 order by 1"""


def check_fills(
    reader: Reader | None,
    connect: Connect | None,
    archive: Path | None,
    report: Report,
    *,
    catch_up_s: float = CATCH_UP_S_MAX,
) -> None:
    """All checks; what is wrong goes into the report. None for a store: it is not there to be asked.

    Raises:
        SinkUnavailable: a store that should be there does not answer. UserMistake: the archive has a gap.
    """
    if reader is None or not reader.rows(_TABLES, {"d": reader.database})[0][0]:
        report.facts.append("clickhouse: nothing stored yet")
        reader = None
    else:
        report.facts.extend(f"refused: {reason}: {count}" for reason, count in reader.rows(_REFUSED))
        check_store(clickhouse_fills(reader), report)
    if connect is None:
        report.facts.append("postgres: not judged (not running)")
    else:
        with connect() as connection:
            check_store(postgres_fills(connection), report)
    volumes = {} if archive is None else stored_volumes(archive)
    report.facts.append(
        f"volume: {len(volumes)} markets of which the venue reported one"
        if volumes
        else "volume: not judged (no position report of the venue's with a volume is archived)"
    )
    # The stores may be a flush apart, so a difference is looked at again for a while.
    until_s = time.monotonic() + catch_up_s
    found = _differences(reader, connect, volumes)
    while found and time.monotonic() < until_s:
        time.sleep(1.0)
        found = _differences(reader, connect, volumes)
    report.findings.extend(found)


def _differences(reader: Reader | None, connect: Connect | None, volumes: dict[str, VenueVolume]) -> list[str]:
    hot = None if reader is None else clickhouse_fills(reader)
    if connect is None:
        return [] if hot is None else [*_positions_and_fills(hot), *check_volume(hot, volumes)]
    with connect() as connection:
        audit = postgres_fills(connection)
        stores = [store for store in (hot, audit) if store is not None]
        ordered: dict[str, Decimal] = dict(audit.rows(_ORDERED))
        found = _between(hot, audit) if hot is not None else []
        for store in stores:
            found += _positions_and_fills(store)
            found += _orders(store, ordered)
            found += check_volume(store, volumes)
        for ticker, drift, lasting_ms in audit.rows(_DRIFT):
            if lasting_ms > DRIFT_MS_MAX:
                found.append(f"position {ticker}: {drift} contracts off the venue's own for {lasting_ms // 1_000} s")
    return found


def _ids(store: FillStore) -> dict[tuple[str, str], Any]:
    return {(ticker, fill_id): revision for ticker, fill_id, revision in store.rows(_IDS)}


def _between(hot: FillStore, audit: FillStore) -> list[str]:
    found, stored, held = [], _ids(hot), _ids(audit)
    for name, missing in ((audit.name, stored.keys() - held.keys()), (hot.name, held.keys() - stored.keys())):
        if missing:
            found.append(f"{name} lacks {len(missing)} fills, for example {min(missing)}")
    other = [key for key in stored.keys() & held.keys() if stored[key] != held[key]]
    if other:
        key = min(other)
        found.append(f"{len(other)} fills differ, for example {key}: revision {stored[key]} and {held[key]}")
    return found


def _positions_and_fills(store: FillStore) -> list[str]:
    counted = Counter(ticker for ticker, _ in _ids(store))
    return [
        f"{store.name}: position {ticker}: expected {counted[ticker]} fills folded, were {fills}"
        for ticker, fills in store.rows(_COUNTED)
        if fills != counted[ticker]
    ]


def _orders(store: FillStore, ordered: dict[str, Decimal]) -> list[str]:
    found = []
    for order_id, size, count in store.rows(_ORDERS):
        initial = ordered.get(order_id)
        if initial is not None and size > initial:
            found.append(
                f"{store.name}: order {order_id}: {count} fills of {size} contracts, more than the {initial} ordered"
            )
        elif initial is None and count > ROWS_PER_ORDER_MAX:
            found.append(f"{store.name}: order {order_id}: {count} fills, and nobody reported the order")
    return found
