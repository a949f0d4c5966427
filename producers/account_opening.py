"""The account's first start ever: the positions before the first fill we fold, and as of when they are.

The venue's positions answer is the opening, whatever fills are still listed: those that made it may be archived since
months. But it may lag the fills by a second or more, and a fill that is in neither or in both would be wrong for ever.
So it is compared with the venue's own time of its portfolio answers (GET /exchange/user_data_timestamp), and where the
venue has none it is believed when it repeats itself and the newest fill is older than any lag.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from domain.errors import MalformedFrame
from domain.times import is_plausible
from producers.account_walk import walk
from schemas.account_records import FillReportPayload, PositionReportPayload
from venues.kalshi import account_fields as f
from venues.kalshi.account import AccountRefused, fill_of
from venues.kalshi.account_reports import position_of
from venues.kalshi.account_rest import AccountRest
from venues.kalshi.rest import RestRefused, RestUnavailable

TRIES_MAX = 40
PAUSE_S = 0.5  # between tries: with the above twenty seconds, four times the longest lag
#: So many tries, four seconds, wait until the answers' time has passed the newest fill. An account that never rests
#: gets no such moment: then the positions are taken as of the time that the venue names, if no fill fell around it.
QUIET_TRIES = 8
QUIET_MS = 2_000  # how long before the answers' time the newest fill has to be: the time itself may be told generously
LAG_S = 5.0  # longer than positions lag behind fills where the venue says no time for them; seen: a second or more
#: Portfolio answers of longer ago are no lag: the venue is being mended, or means something else. Nothing is opened.
DATA_AGE_MS_MAX = 600_000
#: A fill of so long ago is older than any lag however wrong our clock is: nothing has to be waited for.
OLD_FILL_MS = 60_000


@dataclass(frozen=True, slots=True)
class OpeningRead:
    """The positions that are not flat; every fill at or before `as_of_ms` is in them, none after it."""

    positions: list[PositionReportPayload]
    as_of_ms: int


@dataclass(slots=True)
class _Read:
    """One try: the venue's own time before and after the positions, and the fills from the earlier one on."""

    positions: list[PositionReportPayload]
    before: tuple[int, int] | None
    after: tuple[int, int] | None
    newest: FillReportPayload | None
    fills_ms: list[int]


class OpeningReader:
    """Reads until an answer can be believed. `lag_s`: see LAG_S."""

    def __init__(self, rest: AccountRest, position_params: Mapping[str, str | int], lag_s: float = LAG_S) -> None:
        self._rest, self._params, self._lag_s = rest, position_params, lag_s
        self._newest = ""  # the newest fill of the last try, and since when it is that one
        self._newest_since_s = time.monotonic()
        self._last: list[PositionReportPayload] | None = None

    async def read(self) -> OpeningRead:
        """The opening. Raises RestUnavailable: there was no moment to read it in; RestRefused: as the client."""
        for attempt in range(TRIES_MAX):
            if attempt:
                await asyncio.sleep(PAUSE_S)
            tried = await self._try()
            as_of_ms = self._as_of_ms(tried, is_patient=attempt < QUIET_TRIES)
            if as_of_ms is not None:
                return OpeningRead([position for position in tried.positions if position.position_e2], as_of_ms)
            self._last = tried.positions
        raise RestUnavailable(f"positions: expected a quiet moment to open the account, was none in {TRIES_MAX} tries")

    async def _try(self) -> _Read:
        before = await self._data_time()
        positions = await self._positions()
        after = await self._data_time() if before is not None else None
        newest, fills_ms = await self._fills_since(1 << 62 if before is None else _second_ms(before[0]) - QUIET_MS)
        name = "" if newest is None else newest.fill_id or f"{newest.order_id} {newest.ts_ms}"
        if name != self._newest or self._last is None:
            self._newest, self._newest_since_s = name, time.monotonic()
        return _Read(positions, before, after, newest, fills_ms)

    def _as_of_ms(self, tried: _Read, *, is_patient: bool) -> int | None:
        """As of when the positions are, None where that cannot be told."""
        if tried.before is None or tried.after is None:
            return self._as_of_repeated(tried)
        first_ms, last_ms = tried.before[0], tried.after[1]
        if is_patient:  # nothing lately: fills that tell whole seconds, of this one, are after the opening too
            return None if tried.fills_ms else _second_ms(first_ms) - 1
        return None if any(first_ms <= ts_ms <= last_ms for ts_ms in tried.fills_ms) else first_ms

    def _as_of_repeated(self, tried: _Read) -> int | None:
        """Without the venue's time: the newest fill, once it is older than the lag and the positions stand still."""
        if self._last is None or self._last != tried.positions:
            return None
        if tried.newest is None:
            return 0
        is_old = tried.newest.ts_ms < _now_ms() - OLD_FILL_MS
        return tried.newest.ts_ms if is_old or time.monotonic() - self._newest_since_s >= self._lag_s else None

    async def _data_time(self) -> tuple[int, int] | None:
        """As of when portfolio answers are: the first and the last millisecond that the text can mean."""
        try:
            body = await self._rest.get("/exchange/user_data_timestamp")
        except RestRefused as refused:
            if refused.status in (401, 403):
                raise
            return None  # a venue of before it had this route
        said = body.get("as_of_time") if isinstance(body, dict) else None
        try:
            ms = f.time_ms({"as_of_time": said}, "as_of_time")
        except MalformedFrame:
            return None
        if ms is None or not is_plausible(ms, _now_ms()):
            return None  # an opening as of next year would contain every fill until then
        if ms < _now_ms() - DATA_AGE_MS_MAX:
            raise RestUnavailable(f"user_data_timestamp: expected a time of the last minutes, was {said!r}"[:200])
        return ms, ms if isinstance(said, str) and "." in said else _second_ms(ms) + 999

    async def _positions(self) -> list[PositionReportPayload]:
        positions: list[PositionReportPayload] = []

        def on_page(items: list[dict[str, object]]) -> bool:
            for item in items:
                try:
                    positions.append(position_of(item, "rest", 0))
                except AccountRefused as refused:
                    raise RestUnavailable(f"positions: an item cannot be read, {refused}") from None
            return False

        result = await walk(self._rest, "/portfolio/positions", "market_positions", self._params, on_page)
        if not result.complete or not result.clean:
            raise RestUnavailable(f"positions: {result.problem or 'a page came twice'}")
        return sorted(positions, key=lambda position: position.market_ticker)

    async def _fills_since(self, since_ms: int) -> tuple[FillReportPayload | None, list[int]]:
        """The newest fill that is listed, and the times of all from `since_ms` on."""
        newest: list[FillReportPayload] = []
        times_ms: list[int] = []

        def on_page(items: list[dict[str, object]]) -> bool:
            for item in items:
                try:
                    fill = fill_of(item, "rest")
                except AccountRefused:
                    continue  # the walk that follows the opening refuses it loudly
                if not is_plausible(fill.ts_ms, _now_ms()):
                    continue  # so is this one
                newest[:] = [max((*newest, fill), key=lambda known: known.ts_ms)]
                if fill.ts_ms < since_ms:
                    return True
                times_ms.append(fill.ts_ms)
            return False

        result = await walk(self._rest, "/portfolio/fills", "fills", {}, on_page)
        if not result.complete:
            raise RestUnavailable(f"fills: {result.problem}")
        return (newest[0] if newest else None), times_ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _second_ms(ms: int) -> int:
    return ms // 1_000 * 1_000
