"""Faust's fixed pauses at the start and the end of a worker, taken out: after a kill every book waits for them."""

import faust
from faust.tables.manager import TableManager


class PromptTableManager(TableManager):
    """Faust waits a second for tables that register late. There are none: ours are not Faust's (`tables.stage`)."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class PromptWorker(faust.Worker):
    """Faust sleeps a second more when everything has ended."""

    async def _sentinel_task(self) -> None:
        return
