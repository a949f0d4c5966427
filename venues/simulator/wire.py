"""The texts of the venue's frames, in its wire vintages, and WebSocket framing.

Vintage a has integer cents and counts, b everything twice, c only decimal texts, d (today) the same with
both sides in every snapshot. `mixed` takes turns. A message whose
numbers vintage a cannot hold exactly (sub-cent price, fractional count) goes out as b, whose `*_fp` fields can.
Frames are framed here and not by the WebSocket library, so that a batch of them is one write to the socket.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from domain.units import DOLLAR_E4, contracts_text, dollars_text
from venues.simulator.config import Vintage

PRICE_TEXT = tuple(dollars_text(price_e4) for price_e4 in range(DOLLAR_E4 + 1))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TURNS = ("a", "b", "c", "d")


def frame_header(length: int, *, binary: bool = False) -> bytes:
    """The header of one unfragmented, unmasked server frame of `length` payload bytes (RFC 6455 section 5.2)."""
    opcode = b"\x82" if binary else b"\x81"
    if length < 126:
        return opcode + length.to_bytes(1)
    if length < 65_536:
        return opcode + b"\x7e" + length.to_bytes(2)
    return opcode + b"\x7f" + length.to_bytes(8)


def iso_text(ts_ms: int) -> str:
    """RFC 3339 text with milliseconds, as in the `ts` of a delta."""
    seconds, millis = divmod(ts_ms, 1_000)
    return f"{iso_second(seconds)}.{millis:03d}Z"


@lru_cache(maxsize=64)
def iso_second(seconds: int) -> str:
    """'2026-08-11T00:15:33' (UTC), without a zone mark. Cached: thousands of frames share a second."""
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def cents(price_e4: int) -> int:
    """Whole cents as the old wire rounded them, kept within 1..99."""
    return min(99, max(1, (price_e4 + 50) // 100))


def _three(price_e4: int) -> str:
    return f"{price_e4 // DOLLAR_E4}.{price_e4 % DOLLAR_E4 // 10:03d}"


class Encoder:
    """Bodies (`msg`) of book and trade frames. One per simulator: `mixed` takes turns over all messages."""

    def __init__(self, vintage: Vintage) -> None:
        self._vintage = vintage
        self._turn = 0

    def _pick(self, exact: bool) -> str:
        vintage: str = self._vintage
        if vintage == "mixed":
            self._turn += 1
            vintage = _TURNS[self._turn % len(_TURNS)]
        return "b" if vintage == "a" and not exact else vintage

    def delta(self, ticker: str, market_id: str, side: str, price_e4: int, delta_e2: int, ts_ms: int) -> str:
        """A signed change of one level."""
        head = f'{{"market_ticker":"{ticker}","market_id":"{market_id}",'
        fp = contracts_text(delta_e2)
        plain = self._vintage in ("c", "d")
        vintage = "c" if plain else self._pick(price_e4 % 100 == 0 and delta_e2 % 100 == 0)
        if vintage in ("c", "d"):
            return (
                f'{head}"price_dollars":"{PRICE_TEXT[price_e4]}","delta_fp":"{fp}","side":"{side}",'
                f'"ts":"{iso_text(ts_ms)}","ts_ms":{ts_ms}}}'
            )
        whole = int(delta_e2 / 100)
        legacy = f'"price":{cents(price_e4)},"price_dollars":"{_three(price_e4)}","delta":{whole}'
        more = f',"delta_fp":"{fp}"' if vintage == "b" else ""
        return f'{head}{legacy}{more},"side":"{side}","ts":"{iso_text(ts_ms)}"}}'

    def snapshot(self, ticker: str, market_id: str, yes: Mapping[int, int], no: Mapping[int, int]) -> str:
        """Both ladders, ascending. Before d the key of an empty side is absent, as it was on the wire."""
        ladders = {"yes": sorted(yes.items()), "no": sorted(no.items())}
        exact = all(price % 100 == 0 and size % 100 == 0 for levels in ladders.values() for price, size in levels)
        vintage = self._pick(exact)
        parts = [f'"market_ticker":"{ticker}","market_id":"{market_id}"']
        for side, levels in ladders.items():
            if not levels and vintage != "d":
                continue
            if vintage in ("a", "b"):
                parts.append(f'"{side}":[{",".join(f"[{cents(p)},{s // 100}]" for p, s in levels)}]')
                dollars = ",".join(f'["{_three(p)}",{s // 100}]' for p, s in levels)
                parts.append(f'"{side}_dollars":[{dollars}]')
            if vintage != "a":
                exact_levels = ",".join(f'["{PRICE_TEXT[p]}","{contracts_text(s)}"]' for p, s in levels)
                parts.append(f'"{side}_dollars_fp":[{exact_levels}]')
        return "{" + ",".join(parts) + "}"

    def trade(self, ticker: str, trade_id: str, yes_e4: int, count_e2: int, taker_side: str, ts_ms: int) -> str:
        """One trade at the YES price; no market_id on the wire."""
        no_e4 = DOLLAR_E4 - yes_e4
        head = f'{{"trade_id":"{trade_id}","market_ticker":"{ticker}",'
        vintage = self._pick(yes_e4 % 100 == 0 and count_e2 % 100 == 0)
        fp = contracts_text(count_e2)
        if vintage in ("c", "d"):
            book_side = "bid" if taker_side == "yes" else "ask"
            return (
                f'{head}"yes_price_dollars":"{PRICE_TEXT[yes_e4]}","no_price_dollars":"{PRICE_TEXT[no_e4]}",'
                f'"count_fp":"{fp}","taker_side":"{taker_side}","taker_outcome_side":"{taker_side}",'
                f'"taker_book_side":"{book_side}","is_block_trade":false,"ts":{ts_ms // 1_000},"ts_ms":{ts_ms}}}'
            )
        more = f',"count_fp":"{fp}"' if vintage == "b" else ""
        return (
            f'{head}"yes_price":{cents(yes_e4)},"no_price":{cents(no_e4)},"yes_price_dollars":"{_three(yes_e4)}",'
            f'"no_price_dollars":"{_three(no_e4)}","count":{count_e2 // 100}{more},"taker_side":"{taker_side}",'
            f'"ts":{ts_ms // 1_000}}}'
        )
