"""Each fill once: the verdict over one reported fill, given what is already known. Pure: values in, values out.

The venue reports one fill many times (push, poll, overlap, storms), often with less detail the first time, sometimes
without an id. A fill is recognised by its id; one without an id by its twin key (order, direction, YES price, count,
whole second) and its ordinal among equals. What ends up known does not depend on order or repetition of the reports:
per twin key there are max(different real ids, highest ordinal + 1) fills.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from domain.fill_facts import (
    SYNTHETIC,
    KnownFill,
    ReportedFill,
    TimeSource,
    synthetic_id,
    twin_key,
    yes_direction,
    yes_price_e4,
)

RETENTION_MS = 90 * 86_400_000  # how long an id is remembered, in event time; an older report is refused, never guessed

Verdict = Literal["new", "duplicate", "amended", "conflicting", "too_old"]

# The finer source wins: created_time has microseconds, ts_ms milliseconds, ts whole seconds.
_TIME_RANK: dict[TimeSource, int] = {"ts": 1, "ts_ms": 2, "created_time": 3}


@dataclass(frozen=True, slots=True)
class SeenEntry:
    """The one value type of the table.

    Under a fill id: `fill`, or `alias_of` (the real id of a fill first known by a synthetic one). Under a twin key:
    `members`, the ids of its fills in order of acceptance.
    """

    fill: KnownFill | None = None
    alias_of: str | None = None
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FillChange:
    """One record to publish: `previous` is None for a new fill, else the fill before the amendment."""

    fill: KnownFill
    previous: KnownFill | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, table writes by key (applied before the next report), and what to publish, in order."""

    verdict: Verdict
    detail: str = ""
    writes: tuple[tuple[str, SeenEntry], ...] = ()
    changes: tuple[FillChange, ...] = ()


DUPLICATE = Judgement("duplicate")
Lookup = Callable[[str], SeenEntry | None]


def judge(
    report: ReportedFill,
    lookup: Lookup,
    newest_ms: int,
    retention_ms: int = RETENTION_MS,
    *,
    check_twins: bool = False,
) -> Judgement:
    """The verdict on one report.

    Args:
        report: one canonical report.
        lookup: the table of this partition; keys are fill ids and twin keys.
        newest_ms: `domain.times.watermark_ms` over the reports of this partition so far. Entries whose fill is older
            than `newest_ms - retention_ms` may have been dropped by the table; reports that old are refused alike.
        check_twins: the table may hold some of the writes of an earlier judgement and lack others (a checkpoint that
            a kill cut short, now replayed): look at both keys of a known fill, and write what is missing.
    """
    if report.ts_ms < newest_ms - retention_ms:
        return Judgement("too_old", f"{report.fill_id}: {newest_ms - report.ts_ms} ms older than the newest fill")
    if report.synthetic_ordinal is None:
        return _judge_real(report, lookup, check_twins)
    return _judge_synthetic(report, report.synthetic_ordinal, lookup, check_twins)


def _judge_real(report: ReportedFill, lookup: Lookup, check_twins: bool) -> Judgement:
    entry = lookup(report.fill_id)
    if entry is not None and entry.alias_of is not None:
        entry = lookup(entry.alias_of)
    if entry is not None and entry.fill is not None:
        if entry.fill.venue_fill_id is None:
            return _claim(report, entry.fill)
        judged = _compare(entry.fill, report)
        return _with_twins(judged, entry.fill, report.fill_id, lookup) if check_twins else judged
    key = twin_key(report)
    group = lookup(key) or SeenEntry()
    # A member under its own name was here before: only its entry was lost in a checkpoint cut short.
    claimed = None if report.fill_id in group.members else _claimed_by(report.fill_id, group, lookup)
    if claimed is not None:
        return _claim(report, claimed)
    fill = _first_known(report, report.fill_id, report.fill_id)
    writes = ((fill.fill_id, SeenEntry(fill=fill)), (key, _joined(group, fill.fill_id)))
    return Judgement("new", writes=writes, changes=(FillChange(fill, None),))


def _joined(group: SeenEntry, *fill_ids: str) -> SeenEntry:
    return SeenEntry(members=tuple(dict.fromkeys((*group.members, *fill_ids))))


def _claimed_by(fill_id: str, group: SeenEntry, lookup: Lookup) -> KnownFill | None:
    """The synthetic fill of this group that the real id names: one that knows it already (its alias was lost in a
    checkpoint cut short), else the first that still waits for one."""
    for name in group.members:
        if name.startswith(SYNTHETIC):
            known = (lookup(name) or SeenEntry()).fill
            if known is not None and known.venue_fill_id in (fill_id, None):
                return known
    return None


def _with_twins(judged: Judgement, fill: KnownFill, reported_id: str, lookup: Lookup) -> Judgement:
    """The judgement on a known fill, and the writes of its first judgement that are missing."""
    key = twin_key(fill)
    group = lookup(key) or SeenEntry()
    writes = dict(judged.writes)
    if fill.fill_id not in group.members:
        writes[key] = _joined(group, fill.fill_id)
    if reported_id != fill.fill_id and lookup(reported_id) is None:
        writes[reported_id] = SeenEntry(alias_of=fill.fill_id)
    return replace(judged, writes=tuple(writes.items()))


def _claim(report: ReportedFill, known: KnownFill) -> Judgement:
    """A real id for a fill known by a synthetic one: the report's facts win, they are that fill's own."""
    fill = replace(
        known,
        venue_fill_id=report.fill_id,
        side=report.side,
        action=report.action,
        price_e4=report.price_e4,
        ts_ms=report.ts_ms,
        ts_source=report.ts_source,
        is_taker=known.is_taker if report.is_taker is None else report.is_taker,
        fee_e6=known.fee_e6 if report.fee_e6 is None else report.fee_e6,
        client_order_id=report.client_order_id or known.client_order_id,
        revision=known.revision + (known.venue_fill_id is None),
    )
    alias = (report.fill_id, SeenEntry(alias_of=known.fill_id))
    if known.venue_fill_id is not None:
        return Judgement("duplicate", writes=(alias,))
    return Judgement("amended", "id", ((fill.fill_id, SeenEntry(fill=fill)), alias), (FillChange(fill, known),))


def _judge_synthetic(report: ReportedFill, ordinal: int, lookup: Lookup, check_twins: bool) -> Judgement:
    key = twin_key(report)
    group = lookup(key) or SeenEntry()
    lost = [name for name in group.members if name.startswith(SYNTHETIC)] if check_twins else []
    if len(group.members) > ordinal and all(lookup(name) is not None for name in lost):
        if len(group.members) > 1:
            return Judgement("duplicate")  # which of the equals it is cannot be told: nothing to learn from it
        entry = lookup(group.members[0])
        return Judgement("duplicate") if entry is None or entry.fill is None else _compare(entry.fill, report)
    # The ordinal says how many equals there are at least; the missing ones are equal in all that is known.
    names = [*lost, *(synthetic_id(key, n) for n in range(len(group.members), ordinal + 1))]
    # One that is there without its group is of a checkpoint cut short: it was published before it was written.
    fills = [_first_known(report, name, None) for name in names if lookup(name) is None]
    writes = tuple((fill.fill_id, SeenEntry(fill=fill)) for fill in fills)
    changes = tuple(FillChange(fill, None) for fill in fills)
    return Judgement("new" if fills else "duplicate", writes=(*writes, (key, _joined(group, *names))), changes=changes)


def _first_known(report: ReportedFill, fill_id: str, venue_fill_id: str | None) -> KnownFill:
    return KnownFill(
        market_ticker=report.market_ticker,
        fill_id=fill_id,
        venue_fill_id=venue_fill_id,
        order_id=report.order_id,
        client_order_id=report.client_order_id,
        side=report.side,
        action=report.action,
        price_e4=report.price_e4,
        count_e2=report.count_e2,
        is_taker=report.is_taker,
        fee_e6=report.fee_e6,
        ts_ms=report.ts_ms,
        ts_source=report.ts_source,
    )


def _compare(known: KnownFill, report: ReportedFill) -> Judgement:
    """A report of a fill already known: nothing new, a missing detail, or a contradiction."""
    if _repeats(known, report):
        return DUPLICATE
    wrong = _contradictions(known, report)
    if wrong:
        return Judgement("conflicting", f"{report.fill_id}: {', '.join(wrong)}")
    ts_ms, ts_source = _finer_time(known, report)
    fill = replace(
        known,
        ts_ms=ts_ms,
        ts_source=ts_source,
        is_taker=report.is_taker if known.is_taker is None else known.is_taker,
        fee_e6=report.fee_e6 if known.fee_e6 is None else known.fee_e6,
        client_order_id=known.client_order_id or report.client_order_id,
    )
    if fill == known:
        return DUPLICATE
    amended = replace(fill, revision=known.revision + 1)
    learned = [f for f in ("ts_ms", "ts_source", "is_taker", "fee_e6", "client_order_id") if _differ(known, fill, f)]
    return Judgement(
        "amended", ",".join(learned), ((fill.fill_id, SeenEntry(fill=amended)),), (FillChange(amended, known),)
    )


def _repeats(known: KnownFill, report: ReportedFill) -> bool:
    """Word for word the same: the common case of a poll, without building anything."""
    return (
        known.ts_ms == report.ts_ms
        and known.ts_source == report.ts_source
        and known.fee_e6 == report.fee_e6
        and known.price_e4 == report.price_e4
        and known.count_e2 == report.count_e2
        and known.side == report.side
        and known.action == report.action
        and known.order_id == report.order_id
        and known.market_ticker == report.market_ticker
        and known.is_taker == report.is_taker
        and known.client_order_id == report.client_order_id
    )


def _differ(one: KnownFill, other: KnownFill, field: str) -> bool:
    return bool(getattr(one, field) != getattr(other, field))


def _contradictions(known: KnownFill, report: ReportedFill) -> list[str]:
    """Fields that cannot both be true, as 'expected X, was Y'. The same direction told the other way round (sell NO at
    3 cents, buy YES at 97) is the same fill."""
    pairs: list[tuple[str, object, object]] = [
        ("market", known.market_ticker, report.market_ticker),
        ("order", known.order_id, report.order_id),
        ("direction", yes_direction(known.side, known.action), yes_direction(report.side, report.action)),
        ("yes_price_e4", yes_price_e4(known.side, known.price_e4), yes_price_e4(report.side, report.price_e4)),
        ("count_e2", known.count_e2, report.count_e2),
        ("second", known.ts_ms // 1000, report.ts_ms // 1000),
    ]
    if known.fee_e6 is not None and report.fee_e6 is not None:
        pairs.append(("fee_e6", known.fee_e6, report.fee_e6))
    return [f"{name}: expected {was}, was {now}" for name, was, now in pairs if was != now]


def _finer_time(known: KnownFill, report: ReportedFill) -> tuple[int, TimeSource]:
    """The finer source's time; of equally fine ones the earlier, so that order of arrival does not matter."""
    ours, theirs = _TIME_RANK[known.ts_source], _TIME_RANK[report.ts_source]
    if theirs > ours or (theirs == ours and report.ts_ms < known.ts_ms):
        return report.ts_ms, report.ts_source
    return known.ts_ms, known.ts_source
