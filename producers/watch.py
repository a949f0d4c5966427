"""`kalshi-streams watch`: the wire of one market on the terminal: `[SUB]`, `[SNAP]`, then deltas. Writes nothing.

Reads the venue's socket on a connection of its own; neither Kafka nor the producer is involved.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from websockets.exceptions import WebSocketException

from app.settings import Settings
from domain.errors import KalshiStreamsError
from domain.sequence import DUPLICATE, Gap, SequenceDetector
from domain.units import DOLLAR_E4, contracts_text, dollars_text
from producers.market import stop_on_signals, venue_signer
from producers.record import subscribe_commands, venue_connection
from venues.kalshi.frames import FrameParser
from venues.kalshi.messages import ControlFrame, DeltaFrame, Frame, Level, Refused, SnapshotFrame

LEVELS_SHOWN = 5  # per side of a snapshot
HELD_BACK_MAX = 1_000_000_000  # a count, only to be shown


async def run(
    settings: Settings,
    ticker: str,
    compact: bool = False,
    rate: float = 0.0,
    stop: asyncio.Event | None = None,
    write: Callable[[str], object] | None = None,
) -> None:
    """Show frames until Ctrl-C. `rate` bounds the lines per second (0: all); what is left out is counted on the line.

    Raises:
        UserMistake: wrong key or address.
        KalshiStreamsError: the venue hung up or cannot be reached.
    """
    stop = stop or stop_on_signals()
    view = _View(compact, rate, write or _print)
    try:
        async with venue_connection(settings, venue_signer(settings), view.on_frame) as connection:
            for command in subscribe_commands([ticker], 1):
                await connection.send(command)
            closed = asyncio.create_task(connection.wait_closed())
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait((closed, stopped), return_when=asyncio.FIRST_COMPLETED)
            hung_up = not stopped.done()
            closed.cancel()
            stopped.cancel()
            await asyncio.gather(closed, stopped, return_exceptions=True)
    except (OSError, TimeoutError, WebSocketException) as wrong:
        raise KalshiStreamsError(f"venue unreachable: {type(wrong).__name__} {wrong}"[:200]) from None
    if hung_up:
        raise KalshiStreamsError(f"the venue hung up: {connection.close_code} {connection.close_reason or ''}".strip())


class _View:
    """Turns frames into lines and holds back what comes faster than the rate."""

    def __init__(self, compact: bool, rate: float, write: Callable[[str], object]) -> None:
        self._compact = compact
        self._pause_s = 1.0 / rate if rate > 0 else 0.0
        self._write = write
        self._parser = FrameParser()
        self._detector = SequenceDetector()
        self._next_s = 0.0
        self._held_back = 0

    def on_frame(self, data: bytes, is_text: bool, received_ns: int) -> None:
        frame = self._parser.parse(data) if is_text else Refused("binary_frame", "a binary frame")
        lines = self._gap_line(frame) + self._lines(frame, received_ns // 1_000_000)
        now_s = time.monotonic()
        if isinstance(frame, DeltaFrame) and len(lines) == 1 and now_s < self._next_s:
            self._held_back = min(HELD_BACK_MAX, self._held_back + 1)
            return
        self._next_s = now_s + self._pause_s
        if self._held_back:
            lines[-1] += f"  (+{self._held_back} held back)"
            self._held_back = 0
        for line in lines:
            self._write(line)

    def _gap_line(self, frame: Frame) -> list[str]:
        sid, seq = frame.sid, frame.seq
        if sid is None or seq is None:
            return []
        verdict = self._detector.observe(sid, seq)
        if isinstance(verdict, Gap):
            return [f"[GAP] sid {sid}: {verdict.missing} frames missing before seq {seq}"]
        return [f"[DUP] sid {sid} seq {seq}"] if verdict is DUPLICATE else []

    def _lines(self, frame: Frame, recv_ms: int) -> list[str]:
        if isinstance(frame, DeltaFrame):
            return [self._delta(frame, recv_ms)]
        if isinstance(frame, SnapshotFrame):
            return self._snapshot(frame)
        if isinstance(frame, ControlFrame):
            what = frame.text or ", ".join(frame.market_tickers)
            tag = {"subscribed": "SUB", "error": "ERR"}.get(frame.kind, frame.kind.upper())
            code = f" {frame.error_code}" if frame.kind == "error" else ""
            return [f"[{tag}]{code} {frame.channel or ''} sid {frame.sid} {what}".rstrip()]
        if isinstance(frame, Refused):
            return [f"[BAD] {frame.reason}: {frame.detail}"]
        price, size = dollars_text(frame.yes_price_e4), contracts_text(frame.count_e2)
        return [f"[TRADE] {frame.market_ticker} yes {price} x {size} taker {frame.taker_side}"]

    def _delta(self, frame: DeltaFrame, recv_ms: int) -> str:
        sign = "+" if frame.delta_e2 >= 0 else ""
        change = f"{frame.side:<3} {dollars_text(frame.price_e4)} {sign}{contracts_text(frame.delta_e2)}"
        if self._compact:
            return f"{frame.seq} {change}"
        at = datetime.fromtimestamp(recv_ms // 1_000, UTC).strftime("%H:%M:%S") + f".{recv_ms % 1_000:03d}"
        lag = f" lag {recv_ms - frame.ts_event_ms} ms" if frame.ts_event_ms is not None else ""
        return f"[DELTA] {at} {frame.market_ticker} sid {frame.sid} seq {frame.seq} {change}{lag}"

    def _snapshot(self, frame: SnapshotFrame) -> list[str]:
        yes, no = sorted(frame.yes, reverse=True), sorted(frame.no, reverse=True)
        bid = dollars_text(yes[0][0]) if yes else "-"
        ask = dollars_text(DOLLAR_E4 - no[0][0]) if no else "-"
        head = f"[SNAP] {frame.market_ticker} sid {frame.sid} seq {frame.seq} yes {len(yes)} no {len(no)} levels, "
        lines = [f"{head}best yes bid {bid} ask {ask}"]
        return lines if self._compact else [*lines, *_ladder("yes", yes), *_ladder("no", no)]


def _ladder(side: str, levels: list[Level]) -> list[str]:
    return [
        f"       {side:<3} {dollars_text(price)} {contracts_text(size):>12}" for price, size in levels[:LEVELS_SHOWN]
    ]


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
