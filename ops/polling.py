"""Wait for something to become true, with a deadline. Do several things side by side."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any


async def until(check: Callable[[], Awaitable[bool]], deadline_s: float, interval_s: float = 0.1) -> bool:
    """Ask every `interval_s` until the answer is yes (True) or the deadline has passed (False)."""
    end = time.monotonic() + deadline_s
    while True:
        if await check():
            return True
        if time.monotonic() > end:
            return False
        await asyncio.sleep(interval_s)


async def side_by_side(*works: Coroutine[Any, Any, None]) -> None:
    """Do all of them at once; the first that fails ends the others, and its exception is raised as it is."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
