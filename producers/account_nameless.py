"""Fills of one walk that came without an id: collected by second, named when the walk proved complete and clean.

Equal fills share a second, so only the seconds that hold a nameless one are kept in memory.
"""

from domain.fill_facts import twin_key
from schemas.account_records import FillReportPayload
from venues.kalshi.account import name_fills

NAMELESS_MAX = 100_000  # fills kept of such seconds, about 50 MB; beyond it they wait for a shorter walk


class NamelessFills:
    """Takes every fill of a walk in its order (newest first); gives the nameless ones their synthetic ids."""

    def __init__(self) -> None:
        self.count = 0
        #: A second came again after another one: the pages overlapped, ordinals would be guesses.
        self.disordered = False
        self._kept = 0
        self._page: list[str] = []
        self._second = -1
        self._group: list[FillReportPayload] = []
        self._groups: dict[int, list[FillReportPayload]] = {}

    def add_page(self, fills: list[FillReportPayload]) -> None:
        """The fills of one page. The page before again, whatever its spelling, makes the walk disordered."""
        page = [twin_key(fill) for fill in fills]
        self.disordered = self.disordered or (bool(page) and page == self._page)
        self._page = page
        for fill in fills:
            self._add(fill)

    def _add(self, fill: FillReportPayload) -> None:
        second = fill.ts_ms // 1_000
        if second != self._second:
            self._close()
            self.disordered = self.disordered or second in self._groups
            self._second = second
        self._group.append(fill)
        self.count += not fill.fill_id

    def named(self) -> list[FillReportPayload] | None:
        """The nameless fills with their ids; None where there are too many, or the walk was out of order."""
        self._close()
        if self.disordered or self._kept > NAMELESS_MAX:
            return None
        groups = (name_fills(group[::-1]) for group in self._groups.values())
        return [fill for group in groups for fill in group if fill.synthetic_ordinal is not None]

    def _close(self) -> None:
        if any(not fill.fill_id for fill in self._group):
            self._groups[self._second] = self._group
            self._kept += len(self._group)
        self._group = []
