"""Which market comes by which sid. Pure bookkeeping of one connection.

The venue gives a subscribe a sid of its own, or the one that its channel already has: a sid carries all markets that
were ever acknowledged on it, from whatever subscribe. Sids are unique in a connection, across channels.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

BOOK = "orderbook_delta"
TRADE = "trade"


@dataclass(slots=True)
class _Carried:
    channel: str
    tickers: set[str] = field(default_factory=set)


class SidMap:
    """Markets by sid and sids by market, per channel."""

    def __init__(self) -> None:
        self._carried: dict[int, _Carried] = {}
        self._sid_of: dict[str, dict[str, int]] = {BOOK: {}, TRADE: {}}
        #: Sids that are over: what still comes of them was on its way. One entry per resubscription of a connection.
        self._ended: set[int] = set()

    def bind(self, channel: str, sid: int, tickers: Iterable[str]) -> None:
        """From here on these markets come by this sid, beside those that already do. A sid that ended may come back."""
        self._ended.discard(sid)
        carried = self._carried.setdefault(sid, _Carried(channel))
        of_channel = self._sid_of.setdefault(channel, {})
        for ticker in tickers:
            before = of_channel.get(ticker)
            if before is not None and before != sid:
                self._carried[before].tickers.discard(ticker)
            of_channel[ticker] = sid
            carried.tickers.add(ticker)

    def end(self, sid: int) -> set[str]:
        """Nothing more comes by this sid; the markets that it carried."""
        carried = self._carried.pop(sid, None)
        self._ended.add(sid)
        if carried is None:
            return set()
        for ticker in carried.tickers:
            del self._sid_of[carried.channel][ticker]
        return carried.tickers

    def release(self, tickers: Iterable[str], channel: str | None = None) -> None:
        """These markets come by no sid any more, of one channel or of all; the sids go on with the others."""
        for ticker in tickers:
            for name in [channel] if channel else list(self._sid_of):
                if (sid := self._sid_of[name].pop(ticker, None)) is not None:
                    self._carried[sid].tickers.discard(ticker)

    def sid_of(self, channel: str, ticker: str) -> int | None:
        """The sid that carries this market, None while none does."""
        return self._sid_of[channel].get(ticker)

    def channel_of(self, sid: int | None) -> str | None:
        """The channel of a sid in force."""
        carried = self._carried.get(sid) if sid is not None else None
        return carried.channel if carried else None

    def tickers(self, channel: str, sid: int) -> set[str]:
        """The markets that come by this sid; empty for one of another channel, one that is over, or an unknown one."""
        carried = self._carried.get(sid)
        return set(carried.tickers) if carried is not None and carried.channel == channel else set()

    def of_channel(self, channel: str) -> list[tuple[int, int]]:
        """(sid, how many markets it carries), oldest first."""
        return [(sid, len(c.tickers)) for sid, c in self._carried.items() if c.channel == channel]

    def is_bound(self, sid: int) -> bool:
        """The sid is in force."""
        return sid in self._carried

    def has_ended(self, sid: int) -> bool:
        """The sid was in force and is over."""
        return sid in self._ended
