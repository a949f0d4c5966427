"""The kept fills of one market and the position they fold to: apply one event, get the new values to store.

The fills lie in chunks, so that one more fill copies one chunk and a late one re-folds only from its own chunk on.
Every function takes the market's state and a lookup of its chunks and returns a `Step`: the new state, the chunks to
write (None: to delete), and whether the published position changed. The result does not depend on the order in which
fills, amendments, opening, corrections and settlement arrive, apart from `revision`.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from domain.fill_facts import KnownFill
from domain.positions import (
    Entry,
    Fold,
    Opening,
    Settlement,
    Sums,
    add_entry,
    entry_of,
    fold_entries,
    opening_fold,
    settled_fold,
)

# Entries per chunk: one more fill copies one chunk, a late fill re-folds from its chunk on.
CHUNK_ENTRIES = 256


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """Where a chunk begins in fold order, and the fold before it."""

    number: int
    first_ts_ms: int
    first_sort_id: str
    before: Fold


@dataclass(frozen=True, slots=True)
class VenuePosition:
    """The venue's last word, for comparison only; `drift_since_ms` is set while it differs from ours."""

    position_e2: int
    as_of_ms: int
    drift_since_ms: int | None


@dataclass(frozen=True, slots=True)
class PositionState:
    """One market. `fold` is the current position; `chunks` are in fold order, empty once settled."""

    market_ticker: str
    revision: int = 0
    sums: Sums = field(default_factory=Sums)
    fold: Fold = field(default_factory=Fold)
    chunks: tuple[ChunkRef, ...] = ()
    next_chunk: int = 0
    last_ts_ms: int = 0
    opening: Opening | None = None
    settlement: Settlement | None = None
    venue: VenuePosition | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What one event did. `chunks` maps chunk numbers to their new entries, None where the chunk goes."""

    state: PositionState
    changed: bool
    chunks: dict[int, tuple[Entry, ...] | None] = field(default_factory=dict)


ChunkLookup = Callable[[int], tuple[Entry, ...]]


@dataclass(slots=True)
class MarketLedger:
    """The table's value, one per market and whole: state and chunks under separate keys could be cut apart by a kill in
    the middle of a checkpoint, and a state ahead of its chunks would fold fewer fills than it counts."""

    state: PositionState
    chunks: dict[int, tuple[Entry, ...]] = field(default_factory=dict)

    def assign(self, step: Step) -> None:
        """Take over what an event did."""
        self.state = step.state
        for number, entries in step.chunks.items():
            if entries is None:
                self.chunks.pop(number, None)
            else:
                self.chunks[number] = entries


def apply_fill(state: PositionState, lookup: ChunkLookup, fill: KnownFill, previous: KnownFill | None) -> Step:
    """One fill, or one amendment of `previous` into `fill`."""
    entry = entry_of(fill)
    was = None if previous is None else entry_of(previous)
    if entry == was:
        return Step(state, changed=False)
    return _apply_entry(state, lookup, entry, was)


def apply_correction(state: PositionState, lookup: ChunkLookup, entry: Entry) -> Step:
    """One stated correction (`kind` "correction"). The same one twice is one, as long as the market is not settled."""
    editor = _Editor(state, lookup)
    if editor.holds(entry):
        return Step(state, changed=False)
    return _apply_entry(state, lookup, entry, None)


def apply_opening(state: PositionState, lookup: ChunkLookup, opening: Opening) -> Step:
    """The position before the first folded fill. Of several the latest counts: it contains the most."""
    if state.settlement is not None or (state.opening is not None and state.opening.as_of_ms >= opening.as_of_ms):
        return Step(state, changed=False)
    editor = _Editor(replace(state, opening=opening), lookup)
    sums = Sums()
    for ref in state.chunks:
        for entry in lookup(ref.number):
            if entry.ts_ms > opening.as_of_ms:
                sums = add_entry(sums, entry)
    return _stepped(editor.refolded(from_index=0, sums=sums), editor)


def apply_settlement(state: PositionState, settlement: Settlement) -> Step:
    """The market's end: the position is closed at its value and the kept fills go. Repeated reports change nothing; of
    contradicting ones the latest settled counts."""
    if state.settlement is not None and _rank(state.settlement) >= _rank(settlement):
        return Step(state, changed=False)
    fold = settled_fold(state.sums, state.opening, settlement)
    chunks: dict[int, tuple[Entry, ...] | None] = {ref.number: None for ref in state.chunks}
    settled = replace(state, settlement=settlement, fold=fold, chunks=(), revision=state.revision + 1)
    return Step(_with_drift(settled, settlement.settled_ts_ms), changed=True, chunks=chunks)


def apply_venue_report(state: PositionState, position_e2: int, as_of_ms: int) -> Step:
    """The venue's own position: kept beside ours with the time since when they differ. Older reports are ignored."""
    if state.venue is not None and state.venue.as_of_ms > as_of_ms:
        return Step(state, changed=False)
    since = state.venue.drift_since_ms if state.venue is not None else None
    reported = _with_drift(replace(state, venue=VenuePosition(position_e2, as_of_ms, since)), as_of_ms)
    told_before = state.venue is not None and state.venue.position_e2 == position_e2
    if told_before and reported.venue is not None and reported.venue.drift_since_ms == since:
        return Step(reported, changed=False)
    return Step(replace(reported, revision=state.revision + 1), changed=True)


def _rank(settlement: Settlement) -> tuple[int, int, int]:
    return settlement.settled_ts_ms, -1 if settlement.value_e4 is None else settlement.value_e4, settlement.revenue_e6


def _with_drift(state: PositionState, at_ms: int) -> PositionState:
    """`drift_since_ms` set at the first difference, cleared when both agree. A settled market has no position left."""
    venue = state.venue
    if venue is None:
        return state
    if venue.position_e2 == state.fold.count_e2 or state.settlement is not None:
        return replace(state, venue=replace(venue, drift_since_ms=None))
    if venue.drift_since_ms is None:
        return replace(state, venue=replace(venue, drift_since_ms=at_ms))
    return state


def _apply_entry(state: PositionState, lookup: ChunkLookup, entry: Entry, was: Entry | None) -> Step:
    sums = state.sums
    as_of_ms = state.opening.as_of_ms if state.opening is not None else -1
    if was is not None and was.ts_ms > as_of_ms:
        sums = add_entry(sums, was, times=-1)
    if entry.ts_ms > as_of_ms:
        sums = add_entry(sums, entry)
    last_ts_ms = max(state.last_ts_ms, entry.ts_ms)
    if state.settlement is not None:
        fold = settled_fold(sums, state.opening, state.settlement)
        closed = replace(state, sums=sums, fold=fold, last_ts_ms=last_ts_ms, revision=state.revision + 1)
        return Step(closed, changed=True)
    editor = _Editor(replace(state, last_ts_ms=last_ts_ms), lookup)
    first = len(state.chunks)
    if was is not None:
        first = min(first, editor.remove(was))
    first = min(first, editor.insert(entry))
    if was is None and editor.appended:
        return _stepped(editor.extended(entry, sums), editor)
    return _stepped(editor.refolded(first, sums), editor)


def _stepped(state: PositionState, editor: "_Editor") -> Step:
    at_ms = state.venue.as_of_ms if state.venue is not None else 0
    numbered = replace(_with_drift(state, at_ms), revision=state.revision + 1)
    return Step(numbered, changed=True, chunks=editor.writes)


class _Editor:
    """One event's edits of the chunks: `writes` collects what must be stored."""

    def __init__(self, state: PositionState, lookup: ChunkLookup) -> None:
        self._state = state
        self._lookup = lookup
        self._refs = list(state.chunks)
        self._next = state.next_chunk
        self.writes: dict[int, tuple[Entry, ...] | None] = {}
        self.appended = False  # the entry stands last: the fold so far needs only this one more

    def holds(self, entry: Entry) -> bool:
        """Whether something stands at the entry's place already."""
        index = self._index(entry)
        return index >= 0 and any(_place(e) == _place(entry) for e in self._entries(index))

    def remove(self, entry: Entry) -> int:
        """Take the entry out; the index of the first chunk to fold again. Unknown: nothing to take out."""
        index = self._index(entry)
        if index < 0:
            return len(self._refs)
        kept = tuple(e for e in self._entries(index) if _place(e) != _place(entry))
        number = self._refs[index].number
        if kept:
            self.writes[number] = kept
            self._rename(index, kept)
        else:
            self.writes[number] = None
            del self._refs[index]
        return index

    def insert(self, entry: Entry) -> int:
        """Put the entry at its place, splitting a full chunk; the index of the first chunk to fold again."""
        index = max(self._index(entry), 0)
        if not self._refs:
            self._refs.append(self._new_ref(entry, opening_fold(self._state.opening)))
            self.writes[self._refs[0].number] = (entry,)
            return 0
        entries = self._entries(index)
        at = bisect_right(entries, _place(entry), key=_place)
        if at and _place(entries[at - 1]) == _place(entry):
            at -= 1
            entries = entries[:at] + entries[at + 1 :]
        grown = (*entries[:at], entry, *entries[at:])
        self.appended = index == len(self._refs) - 1 and len(grown) == at + 1 > len(self._entries(index))
        if len(grown) <= CHUNK_ENTRIES:
            self._put(index, grown)
            return index
        # At the end the old chunk stays full and the next begins; in the middle both halves have room.
        cut = CHUNK_ENTRIES if at == len(entries) else len(grown) // 2
        self._put(index, grown[:cut])
        self._refs.insert(index + 1, self._new_ref(grown[cut], self._state.fold))
        self.writes[self._refs[index + 1].number] = grown[cut:]
        return index

    def extended(self, entry: Entry, sums: Sums) -> PositionState:
        """The state after an appended entry: the fold so far and this one."""
        opening = self._state.opening
        fold = fold_entries(self._state.fold, (entry,), opening.as_of_ms if opening is not None else -1)
        return replace(self._state, sums=sums, fold=fold, chunks=tuple(self._refs), next_chunk=self._next)

    def refolded(self, from_index: int, sums: Sums) -> PositionState:
        """The state with every chunk from `from_index` on folded again."""
        opening = self._state.opening
        after_ms = opening.as_of_ms if opening is not None else -1
        fold = opening_fold(opening)
        if 0 < from_index <= len(self._refs):
            before = self._refs[from_index - 1]
            fold = fold_entries(before.before, self._entries(from_index - 1), after_ms)
        for index in range(from_index, len(self._refs)):
            self._refs[index] = replace(self._refs[index], before=fold)
            fold = fold_entries(fold, self._entries(index), after_ms)
        return replace(self._state, sums=sums, fold=fold, chunks=tuple(self._refs), next_chunk=self._next)

    def _index(self, entry: Entry) -> int:
        """The chunk in whose range the entry lies, -1 where it comes before all of them."""
        return bisect_right(self._refs, _place(entry), key=lambda ref: (ref.first_ts_ms, ref.first_sort_id)) - 1

    def _entries(self, index: int) -> tuple[Entry, ...]:
        number = self._refs[index].number
        return self.writes[number] or () if number in self.writes else self._lookup(number)

    def _put(self, index: int, entries: tuple[Entry, ...]) -> None:
        self.writes[self._refs[index].number] = entries
        self._rename(index, entries)

    def _rename(self, index: int, entries: tuple[Entry, ...]) -> None:
        first = entries[0]
        self._refs[index] = replace(self._refs[index], first_ts_ms=first.ts_ms, first_sort_id=first.sort_id)

    def _new_ref(self, entry: Entry, before: Fold) -> ChunkRef:
        self._next += 1
        return ChunkRef(self._next - 1, entry.ts_ms, entry.sort_id, before)


def _place(entry: Entry) -> tuple[int, str]:
    return entry.ts_ms, entry.sort_id
