"""When the BTC markets open and close, and what they are called: US/Eastern time of the close."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_EASTERN = ZoneInfo("America/New_York")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_MS = 3_600_000
QUARTER_MS = 900_000


def next_close_ms(now_ms: int, window_ms: int) -> int:
    """The end of the window that `now_ms` lies in. A close belongs to the window that begins with it."""
    return (now_ms // window_ms + 1) * window_ms


def hourly_event(close_ms: int) -> str:
    """'KXBTCD-25NOV2017' closes on 20 Nov 2025 at 17:00 Eastern."""
    return f"KXBTCD-{_eastern(close_ms):%y%b%d%H}".upper()


def hourly_ticker(event: str, floor_strike: float) -> str:
    """'KXBTCD-25NOV2017-T91999.99'."""
    return f"{event}-T{floor_strike:.2f}"


def quarter_event(close_ms: int) -> str:
    """'KXBTC15M-26APR031645' closes at 16:45 Eastern."""
    return f"KXBTC15M-{_eastern(close_ms):%y%b%d%H%M}".upper()


def quarter_ticker(event: str) -> str:
    """The event and the minute of the close: 'KXBTC15M-26APR031645-45'."""
    return f"{event}-{event[-2:]}"


def _eastern(ms: int) -> datetime:
    return (_EPOCH + timedelta(milliseconds=ms)).astimezone(_EASTERN)
