"""Frames of one connection to records: sequence check, translation, resets, dead letters, accounting.

The hot path of the producer. Synchronous; called by the connection for every frame. Order is everything: the resets
of a sid are published before the frame that revealed its gap.
"""

import logging
import time
from collections.abc import Callable, Iterable

from msgspec import structs

from domain.sequence import EXPECTED, Gap, SequenceDetector
from domain.times import is_plausible
from producers.metrics import FeedCounts
from producers.publisher import Publisher
from producers.recorder import Recorder
from producers.sids import BOOK
from producers.silence import LiveBook
from producers.subscriptions import Subscriptions
from producers.venue_answers import on_acknowledged, on_error
from schemas.codec import encode_record
from schemas.records import ResetReason
from schemas.registry import BOOK_UPDATES, DLQ, TRADES
from venues.kalshi import translate
from venues.kalshi.frames import FrameParser
from venues.kalshi.messages import SNAPSHOT, ControlFrame, DeltaFrame, Refused, SnapshotFrame, TradeFrame

log = logging.getLogger(__name__)

_BOOKS, _TRADES, _DLQ = BOOK_UPDATES.name, TRADES.name, DLQ.name
_BINARY = Refused("binary_frame", "expected a text frame, was a binary one")
NAMES_SHOWN = 8  # of markets in a line of the log or a reason of /readyz
_NO_JSON = frozenset({"not_json", "not_an_object", "frame_too_large", "binary_frame"})


def now_ms() -> int:
    """Our clock, for records that no frame caused."""
    return time.time_ns() // 1_000_000


def names(tickers: list[str]) -> str:
    """Markets for a line that a person reads: the first few by name, the others counted."""
    shown = ", ".join(tickers[:NAMES_SHOWN]) or "no book"
    return shown if len(tickers) <= NAMES_SHOWN else f"{shown} and {len(tickers) - NAMES_SHOWN} more"


class Ingest:
    """One session of the feed: from its first `book_reset(session_start)` to its last reset."""

    def __init__(
        self,
        session_id: str,
        publisher: Publisher,
        counts: FeedCounts,
        parser: FrameParser,
        recorder: Recorder | None,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        self.session_id = session_id
        self.subscriptions: Subscriptions
        self.detector = SequenceDetector()
        #: Markets that had a snapshot in this session: the connection is worth its name.
        self.saw_snapshot = False
        self._publisher = publisher
        self._counts = counts
        self._parser = parser
        self._recorder = recorder
        self._clock_ms = clock_ms
        self._resets = 0
        self._live: dict[str, LiveBook] = {}

    def attach(self, subscriptions: Subscriptions) -> None:
        """Right after construction, before the first frame: the two know each other."""
        self.subscriptions = subscriptions
        self._live = subscriptions.books.live

    # --- the hot path ---

    def on_frame(self, data: bytes, is_text: bool, received_ns: int) -> None:
        """One frame, as it came."""
        counts = self._counts
        ts_ms = counts.last_frame_ms = received_ns // 1_000_000
        frame = self._parser.parse(data) if is_text else _BINARY
        if isinstance(frame, DeltaFrame | TradeFrame) and not is_plausible(frame.ts_event_ms or 0, ts_ms):
            frame = self._without_time(frame)
        if self._recorder is not None:
            is_json = type(frame) is not Refused or frame.reason not in _NO_JSON
            self._recorder.put(received_ns, data, is_text, is_json)
        if isinstance(frame, DeltaFrame):
            sid, seq, last_seq = frame.sid, frame.seq, self.detector.last_seq
            if last_seq.get(sid) == seq - 1:  # what `_is_next` says of nearly every frame, without the calls
                last_seq[sid] = seq
                is_next = True
            else:
                is_next = self._is_next(sid, seq)
            if is_next:
                book = self._live.get(frame.market_ticker)
                if book is not None:
                    book.delta_seq = seq
                elif not self._takes_early(frame, data, ts_ms):
                    return
                record = translate.book_delta(frame, self.session_id, ts_ms)
                self._publisher.add(_BOOKS, frame.market_ticker, encode_record(record), ts_ms)
                counts.records_caused_by_frames += 1
        elif isinstance(frame, TradeFrame):
            self._on_trade(frame, ts_ms)
        elif isinstance(frame, SnapshotFrame):
            self._on_snapshot(frame, data, ts_ms)
        elif isinstance(frame, ControlFrame):
            self._on_control(frame)
        else:
            self._on_refused(frame, data, ts_ms)

    def _without_time(self, frame: DeltaFrame | TradeFrame) -> DeltaFrame | TradeFrame:
        """A change of the book is true whatever its time says, and must not be lost: the time is."""
        if not self._counts.implausible_times:
            log.error("%s: expected a time of the past, was %s ms", frame.market_ticker, frame.ts_event_ms)
        self._counts.implausible_times += 1
        return structs.replace(frame, ts_event_ms=None)

    def _is_next(self, sid: int, seq: int) -> bool:
        """False for a duplicate, which is counted. A gap is mended before this returns."""
        verdict = self.detector.observe(sid, seq)
        if verdict is EXPECTED:
            return True
        if isinstance(verdict, Gap):
            self._on_gap(sid, verdict.missing)
            return True
        self._counts.duplicates_ignored += 1
        return False

    def _on_trade(self, frame: TradeFrame, ts_ms: int) -> None:
        if frame.sid is not None and frame.seq is not None:
            if not self._is_next(frame.sid, frame.seq):
                return
            self.subscriptions.on_trade(frame.sid, frame.market_ticker)
        self._publisher.add(_TRADES, frame.market_ticker, encode_record(translate.trade(frame, ts_ms)), ts_ms)
        self._counts.records_caused_by_frames += 1

    def _takes_early(self, frame: DeltaFrame, data: bytes, ts_ms: int) -> bool:
        """A delta whose book is not live: of a market that waits for its snapshot, or of none of ours."""
        if frame.market_ticker not in self.subscriptions.followed:
            self._refuse_foreign(frame, data, ts_ms)
            return False
        self.subscriptions.on_early_delta(frame.sid, frame.market_ticker)
        return True

    def _on_snapshot(self, frame: SnapshotFrame, data: bytes, ts_ms: int) -> None:
        last = self.detector.last_seq.get(frame.sid)
        # The answer to a get_snapshot may show the book as of the last seq without taking a number of its own.
        is_answer_as_of_last = frame.command_id is not None and frame.seq == last
        if not is_answer_as_of_last and not self._is_next(frame.sid, frame.seq):
            return
        if frame.market_ticker not in self.subscriptions.followed:
            self._refuse_foreign(frame, data, ts_ms)
            return
        if self.subscriptions.sids.has_ended(frame.sid):  # it would make a book live that no delta follows any more
            self._counts.duplicates_ignored += 1
            return
        record = translate.book_snapshot(frame, self.session_id, ts_ms)
        self._publisher.add(_BOOKS, frame.market_ticker, encode_record(record), ts_ms)
        self._counts.records_caused_by_frames += 1
        self.saw_snapshot = True
        self.subscriptions.on_snapshot(frame)

    # --- everything rare ---

    def _on_control(self, frame: ControlFrame) -> None:
        """Acknowledgements and errors; those with a `seq` took a number of their sid."""
        numbered = frame.kind != "subscribed" and frame.sid is not None and frame.seq is not None
        if numbered and not self._is_next(frame.sid or 0, frame.seq or 0):
            return
        self._counts.control_frames += 1
        if frame.sid is not None and (
            frame.kind == "unsubscribed"
            or (frame.kind == "subscribed" and not self.subscriptions.sids.is_bound(frame.sid))
        ):
            # A number that is given out again may count from anywhere; a sid that further markets join counts on.
            self.detector.forget(frame.sid)
        if frame.kind == "error":
            self._counts.venue_errors[frame.error_code] += 1
            on_error(self.subscriptions, frame)
        else:
            on_acknowledged(self.subscriptions, frame)

    def _on_refused(self, frame: Refused, raw: bytes, ts_ms: int) -> None:
        if frame.sid is not None and frame.seq is not None and not self._is_next(frame.sid, frame.seq):
            return
        self._dead_letter(frame, raw, ts_ms)
        is_unnumbered = frame.kind == SNAPSHOT and frame.seq is None
        if is_unnumbered and self.subscriptions.books.on_unnumbered(frame.market_ticker, frame.command_id):
            return
        if frame.is_book:
            self.mend(self._changed_unseen(frame), "dropped")

    def _changed_unseen(self, frame: Refused) -> list[str]:
        """Whose book changed at the venue and not with us: the market that a refused frame names; all of its sid where
        that is none that comes by it, for then its name is garbled too."""
        subscriptions, ticker = self.subscriptions, frame.market_ticker or ""
        named = [ticker] if ticker in subscriptions.followed else []
        if named and (frame.sid is None or subscriptions.sids.sid_of(BOOK, ticker) in (None, frame.sid)):
            return named
        of_sid = subscriptions.books_of(frame.sid) if frame.sid is not None else set()
        return sorted(of_sid.union(named))

    def _refuse_foreign(self, frame: DeltaFrame | SnapshotFrame, raw: bytes, ts_ms: int) -> None:
        """A book that nobody asked for would be one that nobody mends."""
        ticker = frame.market_ticker
        detail = f"expected a market that is subscribed, was {ticker!r}"
        self._dead_letter(Refused("not_subscribed", detail, frame.sid, frame.seq, ticker), raw, ts_ms)

    def _dead_letter(self, frame: Refused, raw: bytes, ts_ms: int) -> None:
        counts = self._counts
        counts.dead_letters += 1
        counts.refusals[frame.reason] += 1
        letter = translate.dead_letter(frame, raw, self.session_id, counts.frames_in, ts_ms)
        self._publisher.add(_DLQ, frame.market_ticker or self.session_id, encode_record(letter), ts_ms)

    def _on_gap(self, sid: int, missing: int) -> None:
        counts = self._counts
        counts.gaps += 1
        counts.frames_missing += missing
        books = sorted(self.subscriptions.books_of(sid))
        if not books:
            counts.trade_gaps += 1
        before = self.detector.last_seq[sid]
        log.warning("gap: %d frames of sid %d are missing before seq %d, stale: %s", missing, sid, before, names(books))
        self.mend(books, "gap")

    def mend(self, tickers: Iterable[str], reason: ResetReason) -> None:
        """These books are wrong from here: say so first, then get new ones."""
        hit = list(tickers)
        self.reset(hit, reason)
        self._counts.snapshots_asked += len(hit)
        self.subscriptions.ask_snapshots(hit)

    def reset(self, tickers: Iterable[str], reason: ResetReason) -> None:
        """Publish `book_reset` for each market."""
        ts_ms = self._clock_ms()
        for ticker in tickers:
            self._resets += 1
            self._counts.resets[reason] += 1
            sid = self.subscriptions.sids.sid_of(BOOK, ticker) if reason != "session_start" else None
            seq = self.detector.last_seq.get(sid) if sid is not None else None
            if seq is None:
                sid = None
            record = translate.book_reset(ticker, self.session_id, self._resets, sid, seq, reason, ts_ms)
            self._publisher.add(_BOOKS, ticker, encode_record(record), ts_ms)
