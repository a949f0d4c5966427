"""A running `up --feed sim` whose account trades only when told, and what each store says of that account.

Everything is compared with the simulator's own ledger (GET /admin/account): fills one by one, money to the integer.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from account_stores import AccountStores, Fills, get, true_fills, true_orders, true_positions

from ops.data_dir import DataDir
from ops.plan import SIMULATOR_ADMIN_FILE, UP_PORTS
from ops.ports import free_port_base
from ops.stack import stop_stack
from venues.simulator.admin import ADMIN_HEADER

DEADLINE_S = 150.0


class AccountStack:
    """`up` and its addresses."""

    def __init__(self, data: Path, up: "subprocess.Popen[bytes]", log: Path) -> None:
        self.data, self.up, self.log = data, up, log
        self.urls: dict[str, str] = json.loads((data / "run" / "endpoints.json").read_text())
        self.stores = AccountStores(data, self.urls)

    # --- the venue ---

    def trade(self, actions: int, **more: Any) -> int:
        """So many steps of the scripted trader; how many fills there are now."""
        done = self._command("account/trade", {"actions": actions, **more})
        return int(done["fills"])

    def strike(self, **faults: Any) -> None:
        """Set faults of the account's answers and frames; the others stay."""
        assert self._command("account/faults", faults) is not None

    def sever(self) -> None:
        """End every WebSocket of the venue."""
        assert self._command("faults", {"disconnect": 1})

    def _command(self, what: str, body: dict[str, Any]) -> Any:
        token = (self.data / "run" / SIMULATOR_ADMIN_FILE).read_text()
        return get(f"{self.urls['simulator_url']}/admin/{what}", body, {ADMIN_HEADER: token})

    def truth(self) -> dict[str, Any]:
        """The ledger."""
        truth: dict[str, Any] = get(f"{self.urls['simulator_url']}/admin/account")
        return truth

    # --- the processes ---

    def pids(self, component: str) -> list[int]:
        """Live processes of that name."""
        return [pid for pid, name in DataDir(self.data).children().items() if name == component]

    def kill(self, component: str) -> int:
        """kill -9; how many were there."""
        hit = 0
        for pid in self.pids(component):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                hit += 1
        return hit

    @contextmanager
    def down(self, component: str) -> Iterator[None]:
        """The component is killed and stays away: `up`, which would restart it, stands still meanwhile."""
        self.up.send_signal(signal.SIGSTOP)
        try:
            assert self.kill(component) == 1
            yield
        finally:
            self.up.send_signal(signal.SIGCONT)

    def account_status(self) -> dict[str, Any]:
        """/status of producer account, empty while it does not answer."""
        return get(f"{self.urls['producer_account_url']}/status") or {}

    def stop(self) -> None:
        """A clean stop, which must succeed."""
        self.up.send_signal(signal.SIGTERM)
        assert self.up.wait(90) == 0, self.log.read_text()

    # --- comparing ---

    def assert_all_stores_equal(self, truth: dict[str, Any], *, synthetic: bool = False) -> None:
        """Every store reaches the truth. `synthetic`: fills that came without an id are there, and ClickHouse shows
        them under the id that we gave them."""
        wanted, fills, orders = true_positions(truth), true_fills(truth), true_orders(truth)
        live = sorted((order[0], f"{order[4] / 100:.2f}") for order in truth["resting"])
        stores = self.stores
        until_equal(stores.worker_positions, wanted)
        until_equal(stores.worker_live_orders, live)
        for read in (stores.postgres_positions, stores.clickhouse_positions, stores.parquet_positions):
            until_equal(read, wanted)
        for read_fills in (stores.postgres_fills, stores.parquet_fills):
            until_equal(read_fills, fills)
        if synthetic:
            until_equal(stores.clickhouse_fills, without_ids(fills), without_ids)
        else:
            until_equal(stores.clickhouse_fills, fills)
        for read_orders in (stores.postgres_orders, stores.parquet_orders):
            until_equal(read_orders, orders)

    def assert_checks_clean(self) -> None:
        """`qa books` and `qa fills` beside the running stack: no finding, and nothing that they could not look at."""
        for check, *looked_at in (("books", "book pages"), ("fills", "clickhouse: uniq", "postgres: uniq", "volume: ")):
            command = [sys.executable, "-m", "ops.cli", "qa", check, "--data-dir", str(self.data)]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=DEADLINE_S)
            assert done.returncode == 0, done.stdout + done.stderr
            for words in looked_at:
                assert words in done.stdout, done.stdout

    def assert_tables_equal(self, truth: dict[str, Any]) -> None:
        """The worker's own tables, read from its disk. Only after `stop`."""
        assert self.stores.table_fills() == true_fills(truth)
        assert self.stores.table_orders() == true_orders(truth)
        assert self.stores.table_positions() == true_positions(truth)


@contextmanager
def running_account(tmp_path: Path, *options: str, **settings: str) -> Iterator[AccountStack]:
    """`up --feed sim` with these simulator options and settings. Ends what it started, whatever happened."""
    data, log = tmp_path / "data", tmp_path / "up.log"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BUS_", "PG_", "KALSHI_", "MARKET_"))}
    # Long: a killed worker comes back as itself at once, and a busy machine must not make one of a slow one.
    clean |= {"SESSION_TIMEOUT_S": "20", "KALSHI_TIER": "prime", "PARQUET_ROTATE_AGE_S": "2", **settings}
    command = [sys.executable, "-m", "ops.cli", "up", "--feed", "sim", "--rate", "50", "--data-dir", str(data)]
    # The default ports would be somebody else's where two stacks start side by side.
    command += ["--port-base", str(free_port_base(UP_PORTS))]
    command += [f"--simulator-option={option}" for option in ("--account-rate=0", "--account-vintage=mixed", *options)]
    with log.open("wb") as out:
        up = subprocess.Popen(command, stdout=out, stderr=out, env=clean)
    try:
        until(lambda: up.poll() is None and "Ctrl-C stops" in log.read_text(), log.read_text)
        yield AccountStack(data, up, log)
        if up.poll() is None:
            up.send_signal(signal.SIGTERM)
        assert up.wait(90) == 0, log.read_text()
    finally:
        if up.poll() is None:
            up.kill()
            up.wait()
        stop_stack(DataDir(data))


def until(done: Callable[[], bool], say: Callable[[], str], deadline_s: float = DEADLINE_S) -> None:
    """Poll until it is so; at the deadline fail with what `say` says."""
    end = time.monotonic() + deadline_s
    while not done():
        assert time.monotonic() < end, say()
        time.sleep(0.1)


def until_equal(read: Callable[[], Any], wanted: Any, seen_as: Callable[[Any], Any] = lambda found: found) -> None:
    """Read until it equals; at the deadline fail with the difference."""
    end = time.monotonic() + DEADLINE_S
    while (found := seen_as(read())) != wanted:
        if time.monotonic() > end:
            assert found == wanted, read.__name__
        time.sleep(0.2)


def without_ids(fills: Fills | None) -> Fills | None:
    """For fills that may bear an id of our own; two fills under one id are an error here."""
    if fills is None:
        return None
    assert len({fill[0] for fill in fills}) == len(fills), "a fill id stands twice"
    return sorted(fill[1:] for fill in fills)
