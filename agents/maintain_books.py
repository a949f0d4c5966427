"""Agent maintain_books: market.book_updates -> table order_books, market.quote_updates.

Every change of a best price or size, and every change of status, is one quote_update, in order, with the seq that
caused it: the sequence depends on the input alone, never on batching or timing. A change that cannot be true of the
book makes it stale, goes to the dead letters, and asks for a snapshot.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from weakref import WeakKeyDictionary

from domain.book import APPLIED, APPLIED_BELOW_TOP, NOT_LIVE, STALE, Verdict
from domain.errors import BadInput
from domain.times import raised_ms
from domain.units import DOLLAR_E4
from schemas.codec import decode_many, encode_record
from schemas.records import (
    BookDelta,
    BookReset,
    BookSnapshot,
    Cause,
    QuoteUpdate,
    QuoteUpdatePayload,
    SnapshotRequest,
    SnapshotRequestPayload,
)
from schemas.registry import BOOK_UPDATES, DLQ, QUOTE_UPDATES, SNAPSHOT_REQUESTS, decoder
from tables.intake import Intake, refusal
from tables.order_books import ORDER_BOOKS, BookState
from tables.outbox import Row
from tables.outlets import Outputs
from tables.processor import Processor
from tables.task import Task

SOURCE = "maintain_books"
_decoder = decoder(BOOK_UPDATES)


class BookFold:
    """The fold of one process, with its counters (read at scrape time). `removed_grace_ms`: how long a removed book
    stays readable."""

    def __init__(self, removed_grace_ms: int) -> None:
        self.removed_grace_ms = removed_grace_ms
        self.counts: Counter[str] = Counter()
        self._intake = Intake(SOURCE, self.counts, BOOK_UPDATES)
        # Removed books that wait for their deletion, per task: key -> ts_ingest of the removal.
        self._removed: WeakKeyDictionary[Task[BookState], dict[bytes, int]] = WeakKeyDictionary()

    def __call__(self, task: Task[BookState], topic: str, rows: list[Any]) -> Outputs:
        """Fold a run of records; the outputs, in order."""
        if task not in self._removed:
            self._begin(task)
        quotes: list[Row] = []
        outputs: Outputs = {QUOTE_UPDATES.name: quotes}
        residents, dirty = task.table.residents, task.table.dirty
        partition, below_top = task.partition, 0
        for row, record in zip(rows, decode_many(_decoder, [row.value for row in rows]), strict=True):
            if type(record) is not BookDelta:
                self._rare(task, row, record, outputs)
                continue
            delta = record.payload
            state = residents.get(row.key)
            if state is None:
                state = task.table.get(row.key) if row.key is not None else None
            if state is None or state.ticker != delta.market_ticker:
                self._homeless(task, row, record, outputs)
                continue
            try:
                verdict = state.apply_delta(
                    delta.session_id, delta.sid, delta.seq, delta.side, delta.price_e4, delta.delta_e2
                )
            except BadInput as wrong:
                self._violated(task, state, row, record, wrong, outputs)
                continue
            if verdict is APPLIED_BELOW_TOP:
                below_top += 1
                state.ts_ingest_ms = record.ts_ingest
                dirty.add(row.key)
            elif verdict is APPLIED:
                dirty.add(row.key)
                quote = _quote(state, record, delta.seq, partition, row.offset)
                if quote is not None:
                    quotes.append((row.key, quote))
            else:
                self.counts[verdict.name.lower()] += 1
        self.counts["records"] += len(rows)
        self.counts["below_top"] += below_top
        self.counts["quotes"] += len(quotes)
        return outputs

    def _begin(self, task: Task[BookState]) -> None:
        books = task.table.residents.items()
        self._removed[task] = {key: state.removed_ms for key, state in books if state.removed_ms is not None}

    def _load(self, task: Task[BookState], row: Any, ticker: str) -> BookState:
        state = task.table.get(row.key)
        if state is None:
            state = BookState(ticker, row.offset)
            task.table.put(row.key, state)
        return state

    def _homeless(self, task: Task[BookState], row: Any, record: Any, outputs: Outputs) -> None:
        """A delta without a book: of another key than its market's, or of a market whose start was not seen. A book
        begins with a session or a snapshot; one made of a stray delta would stand in the views for ever."""
        if (refused := _refusal(row, record)) is not None:
            self._intake.refuse(task, BOOK_UPDATES.name, row, None, refused, outputs)
        else:
            self.counts[NOT_LIVE.name.lower()] += 1

    def _rare(self, task: Task[BookState], row: Any, record: Any, outputs: Outputs) -> None:
        """Snapshots, resets, and what cannot be taken."""
        if (refused := _refusal(row, record)) is not None:
            self._intake.refuse(task, BOOK_UPDATES.name, row, None, refused, outputs)
            return
        payload = record.payload
        state = self._load(task, row, payload.market_ticker)
        if type(record) is BookSnapshot:
            try:
                verdict = state.apply_snapshot(payload.session_id, payload.sid, payload.seq, payload.yes, payload.no)
            except BadInput as wrong:
                self._violated(task, state, row, record, wrong, outputs)
                return
            if verdict is APPLIED:
                state.market_id, state.removed_ms = payload.market_id, None
        else:
            verdict = _reset(state, record)
        if verdict is APPLIED:
            task.table.put(row.key, state)
            self._note_removal(task, row.key, state)
            quote = _quote(state, record, payload.seq, task.partition, row.offset)
            if quote is not None:
                outputs[QUOTE_UPDATES.name].append((row.key, quote))
        else:
            self.counts[Verdict(verdict).name.lower()] += 1
        self._delete_removed(task, record.ts_ingest)

    def _note_removal(self, task: Task[BookState], key: bytes, state: BookState) -> None:
        if state.removed_ms is None:
            self._removed[task].pop(key, None)
        else:
            self._removed[task][key] = state.removed_ms

    def _delete_removed(self, task: Task[BookState], now_ms: int) -> None:
        # Time is that of the input, and looked at on rare records only: a replay deletes at the same records.
        removed = self._removed[task]
        for key in [key for key, removed_ms in removed.items() if now_ms - removed_ms > self.removed_grace_ms]:
            del removed[key]
            task.table.delete(key)

    def _violated(
        self, task: Task[BookState], state: BookState, row: Any, record: Any, wrong: BadInput, outputs: Outputs
    ) -> None:
        """The book cannot be right any more: stale, dead letter, fresh snapshot asked for."""
        self.counts[wrong.reason] += 1
        payload = record.payload
        self._intake.refuse(task, BOOK_UPDATES.name, row, payload.market_ticker, wrong, outputs)
        state.mark_stale()
        task.table.put(row.key, state)
        quote = _quote(state, record, payload.seq, task.partition, row.offset)
        if quote is not None:
            outputs[QUOTE_UPDATES.name].append((row.key, quote))
        request = SnapshotRequest(
            ts_event=state.ts_event_ms,
            ts_ingest=record.ts_ingest,
            source=SOURCE,
            idempotency_key=f"snapshot_request:v1:{BOOK_UPDATES.name}:{task.partition}:{row.offset}",
            cause=Cause(BOOK_UPDATES.name, task.partition, row.offset, 0),
            payload=SnapshotRequestPayload(
                market_ticker=payload.market_ticker,
                session_id=payload.session_id,
                sid=payload.sid,
                seq=payload.seq,
                reason=wrong.reason,
            ),
        )
        outputs.setdefault(SNAPSHOT_REQUESTS.name, []).append((row.key, encode_record(request)))

    def on_hole(self, task: Task[BookState], topic: str, start: int, end: int) -> Outputs:
        """Offsets [start, end) were deleted before they were read: no book of this partition can be trusted."""
        quotes: list[Row] = []
        for key, state in list(task.table.items()):
            state.forget_session()
            task.table.put(key, state)
            if state.published[0] != STALE:
                quotes.append((key, _stale_quote(state, task.partition, end - 1)))
        self.counts["books_lost_to_holes"] += len(quotes)
        return {QUOTE_UPDATES.name: quotes}


def _refusal(row: Any, record: Any) -> BadInput | None:
    """Why a record cannot be taken. Under a key of another market it would be folded into that one's book."""
    if (refused := refusal(row, record)) is not None:
        return refused
    ticker = record.payload.market_ticker
    if row.key == ticker.encode():
        return None
    return BadInput("foreign_key", f"expected the payload's market {ticker!r} as key, was {row.key!r}"[:500])


def _reset(state: BookState, record: BookReset) -> Verdict:
    payload = record.payload
    if payload.reason == "session_start":
        verdict = state.start_session(payload.session_id)
        state.removed_ms = None
    else:
        verdict = state.reset(payload.session_id)
        if verdict is APPLIED and payload.reason == "removed":
            state.removed_ms = record.ts_ingest
    return verdict


def _quote(
    state: BookState, record: BookDelta | BookSnapshot | BookReset, seq: int | None, partition: int, offset: int
) -> bytes | None:
    """The quote_update if best prices, sizes or the status differ from what was last published; None otherwise."""
    state.ts_event_ms = raised_ms(state.ts_event_ms, record.ts_event, record.ts_ingest)
    state.ts_ingest_ms = record.ts_ingest
    top = state.top()
    if top == state.published:
        return None
    state.published = top
    state.revision += 1
    return _encode_quote(state, seq, partition, offset)


def _stale_quote(state: BookState, partition: int, offset: int) -> bytes:
    state.published = state.top()
    state.revision += 1
    return _encode_quote(state, None, partition, offset)


def _encode_quote(state: BookState, seq: int | None, partition: int, offset: int) -> bytes:
    status, yes_e4, yes_e2, no_e4, no_e2 = state.published
    yes, no = yes_e4 != 0, no_e4 != 0
    revision = state.revision
    return encode_record(
        QuoteUpdate(
            ts_event=state.ts_event_ms,
            ts_ingest=state.ts_ingest_ms,
            source=SOURCE,
            idempotency_key=f"quote_update:v1:{state.ticker}:{state.epoch:012d}:{revision:012d}",
            cause=Cause(BOOK_UPDATES.name, partition, offset, 0),
            payload=QuoteUpdatePayload(
                market_ticker=state.ticker,
                session_id=state.session_id or "",
                sid=state.sid,
                seq=seq,
                revision=revision,
                status=status,  # type: ignore[arg-type]
                yes_bb_px_e4=yes_e4 if yes else None,
                yes_bb_sz_e2=yes_e2 if yes else None,
                yes_ba_px_e4=DOLLAR_E4 - no_e4 if no else None,
                yes_ba_sz_e2=no_e2 if no else None,
                no_bb_px_e4=no_e4 if no else None,
                no_bb_sz_e2=no_e2 if no else None,
                no_ba_px_e4=DOLLAR_E4 - yes_e4 if yes else None,
                no_ba_sz_e2=yes_e2 if yes else None,
            ),
        )
    )


PROCESSOR: Processor[BookState] = Processor(
    SOURCE,
    reads=(BOOK_UPDATES,),
    table=ORDER_BOOKS,
    writes=(QUOTE_UPDATES, SNAPSHOT_REQUESTS, DLQ),
    fold=lambda conf: BookFold(conf.removed_book_grace_s * 1_000),
)
