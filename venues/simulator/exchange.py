"""The exchange's own state: whether it is open, until when not, and its weekly hours.

POST /admin/exchange {"trading_active": false, "exchange_active": false, "resume_in_s": 60} pauses it: the books stand
still, order writes are refused, and /exchange/status says so.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from venues.simulator.config import EXCHANGE_INDEX
from venues.simulator.vintages import Body

_EASTERN = ZoneInfo("America/New_York")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# Thursdays from 3 to 5 in the morning, Eastern.
_MAINTENANCE_WEEKDAY, _MAINTENANCE_FROM_HOUR, _MAINTENANCE_HOURS = 3, 3, 2
MAINTENANCES_SHOWN = 4


class Pause(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /admin/exchange."""

    exchange_active: bool = True
    trading_active: bool = True
    resume_in_s: float | None = None


class Exchange:
    """`trading` is read before each batch of frames and each order write."""

    def __init__(self) -> None:
        self._pause = Pause()
        self._resume_s: float | None = None

    @property
    def trading(self) -> bool:
        """Whether orders match now."""
        return self._pause.exchange_active and self._pause.trading_active

    def routes(self) -> Iterable[web.RouteDef]:
        """The admin endpoint."""
        return [web.post("/admin/exchange", self._set)]

    async def _set(self, request: web.Request) -> web.Response:
        try:
            self.set(msgspec.convert(await request.json(), Pause))
        except ValueError as wrong:
            return web.json_response({"error": str(wrong)}, status=400)
        return web.json_response(self.status())

    def set(self, pause: Pause) -> None:
        """From now on; a `Pause` with its defaults is none."""
        self._pause = pause
        self._resume_s = None if pause.resume_in_s is None else time.time() + pause.resume_in_s

    def status(self) -> Body:
        """GET /exchange/status; the top-level fields are those of shard 0."""
        shard = {
            "exchange_active": self._pause.exchange_active,
            "trading_active": self._pause.trading_active,
            "intra_exchange_transfers_active": self._pause.exchange_active,
        }
        body = {**shard, "exchange_index_statuses": [{"exchange_index": EXCHANGE_INDEX, "description": "all", **shard}]}
        if not self.trading and self._resume_s is not None:
            body["exchange_estimated_resume_time"] = _text(datetime.fromtimestamp(self._resume_s, UTC))
        return body

    def schedule(self, now_s: float) -> Body:
        """GET /exchange/schedule: open all week but for the maintenance windows to come."""
        today = datetime.fromtimestamp(now_s, _EASTERN).replace(hour=0, minute=0, second=0, microsecond=0)
        whole_day = [{"open_time": "00:00", "close_time": "00:00"}]
        week: Body = dict.fromkeys(_DAYS, whole_day)
        week["start_time"] = _text(today - timedelta(days=today.weekday()))
        week["end_time"] = _text(today + timedelta(days=365))
        return {"schedule": {"standard_hours": [week], "maintenance_windows": _maintenances(today)}}


def _maintenances(today: datetime) -> list[Body]:
    first = today + timedelta(days=(_MAINTENANCE_WEEKDAY - today.weekday()) % 7, hours=_MAINTENANCE_FROM_HOUR)
    starts = [first + timedelta(weeks=week) for week in range(MAINTENANCES_SHOWN)]
    return [
        {"start_datetime": _text(start), "end_datetime": _text(start + timedelta(hours=_MAINTENANCE_HOURS))}
        for start in starts
    ]


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
