"""Which times are believed. Pure: our own clock is an argument, and stands in each record as `ts_ingest`.

A venue's time in the wrong unit, or of a wrong clock, is years ahead. Whatever takes a maximum of times (a book's last
change, the newest fill, how far a table remembers) would be spoilt by one of them for good.
"""

#: How far ahead of our own clock a time is believed: clocks of hosts without NTP differ by this much. Larger makes a
#: wrong time harder to see; smaller takes our own slow clock for the venue's fault.
FUTURE_MAX_MS = 300_000


def is_plausible(time_ms: int, now_ms: int) -> bool:
    """Whether a time may be one of the past, as of `now_ms`. Recordings are old; nothing is of next year."""
    return time_ms <= now_ms + FUTURE_MAX_MS


def believed_ms(event_ms: int | None, ingest_ms: int) -> int:
    """The venue's time of a record, or where it gives none or an impossible one, when we saw it."""
    return event_ms if event_ms is not None and is_plausible(event_ms, ingest_ms) else ingest_ms


def raised_ms(clock_ms: int, event_ms: int | None, ingest_ms: int) -> int:
    """A clock that only rises, after one more record. One that an impossible time has spoilt before is set right."""
    time_ms = believed_ms(event_ms, ingest_ms)
    return max(clock_ms, time_ms) if is_plausible(clock_ms, ingest_ms) else time_ms


def watermark_ms(newest_ms: int, event_ms: int | None, ingest_ms: int, append_ms: int) -> int:
    """How far a table's memory may move on, after one more record: no further than its own time, ours, and the log's
    (`append_ms`, 0 where unknown) all allow. One that was spoilt before is set right."""
    known = [time_ms for time_ms in (event_ms, ingest_ms, append_ms or None) if time_ms is not None]
    return max(newest_ms, min(known)) if is_plausible(newest_ms, max(ingest_ms, append_ms)) else min(known)
