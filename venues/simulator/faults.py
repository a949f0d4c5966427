"""Faults on demand: what a source sends is dropped, doubled, swapped, garbled or cut off at every Nth frame.

Each fault that makes a client lose something is noted with its time, so that a test can measure how long recovery
takes. The tail of a finite source stays clean: a lost last frame could not be noticed by anyone.
"""

import time
from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING

from venues.simulator.config import FaultSettings

if TYPE_CHECKING:
    from venues.simulator.hub import Hub
    from venues.simulator.session import Session, Subscription

GAPS_KEPT = 20_000  # newest injected gaps, about 3 MB
# Shifts of the kinds in eighths of their period: equal periods then do not fall on one frame.
_SHIFT = {"drop": 0, "duplicate": 1, "reorder": 2, "garbage": 3, "disconnect": 4}
# Appended to a `msg`: of a repeated key the last one counts.
_WRONG_TYPES = ',"price_dollars":"NaN","side":7,"yes_dollars_fp":"NaN","yes_price_dollars":"NaN","count_fp":null}}'
TERMINAL_CODES = {10: "Channel error", 25: "Subscription buffer overflow"}


class Faults:
    """The faults in force. `armed` is a plain attribute because it is read for every frame."""

    def __init__(self, hub: "Hub", settings: FaultSettings) -> None:
        self._hub = hub
        self._frames = 0
        self._silent_until = 0.0
        self._garbled = 0
        self._book_subscribes = 0
        self.counts: Counter[str] = Counter()
        self.gaps_total = 0
        self.gaps: deque[dict[str, object]] = deque(maxlen=GAPS_KEPT)
        self.set(settings)

    def set(self, settings: FaultSettings) -> None:
        """Replace the repeating faults."""
        self.settings = settings
        self._every = {kind: int(getattr(settings, f"{kind}_every")) for kind in _SHIFT}
        self.armed = any(self._every.values())

    def update(self, **changes: object) -> None:
        """Change some of the repeating faults, leave the others."""
        self.set(replace(self.settings, **changes))  # type: ignore[arg-type]

    def silent(self) -> bool:
        """Nothing leaves the venue now, pings neither; the market stands still and frames wait."""
        return self._silent_until > 0 and time.monotonic() < self._silent_until

    def silence(self, seconds: float) -> None:
        """Say nothing for so long, then go on where it stopped."""
        self._silent_until = time.monotonic() + seconds
        self.counts["silence"] += 1

    def deliver(self, sub: "Subscription", kind: str, text: str) -> None:
        """Send one sequenced frame, or what a fault makes of it."""
        session = sub.session
        fault = self._due(sub.channel.name)
        if fault is None:
            session.deliver(sub, kind, text)
            return
        self.counts[fault] += 1
        if fault == "duplicate":
            session.deliver(sub, kind, text)
            session.write(text, kind)
            return
        if fault == "garbage" and self.settings.garbage_kind == "extra":
            self._garble(session, text)
            session.deliver(sub, kind, text)
            return
        self._note(fault, sub)
        if fault == "reorder":
            if sub.held is not None:
                session.deliver(sub, kind, text)
            else:
                sub.held = text
        elif fault == "garbage":
            self._garble(session, text)
        elif fault == "disconnect":
            session.sever()
        else:
            self._hub.frames_dropped += 1

    def mutes(self) -> bool:
        """Whether the subscribe to books that comes now is one that nothing follows."""
        every = self.settings.mute_every
        self._book_subscribes += 1
        if not every or self._book_subscribes % every:
            return False
        self.counts["mute"] += 1
        return True

    def loses_snapshot(self, sub: "Subscription") -> bool:
        """Whether the snapshot that comes now is the first frame of its sid and lost; it takes its number."""
        if sub.seq or not self.settings.lose_first_snapshot:
            return False
        sub.next_seq()
        self.counts["lost_snapshot"] += 1
        self._hub.frames_dropped += 1
        return True

    def end_subscriptions(self, code: int, sid: int | None = None) -> int:
        """An error frame of `code` on one sid or on all; 10 and 25 end the subscription. Returns how many were told."""
        told = 0
        for session in list(self._hub.sessions):
            for sub in [s for s in session.subscriptions.values() if sid is None or s.sid == sid]:
                seq = f'"seq":{sub.next_seq()},' if sub.channel.sequenced else ""
                text = TERMINAL_CODES.get(code, "Injected error")
                session.reply(f'{{"type":"error","sid":{sub.sid},{seq}"msg":{{"code":{code},"msg":"{text}"}}}}')
                self.counts[f"error_{code}"] += 1
                told += 1
                if code in TERMINAL_CODES:
                    self._note(f"error_{code}", sub)
                    self._hub.end_subscription(sub)
            session.flush()
        return told

    def _due(self, channel: str) -> str | None:
        settings = self.settings
        if settings.channels and channel not in settings.channels:
            return None
        self._frames += 1
        for kind, every in self._every.items():
            if every and (self._frames + _SHIFT[kind] * every // 8) % every == 0:
                return None if self._in_tail(channel) else kind
        return None

    def _in_tail(self, channel: str) -> bool:
        total, of_channel = self._hub.source.remaining(channel)
        if total is None:
            return False
        few = of_channel is not None and of_channel < self.settings.clean_tail_channel_frames
        return few or total < self.settings.clean_tail_frames

    def _note(self, kind: str, sub: "Subscription") -> None:
        self.gaps_total += 1
        self.gaps.append(
            {
                "kind": kind,
                "connection": sub.session.number,
                "sid": sub.sid,
                "seq": sub.seq,
                "channel": sub.channel.name,
                "wall_ms": time.time_ns() // 1_000_000,
            }
        )

    def _garble(self, session: "Session", text: str) -> None:
        self._garbled += 1
        variants: tuple[str, ...] = (
            text[: len(text) // 2],
            "not a frame at all",
            text[:-2] + _WRONG_TYPES,
            '{"type":"a_type_nobody_knows","msg":{}}',
            "[1,2,3]",
            "{}",
        )
        if self.settings.garbage_kind == "extra":  # nothing that carries the true sid and seq: it would be the frame
            variants = (variants[1], variants[3], variants[4], variants[5])
        turn = self._garbled % (len(variants) + 1)
        if turn == len(variants):
            session.write_bytes(b"\x00\xff\xfe binary", "garbage", binary=True)
        else:
            session.write(variants[turn], "garbage")
