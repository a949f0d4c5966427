"""Were the venue's faults noticed? The simulator's list of gaps beside what the feed wrote, market by market."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

Place = tuple[int, int]  # partition, offset


@dataclass(slots=True)
class Logged:
    """One record as it stands in the log; `at_ms` is the log's clock."""

    partition: int
    offset: int
    at_ms: int
    tag: str
    payload: Any
    cause: Any = None

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.partition, self.offset


@dataclass
class Verdict:
    """What the log said about the gaps. `live_again_ms`: kind of fault -> from the fault to a live book, per book."""

    gaps: int = 0
    flagged: int = 0
    live_again_ms: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)

    @property
    def missed(self) -> int:
        """Gaps after which some book went on as if nothing had been."""
        return self.gaps - self.flagged


def judge(
    gaps: list[dict[str, Any]], session_of: dict[int, str], books: list[Logged], live_ms: dict[Place, int]
) -> Verdict:
    """Walk each market's records in the order of the log.

    Args:
        gaps: as GET /admin/gaps; `phase`, where it is set, is what the fault is called in the verdict.
        session_of: the simulator's connection -> the feed's session.
        books: all of market.book_updates.
        live_ms: places of records after which the book of that market was live, and when that was seen.
    """
    verdict = Verdict()
    by_market: dict[str, list[Logged]] = defaultdict(list)
    for book in books:
        by_market[book.payload.market_ticker].append(book)
    trusted = {market: trusted_places(market, records, verdict) for market, records in by_market.items()}
    for place in live_ms:
        if not any(place in places for places in trusted.values()):
            verdict.wrong.append(f"live at {place}, where nothing is known")
    for gap in gaps:
        if gap["kind"] == "disconnect" or gap["channel"] == "orderbook_delta":
            _check_gap(gap, session_of[gap["connection"]], by_market, trusted, live_ms, verdict)
    return verdict


def trusted_places(market: str, records: list[Logged], verdict: Verdict) -> set[Place]:
    """Where this market's book may be trusted; a session that follows without a reset is wrong."""
    trusted: set[Place] = set()
    state: tuple[str, int, int] | None = None  # session, sid and seq of a book that may be trusted
    for record in records:
        body = record.payload
        if record.tag == "book_reset":
            state = None
            continue
        if record.tag == "book_snapshot":
            if state is not None and state[0] != body.session_id:
                verdict.wrong.append(f"{market}@{record.offset}: a new session without a reset")
            state = (body.session_id, body.sid, body.seq)
        elif state is None or state[:2] != (body.session_id, body.sid):
            continue
        elif body.seq <= state[2]:
            verdict.wrong.append(f"{market}@{record.offset}: seq {body.seq} after {state[2]}")
        else:
            state = (*state[:2], body.seq)
        trusted.add(record.place)
    return trusted


def _check_gap(
    gap: dict[str, Any],
    session: str,
    by_market: dict[str, list[Logged]],
    trusted: dict[str, set[Place]],
    live_ms: dict[Place, int],
    verdict: Verdict,
) -> None:
    """Each market of the gap's sid: no trust in anything later than the gap before a reset, then a live book."""
    verdict.gaps += 1
    cut = gap["kind"] == "disconnect"
    flagged = True
    for market, records in by_market.items():
        mine = [r for r in records if r.tag != "book_reset" and r.payload.session_id == session]
        before = [r for r in mine if cut or (r.payload.sid == gap["sid"] and r.payload.seq < gap["seq"])]
        if not before or before[-1].place not in trusted[market]:
            continue
        rest = [r for r in records if r.partition == before[-1].partition and r.offset > before[-1].offset]
        if not rest or rest[0].tag != "book_reset":
            flagged = False
            verdict.wrong.append(f"{gap}: {market} goes on with {rest[:1]}")
            continue
        at_ms = next((live_ms[r.place] for r in rest if r.place in live_ms), None)
        if at_ms is None:
            verdict.wrong.append(f"{gap}: {market} was never live again")
        else:
            verdict.live_again_ms[gap.get("phase", gap["kind"])].append(at_ms - gap["wall_ms"])
    verdict.flagged += flagged


def percentiles(took_ms: list[int]) -> dict[str, int]:
    """books, p50, p99, max; zeros where there is none."""
    took = sorted(took_ms)
    p50, p99 = ((took[min(len(took) - 1, int(len(took) * share))] if took else 0) for share in (0.5, 0.99))
    return {"books": len(took), "p50_ms": p50, "p99_ms": p99, "max_ms": took[-1] if took else 0}


def line(name: str, took_ms: list[int]) -> str:
    """The percentiles for a person."""
    found = percentiles(took_ms)
    times = ", ".join(f"{key.removesuffix('_ms')} {ms} ms" for key, ms in found.items() if key != "books")
    return f"  {name:<44} {found['books']:>6} books: {times}"
