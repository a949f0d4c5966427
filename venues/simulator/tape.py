"""What a capture file says, frame by frame, and where its recording was connected anew."""

import heapq
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from domain.errors import Fatal, MalformedFrame
from venues.capture import read_capture
from venues.kalshi.numbers import cents_e4, contracts_e2, dollars_e4, size_e2
from venues.simulator.channels import BOOK, LIFECYCLE, TICKER, TRADE
from venues.simulator.market import Market

log = logging.getLogger(__name__)

CHANNEL_OF = {
    "orderbook_snapshot": BOOK,
    "orderbook_delta": BOOK,
    "trade": TRADE,
    "ticker": TICKER,
    "market_lifecycle_v2": LIFECYCLE,
}
CONTROL = frozenset({"subscribed", "unsubscribed", "ok", "error"})


class _Body(msgspec.Struct):
    msg: msgspec.Raw


_decode_body = msgspec.json.Decoder(_Body).decode


class Played(msgspec.Struct, frozen=True):
    """One recorded frame. `cut`: the recording was connected anew before it. `file` is the index of its capture.
    `ticker`, `channel` and `msg` are None for what is no frame of a market (served as it stands)."""

    recv_ms: int
    file: int
    kind: str
    text: str
    ticker: str | None = None
    channel: str | None = None
    msg: dict[str, Any] | None = None
    cut: bool = False
    control: bool = False
    binary: bytes | None = None

    def body(self) -> str:
        """The text of `msg` as it was recorded. Only for frames of a market."""
        return bytes(_decode_body(self.text).msg).decode()


def read_tape(paths: Sequence[Path]) -> Iterator[Played]:
    """Several captures as one, by receive time; ties in the order of `paths`."""
    tapes = (_one_tape(index, path) for index, path in enumerate(paths))
    yield from heapq.merge(*tapes, key=lambda played: played.recv_ms)


def _one_tape(file: int, path: Path) -> Iterator[Played]:
    last_seq: dict[int, int] = {}
    for captured in read_capture(path):
        recv_ms, frame, text = captured.recv_ms, captured.frame, captured.text
        kind = frame.get("type") if frame is not None else None
        if frame is None or not isinstance(kind, str):
            yield Played(recv_ms, file, "raw", text, binary=captured.binary)
            continue
        channel, msg = CHANNEL_OF.get(kind), frame.get("msg")
        ticker = msg.get("market_ticker") if isinstance(msg, dict) else None
        if channel is None or not isinstance(ticker, str):
            yield Played(recv_ms, file, kind, text, control=kind in CONTROL)
            continue
        cut = _reconnected(kind, frame, last_seq)
        yield Played(recv_ms, file, kind, text, ticker, channel, msg, cut)


def _reconnected(kind: str, frame: dict[str, Any], last_seq: dict[int, int]) -> bool:
    """Sequence numbers restart with a connection, and its books with snapshots. A number that falls in a delta or a
    trade is a recorded duplicate or swap, and no new connection."""
    sid, seq = frame.get("sid"), frame.get("seq")
    if type(sid) is not int or type(seq) is not int:
        return False
    last = last_seq.get(sid, 0)
    cut = kind == "orderbook_snapshot" and seq < last
    if cut:
        last_seq.clear()
    if cut or seq > last:
        last_seq[sid] = seq
    return cut


def fold(market: Market, played: Played) -> None:
    """Keep the simulator's own truth of a recorded market. A recording that starts in mid-stream can lower levels it
    never showed: such a level is left at nothing, as the truth of a broken recording is."""
    msg = played.msg or {}
    try:
        if played.kind == "orderbook_snapshot":
            yes, no = _side(msg, "yes"), _side(msg, "no")
            market.book.yes, market.book.no = yes, no
        else:
            dollars, fp = msg.get("price_dollars"), msg.get("delta_fp")
            price_e4 = cents_e4(msg["price"], "price") if dollars is None else dollars_e4(dollars, "price")
            delta_e2 = contracts_e2(msg["delta"], "delta") if fp is None else size_e2(fp, "delta")
            market.book.change(msg["side"], price_e4, delta_e2)
    except (MalformedFrame, KeyError, TypeError, ValueError, Fatal) as wrong:
        log.debug("simulator: truth of %s not changed by a recorded frame: %s", market.ticker, wrong)


def _side(msg: dict[str, Any], side: str) -> dict[int, int]:
    levels: dict[int, int] = {}
    if exact := msg.get(f"{side}_dollars_fp"):
        levels = {dollars_e4(p, side): size_e2(s, side) for p, s in exact}
    elif dollars := msg.get(f"{side}_dollars"):
        levels = {dollars_e4(p, side): contracts_e2(s, side) for p, s in dollars}
    else:
        levels = {cents_e4(p, side): contracts_e2(s, side) for p, s in msg.get(side) or ()}
    return {price_e4: count_e2 for price_e4, count_e2 in levels.items() if count_e2 > 0}
