"""`up`: engines, topics, migrations, feed, producer, workers; watched while they run, stopped in order.

Reads settings and the command line; writes `<data dir>/run/endpoints.json`, logs, and what its children write.
"""

import asyncio
import signal
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from aiokafka.errors import KafkaError

from app.bus import BusConfig, aiokafka_options
from app.settings import Settings
from app.topics import GROUP_STATE
from domain.errors import KalshiStreamsError
from ops.child import Child, in_thread
from ops.data_dir import DataDir
from ops.display import Display, missing_line, readiness_text
from ops.drain import Baseline, Drain, count_books, let_sinks_take, summary
from ops.engines import EngineFailed
from ops.http_json import Pages
from ops.offsets import LogEnds, committed_offsets, offsets_text
from ops.plan import ACCOUNT, PRODUCER, SIMULATOR, STATE, Plan, UpOptions, choose_ports, make_simulator_keys
from ops.polling import side_by_side, until
from ops.stack import Engines, check_external, fetch_jars, make_engines, refuse_running_stack
from ops.supervisor import RestartPolicy, Supervisor
from ops.topics import apply_topics
from schemas.registry import TOPICS

READY_S_MAX = 60.0  # after that `up` goes on and says what is not ready and why: a venue may be away for hours
OPTIONAL_READY_S_MAX = 15.0  # what is not essential holds up nobody: three polls of the account
SIMULATOR_S_MAX = 60.0  # it loads a capture before it listens
READY_LOOK_S = 0.2


class Interrupted(Exception):
    """Ctrl-C or SIGTERM: stop in order, exit 0."""


def run_up(settings: Settings, options: UpOptions) -> int:
    """Run until told to stop. Returns the exit code: 0 all stopped cleanly, 1 otherwise.

    Raises:
        UserMistake: before or while it runs; everything is stopped by then.
        KalshiStreamsError: an engine that does not start, a restart storm, a feed that could not be drained.
    """
    data = DataDir(settings.data_dir)
    data.prepare()
    data.lock("up")
    try:
        refuse_running_stack(data)
        return asyncio.run(Up(settings, options, data).run())
    finally:
        data.unlock()


class Up:
    """One run of `up`; every method belongs to its event loop."""

    def __init__(self, settings: Settings, options: UpOptions, data: DataDir) -> None:
        self.settings = settings
        self.data = data
        self.display = Display()
        self.plan = Plan(settings, options, data, choose_ports(settings, options.port_base))
        self.engines: Engines = make_engines(settings, data, self.plan.ports.kafka)
        self.bus: BusConfig = {}
        self.unclean: list[str] = []
        #: Components that were not ready in time, with the reason.
        self.missing: dict[str, str] = {}
        self._interrupted = asyncio.Event()
        self._forced = asyncio.Event()

    async def run(self) -> int:
        """Start, watch, stop. Exit code as `run_up`."""
        # SIGHUP: the terminal was closed; without us the children would run on with nobody to watch them.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        policy = RestartPolicy(self.settings.restarts_max, float(self.settings.restart_window_s))
        self.supervisor = Supervisor(self.display.say, policy, self.display.alarm)
        wrong: BaseException | None = None
        async with Pages() as self.pages:
            try:
                await self._guarded(self._start())
                await self._guarded(self._work())
            except Interrupted:
                pass
            except KalshiStreamsError as ended:
                wrong = ended
            except (KafkaError, OSError) as failure:
                # A disk that is full, a broker that died between two questions: one line, not our traceback.
                wrong = EngineFailed(f"{type(failure).__name__}: {failure}")
            finally:
                await self._stop_or_force()
        self.supervisor.close()
        if wrong is not None:
            raise wrong
        return 1 if self.unclean or self.supervisor.down else 0

    def _on_signal(self) -> None:
        if self._interrupted.is_set():
            self._forced.set()
        self._interrupted.set()

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work unless a signal or a failed component ends it first."""
        task = asyncio.ensure_future(work)
        interrupted = asyncio.ensure_future(self._interrupted.wait())
        failed = asyncio.ensure_future(self.supervisor.failure())
        try:
            await asyncio.wait({task, interrupted, failed}, return_when=asyncio.FIRST_COMPLETED)
            if interrupted.done():
                raise Interrupted
            await (failed if failed.done() else task)
        finally:
            for other in (task, interrupted, failed):
                other.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await other

    # --- start ---

    async def _start(self) -> None:
        with self.display:
            for line in await in_thread(self.data.end_leftovers):
                self.display.say(f"ended what an earlier run left: {line}")
            await check_external(self.settings)
            await side_by_side(self._start_kafka(), self._start_postgres(), self._start_simulator())
            resumed = await committed_offsets(self.bus, GROUP_STATE)
            async with LogEnds(self.bus) as logs:
                self.baseline = Baseline(await logs.ends([topic.name for topic in TOPICS]))
            self.data.write_endpoints(self.plan.endpoints())
            children = [self.plan.worker(STATE), self.plan.producer(), *map(self.plan.worker, self.plan.sinks)]
            if self.plan.has_account:
                children.append(self.plan.account_producer())
            self._fed_since = time.monotonic()
            for child in children:
                self.display.step(child.name, "starting")
                await self.supervisor.start(child)
            await side_by_side(*(self._wait_ready(child) for child in children))
        self._say_addresses()
        ready = [c.name for c in children if c.name not in self.missing and c.name not in self.supervisor.down]
        for name, why in self.missing.items():
            self.display.alarm(missing_line(name, why, ready, self.data.log_file(name)))
        if resumed:
            self.display.say(f"state resumed from {offsets_text(resumed)}")

    async def _start_kafka(self) -> None:
        if self.engines.kafka is not None:
            await fetch_jars(self.engines, self.display)
            await self._start_engine("kafka")
            self.plan.bus_url = self.engines.kafka.bus_url  # it moves when its port was taken in the meantime
        bound = self.settings.model_copy(update={"bus_url": self.plan.bus_url})
        self.bus = aiokafka_options(bound)
        report = await apply_topics(self.bus, bound)
        text = f"{len(report.created)} created, {len(report.changed)} changed"
        self.display.step("topics", text if report.created or report.changed else "as declared", done=True)

    async def _start_postgres(self) -> None:
        from ops.migrate import migrate_postgres

        if self.engines.postgres is not None:
            self.display.step("postgres", "starting")
            await self._start_engine("postgres")
            self.plan.pg_dsn = self.engines.postgres.dsn
        dsn = self.plan.pg_dsn
        ran = await in_thread(lambda: migrate_postgres(dsn))
        self.display.step("migrations", f"{len(ran)} applied" if ran else "up to date", done=True)

    async def _start_engine(self, name: str) -> None:
        began = time.monotonic()
        (component,) = (c for c in self.engines.components() if c.name == name)
        try:
            await self.supervisor.start(component)
        except EngineFailed:
            # Once more: a machine under load.
            await component.kill()
            await self.supervisor.start(component)
        self.display.step(name, f"ready in {time.monotonic() - began:.1f} s", done=True)

    async def _start_simulator(self) -> None:
        if not self.plan.options.feed.simulated:
            return
        self.display.step(SIMULATOR, "starting")
        await in_thread(lambda: make_simulator_keys(self.data / "run"))
        await self.supervisor.start(self.plan.simulator())
        url = f"{self.plan.url(SIMULATOR)}/admin"

        async def listening() -> bool:
            return await self.pages.get(f"{url}/status") is not None

        if not await until(listening, SIMULATOR_S_MAX):
            raise EngineFailed(f"simulator: no answer in {SIMULATOR_S_MAX:.0f} s; see {self.data.log_file(SIMULATOR)}")
        if self.plan.options.feed.kind == "replay" and not self.plan.tickers:
            books = await self.pages.get(f"{url}/books")
            self.plan.tickers = ",".join(sorted(books[1])) if books else ""
        self.display.step(SIMULATOR, "serving", done=True)

    async def _wait_ready(self, child: Child) -> None:
        url = f"{self.plan.url(child.name)}/readyz"

        answer: tuple[int, dict[str, Any]] | None = None

        async def ready() -> bool:
            nonlocal answer
            if child.name in self.supervisor.down:
                return True
            answer = await self.pages.get(url)
            if answer is None:
                return False
            self.display.step(child.name, *readiness_text(answer, self.display.elapsed_s))
            return answer[0] == 200

        if not await until(ready, READY_S_MAX if child.essential else OPTIONAL_READY_S_MAX, READY_LOOK_S):
            why = (answer[1].get("reasons") or ["no reason given"])[0] if answer is not None else "no answer"
            self.missing[child.name] = str(why)
            self.display.step(child.name, f"not ready: {why}")

    def _say_addresses(self) -> None:
        plan, say = self.plan, self.display.say
        say(f"kafka            {plan.bus_url}")
        if self.engines.postgres is not None:
            say(f"postgres         {plan.pg_dsn}")
        simulator = [SIMULATOR] if plan.options.feed.simulated else []
        account = [ACCOUNT] if plan.has_account else []
        for name in [*simulator, PRODUCER, *account, *plan.workers]:
            say(f"{name:<16} {plan.url(name)}")
        if (url := plan.endpoints()["clickhouse_url"]) is not None:
            say(f"clickhouse       {url}")
        say(f"parquet          {plan.parquet_dir}")
        say(f"up after {self.display.elapsed_s:.1f} s; data, logs and addresses in {self.data.root}; Ctrl-C stops")

    # --- work ---

    async def _work(self) -> None:
        options = self.plan.options
        if options.until_drained:
            await self._drain()
        elif options.duration_s is not None:
            await asyncio.sleep(options.duration_s)
        else:
            await asyncio.Event().wait()

    async def _drain(self) -> None:
        drain = Drain(self.plan, self.bus, self.pages)
        work = drain.wait()
        if (limit_s := self.plan.options.duration_s) is None:
            await work
        else:
            try:
                await asyncio.wait_for(work, limit_s)
            except TimeoutError:
                raise EngineFailed(f"--until-drained: not drained in {limit_s:g} s; lag {drain.lag}") from None
        seconds = time.monotonic() - self._fed_since
        books = await count_books(self.pages, self.plan)
        await self._stop_children()
        async with LogEnds(self.bus) as logs:
            await drain.check_final(logs)
            for line in await summary(drain, self.baseline, logs, books, seconds):
                self.display.say(line)

    # --- stop ---

    async def _stop_or_force(self) -> None:
        stop = asyncio.ensure_future(self._stop())
        forced = asyncio.ensure_future(self._forced.wait())
        await asyncio.wait({stop, forced}, return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        if stop.done():
            await stop
            return
        stop.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await stop
        self.display.say("forced: ending everything at once")
        await self.supervisor.kill_all()
        self.unclean.append("forced")

    async def _stop(self) -> None:
        """Producer, its venue, state, sinks, engines: each only when nothing writes to it any more."""
        self.display.say("stopping")
        await self._stop_children()
        await self._stop_some("kafka", "postgres")
        self.data.endpoints_file.unlink(missing_ok=True)
        for name, reason in self.supervisor.down.items():
            self.display.alarm(f"{name} was down: {reason}; see {self.data.log_file(name)}")
        self.display.say("stopped" if not self.unclean else f"stopped, not cleanly: {', '.join(self.unclean)}")

    async def _stop_children(self) -> None:
        for names in ((PRODUCER, ACCOUNT), (SIMULATOR,), (STATE,)):
            await self._stop_some(*names)
        await let_sinks_take(self.pages, self.plan, self.bus)
        await self._stop_some(*self.plan.sinks)

    async def _stop_some(self, *names: str) -> None:
        for name, what in (await self.supervisor.stop(*names)).items():
            self.unclean.append(name)
            self.display.say(f"{name}: {what}; see {self.data.log_file(name)}")
