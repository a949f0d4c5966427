"""The stored fills' volume per market beside the venue's own, as its position reports in the archive say it.

The venue counts from the market's beginning and our fills from the account's opening: compared is the growth between
the first and the last stored report of a market, and that ours is never more than the venue's whole.
"""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from ops.qa_fill_store import FillStore
from schemas.account_records import PositionReport
from schemas.registry import POSITION_REPORTS
from sinks.parquet.reader import iter_records

#: A report and a fill of about the same time may have passed each other on their ways, and clocks differ.
GRACE_MS = 10_000
_VOLUME = "select coalesce(sum(size), 0) from {newest} where {market_is} and ts_ms > "


@dataclass(frozen=True)
class VenueVolume:
    """What the venue has said of one market: contracts, and when, first and last."""

    first: Decimal
    first_ms: int
    last: Decimal
    last_ms: int


def stored_volumes(archive: Path) -> dict[str, VenueVolume]:
    """By market, from the archive's position reports. Raises UserMistake: the archive has a gap."""
    found: dict[str, VenueVolume] = {}
    for archived in iter_records(archive, POSITION_REPORTS.name):
        record = archived.record
        if not isinstance(record, PositionReport) or record.payload.volume_e2 is None:
            continue
        said, at_ms = Decimal(record.payload.volume_e2) / 100, record.payload.as_of_ms
        known = found.get(record.payload.market_ticker, VenueVolume(said, at_ms, said, at_ms))
        if at_ms <= known.first_ms:
            known = VenueVolume(said, at_ms, known.last, known.last_ms)
        if at_ms >= known.last_ms:
            known = VenueVolume(known.first, known.first_ms, said, at_ms)
        found[record.payload.market_ticker] = known
    return found


def check_volume(store: FillStore, volumes: dict[str, VenueVolume]) -> list[str]:
    """What does not agree. Raises SinkUnavailable."""
    found = []
    for market, venue in sorted(volumes.items()):
        whole = _volume(store, market, -1, venue.last_ms - GRACE_MS)
        grown = venue.last - venue.first
        least = _volume(store, market, venue.first_ms + GRACE_MS, venue.last_ms - GRACE_MS)
        most = _volume(store, market, venue.first_ms - GRACE_MS, venue.last_ms + GRACE_MS)
        if whole > venue.last:
            found.append(f"{store.name}: volume {market}: expected at most the venue's {venue.last}, was {whole}")
        elif not least <= grown <= most:
            between = f"{least} to {most}" if least != most else f"{most}"
            found.append(f"{store.name}: volume {market}: expected the venue's growth of {grown}, was {between}")
    return found


def _volume(store: FillStore, market: str, after_ms: int, until_ms: int) -> Decimal:
    rows = store.rows(f"{_VOLUME}{after_ms} and ts_ms <= {until_ms}", market=market)
    return Decimal(str(rows[0][0]))
