"""What can be wrong with the fills of one store, from the seeds' validation queries.

Their limits are tightened to what this pipeline promises: blank ids 0, uniqueness 100 % (theirs: 99), zero prices and
sizes 0. Time spread, period and link rate say nothing of less than ten full minutes: then they are `not judged`.
"""

from ops.qa_fill_store import FillStore
from ops.qa_report import Report

FULL_MINUTES_MIN = 10  # fewer full minutes say nothing about periods, spread and links
PERIOD_FILLS_MIN = 2  # fills per minute from which "the same in each minute" is suspicious
CLUSTER_FILLS_MIN = 20  # fills with one and the same time in a minute, in which a market would give several
LINK_RATE_MIN = 0.10  # the seeds' bound, of the fills since the first order action
MINUTE_MS = 60_000

#: What a fill cannot be: name, condition.
DEFECTS = (
    ("blank fill id", "fill_id = ''"),
    ("blank order id", "order_id = ''"),
    ("blank market", "market_ticker = ''"),
    ("price outside 0 to 1 dollar", "price <= 0 or price >= 1"),
    ("zero size", "size <= 0"),
    ("no side or action", "side not in ('yes', 'no') or action not in ('buy', 'sell')"),
    ("time after we heard of it", "ts_ms > ingest_ms + 5000"),
    ("time before 2020", "ts_ms < 1577836800000"),
)
_COUNT_IF = "coalesce(sum(case when {} then 1 else 0 end), 0)"
_DEFECTS = "select {counts} from {valid}".replace("{counts}", ", ".join(_COUNT_IF.format(c) for _, c in DEFECTS))
_TOTALS = "select count(*), count(distinct (market_ticker, fill_id, revision)) from {valid}"
_REPEATED = """select market_ticker, fill_id, count(*) from {valid}
group by market_ticker, fill_id, revision having count(*) > 1 order by 3 desc, 1, 2 limit 50"""
_ELSEWHERE = """select fill_id, count(distinct market_ticker) from {valid}
where fill_id <> '' group by fill_id having count(distinct market_ticker) > 1 order by 2 desc, 1 limit 50"""
_MINUTES = """select floor(ts_ms / 60000) as minute, count(*), count(distinct ts_ms) from {newest}
group by floor(ts_ms / 60000) order by 1"""
_SPREAD = "select count(*), max(ts_ms) - min(ts_ms), max(ingest_ms) - min(ingest_ms) from {newest}"
_ROWS_PER_ORDER = "select order_id, count(*) from {newest} group by order_id order by 2 desc, 1 limit 1"
_ACTIONS = "select count(*), min(ts_ms) from {actions}"
_LINKS = """select count(*), coalesce(sum(case when decision_id is not null then 1 else 0 end), 0), max(ts_ms)
from {newest} where ts_ms >= """


def check_store(store: FillStore, report: Report) -> None:
    """All checks that need this store alone. Raises SinkUnavailable."""
    total, unique = store.rows(_TOTALS)[0]
    if not total:
        report.facts.append(f"{store.name}: no fills stored yet")
        return
    report.facts.append(
        f"{store.name}: uniqueness {100 * unique / total:.2f} %: {total} rows of {unique} fills and amendments"
    )
    _check_rows(store, total, unique, report)
    _check_minutes(store, report)
    _check_spread(store, report)
    _check_links(store, report)


def _check_rows(store: FillStore, total: int, unique: int, report: Report) -> None:
    def found(line: str) -> None:
        report.findings.append(f"{store.name}: {line}")

    for (name, _), count in zip(DEFECTS, store.rows(_DEFECTS)[0], strict=True):
        if count:
            found(f"{name}: expected 0 fills, were {count}")
    if unique != total:
        found(f"uniqueness: expected 100 %, was {100 * unique / total:.2f} % ({total} rows, {unique} different)")
    for ticker, fill_id, count in store.rows(_REPEATED):
        found(f"repeated fill: {ticker} {fill_id}: expected 1 row, were {count}")
    for fill_id, count in store.rows(_ELSEWHERE):
        found(f"fill in several markets: {fill_id}: expected 1, were {count}")
    order_id, most = store.rows(_ROWS_PER_ORDER)[0]
    report.facts.append(f"{store.name}: at most {most} fills of one order ({order_id})")


def _check_minutes(store: FillStore, report: Report) -> None:
    """The rhythm of the full minutes from the first to the last fill."""
    rows = [(int(minute), count, times) for minute, count, times in store.rows(_MINUTES)]
    full = rows[-1][0] - rows[0][0] - 1
    if full < FULL_MINUTES_MIN:
        _not_judged(store, "period", full, report)
        return
    inner = [count for _, count, _ in rows[1:-1]]
    fewest, most = min(inner, default=0) if len(inner) == full else 0, max(inner, default=0)
    if fewest == most >= PERIOD_FILLS_MIN:
        report.findings.append(
            f"{store.name}: period: exactly {most} fills in each of {full} minutes: a poll, not a market"
        )
    clustered = [count for _, count, times in rows if count >= CLUSTER_FILLS_MIN and times == 1]
    if clustered:
        report.findings.append(
            f"{store.name}: time spread: {sum(clustered)} fills share one time in each of {len(clustered)} minutes"
        )
    report.facts.append(f"{store.name}: {full} full minutes, {fewest} to {most} fills in each")


def _check_spread(store: FillStore, report: Report) -> None:
    """Fills heard of over a time have times of their own over a time; all in one minute is somebody's clock."""
    count, spread_ms, heard_ms = store.rows(_SPREAD)[0]
    full = heard_ms // MINUTE_MS - 1
    if full < FULL_MINUTES_MIN or count < CLUSTER_FILLS_MIN:
        _not_judged(store, "time spread", full, report)
        return
    if spread_ms <= MINUTE_MS:
        report.findings.append(
            f"{store.name}: time spread: {count} fills heard of in {full} minutes lie within {spread_ms // 1_000} s"
        )
    else:
        report.facts.append(f"{store.name}: time spread: {count} fills over {spread_ms // MINUTE_MS} minutes")


def _check_links(store: FillStore, report: Report) -> None:
    """How many fills know their decision; fills before the first order action cannot."""
    actions, first_ms = store.rows(_ACTIONS)[0]
    if not actions:
        report.facts.append(f"{store.name}: link rate: not judged (no order actions stored)")
        return
    fills, linked, last_ms = store.rows(f"{_LINKS}{int(first_ms)}")[0]
    full = (int(last_ms) - int(first_ms)) // MINUTE_MS - 1 if fills else 0
    if full < FULL_MINUTES_MIN:
        _not_judged(store, "link rate", full, report)
        return
    rate = linked / fills
    line = f"{100 * rate:.1f} % of {fills} fills since the first order action"
    if rate < LINK_RATE_MIN:
        report.findings.append(f"{store.name}: link rate: expected at least {100 * LINK_RATE_MIN:.0f} %, was {line}")
    else:
        report.facts.append(f"{store.name}: link rate: {line}")


def _not_judged(store: FillStore, what: str, full: int, report: Report) -> None:
    report.facts.append(
        f"{store.name}: {what}: not judged (expected {FULL_MINUTES_MIN} full minutes of fills, were {max(0, full)})"
    )
