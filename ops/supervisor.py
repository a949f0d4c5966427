"""Watch components: what dies is restarted with bounded backoff and said, until it dies too often.

A storm of deaths of an essential component ends the run; any other component then stays down, and the rest goes on: a
recording does not stop because an account cannot be read. A component that exits with code 2 has met a mistake of the
user's, which no restart mends: its one line ends `up`, or keeps the component down where it is not essential. One that
has worked before dies of code 2 like of any other: its settings were right, and what it met at night (a venue that
answers 401 for a minute, a disk that is full) may pass.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from domain.errors import KalshiStreamsError, UserMistake
from ops.child import Child, Component, bound_log, describe_exit

USER_MISTAKE_CODE = 2
LOG_CHECK_S = 10.0


class RestartStorm(KalshiStreamsError):
    """A component died too often in a short time; going on would hide it."""


@dataclass(frozen=True)
class RestartPolicy:
    """`restarts_max` deaths of one component within `window_s` are restarted, one more is a storm.

    The first restart is immediate (static membership makes it cheap), later ones wait `backoff_s`, doubled each time
    up to `backoff_s_max`. What ran for `proven_s` at once has shown that its settings are right.
    """

    restarts_max: int = 10
    window_s: float = 120.0
    backoff_s: float = 0.25
    backoff_s_max: float = 10.0
    proven_s: float = 60.0

    def delay_s(self, deaths: int) -> float:
        """Wait before the restart after that many deaths in the window (1, 2, ..)."""
        return 0.0 if deaths <= 1 else min(self.backoff_s_max, self.backoff_s * 2.0 ** (deaths - 2))


class Supervisor:
    """Owns the components of one `up`. All methods belong to its event loop."""

    def __init__(
        self,
        say: Callable[[str], None],
        policy: RestartPolicy | None = None,
        alarm: Callable[[str], None] | None = None,
    ) -> None:
        """`say` shows a line; `alarm` one that must not be overlooked (default: like any other)."""
        self._say = say
        self._alarm = alarm or say
        self._policy = policy or RestartPolicy()
        self._components: dict[str, Component] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[str] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._log_watch = asyncio.ensure_future(self._bound_logs())
        self.restarts: dict[str, int] = {}
        #: Components that stay down, with the reason.
        self.down: dict[str, str] = {}

    async def start(self, component: Component) -> None:
        """Start it and watch it from now on. Raises what its start raises."""
        self._components[component.name] = component
        await component.start()
        self._watchers[component.name] = asyncio.ensure_future(self._watch(component))

    def fail(self, wrong: BaseException) -> None:
        """End the run: `failure` raises this. The first one counts."""
        if not self._failed.done():
            self._failed.set_exception(wrong)

    async def failure(self) -> None:
        """Wait for ever, unless the run must end: then raise UserMistake or RestartStorm."""
        await asyncio.shield(self._failed)

    async def stop(self, *names: str) -> dict[str, str]:
        """Stop these side by side. Returns those that did not end cleanly, with what happened."""
        present = [self._components[name] for name in names if name in self._components]
        self._stopping.update(c.name for c in present)
        endings = await asyncio.gather(*(c.stop() for c in present))
        for component in present:
            await self._forget(component.name)
        return {c.name: what for c, what in zip(present, endings, strict=True) if what is not None}

    async def kill_all(self) -> None:
        """End everything at once."""
        self._stopping.update(self._components)
        await asyncio.gather(*(c.kill() for c in self._components.values()), return_exceptions=True)
        for name in list(self._components):
            await self._forget(name)

    def close(self) -> None:
        """Forget the failure nobody waited for, end the watching of logs."""
        self._log_watch.cancel()
        if self._failed.done():
            self._failed.exception()
        else:
            self._failed.cancel()

    async def _forget(self, name: str) -> None:
        self._components.pop(name, None)
        watcher = self._watchers.pop(name, None)
        if watcher is not None:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher

    async def _watch(self, component: Component) -> None:
        deaths: deque[float] = deque()
        proven = False
        while True:
            began_s = time.monotonic()
            code = await component.wait()
            if component.name in self._stopping:
                return
            proven = proven or time.monotonic() - began_s >= self._policy.proven_s
            if code == USER_MISTAKE_CODE and not proven:
                self._give_up(component, UserMistake(component.last_words()))
                return
            # What a killed process said last has nothing to do with its end.
            reason = describe_exit(code) if code < 0 else f"{describe_exit(code)} ({component.last_words()})"
            if not await self._restart(component, deaths, reason):
                return

    async def _restart(self, component: Component, deaths: deque[float], reason: str) -> bool:
        policy = self._policy
        while component.name not in self._stopping:
            now = time.monotonic()
            deaths.append(now)
            while deaths[0] < now - policy.window_s:
                deaths.popleft()
            if len(deaths) > policy.restarts_max:
                storm = f"{component.name}: died {len(deaths)} times in {policy.window_s:.0f} s, last: {reason}"
                self._give_up(component, RestartStorm(storm))
                return False
            delay_s = policy.delay_s(len(deaths))
            self.restarts[component.name] = self.restarts.get(component.name, 0) + 1
            self._say(f"{component.name}: {reason}; restarting in {delay_s:g} s")
            await asyncio.sleep(delay_s)
            if component.name in self._stopping:
                return False
            try:
                await component.start()
            except (KalshiStreamsError, OSError) as wrong:
                # OSError: no room for its log, no process to be had. Without a further try it would stay down unsaid.
                reason = str(wrong)
                continue
            return True
        return False

    def _give_up(self, component: Component, wrong: KalshiStreamsError) -> None:
        if component.essential:
            self.fail(wrong)
            return
        self.down[component.name] = str(wrong)
        self._alarm(f"{component.name} stays down: {wrong}; the rest goes on")

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for component in list(self._components.values()):
                if isinstance(component, Child):
                    bound_log(component.log_file)
