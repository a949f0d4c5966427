"""The whole account, real engines: workers killed while it trades, and every store equal to the simulator's truth."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ops.data_dir import DataDir
from ops.ports import free_ports
from ops.stack import stop_stack

pytestmark = pytest.mark.engines
DEADLINE_S = 150.0
#: Actions of the scripted trader in one step, and steps: 200 fills a second for some seconds.
ACTIONS, STEPS = 20, 60
KILLED = {15: ("state",), 30: ("sink-postgres", "sink-clickhouse"), 45: ("state", "sink-parquet")}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A running `up --feed sim` whose account trades only when told; its addresses."""
    data, log = tmp_path / "data", tmp_path / "up.log"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BUS_", "PG_", "KALSHI_", "MARKET_"))}
    clean |= {"ACCOUNT_POLL_INTERVAL_S": "2", "SESSION_TIMEOUT_S": "6", "KALSHI_TIER": "prime"}
    command = [sys.executable, "-m", "ops.cli", "up", "--feed", "sim", "--rate", "50", "--data-dir", str(data)]
    command += ["--port-base", str(_port_base()), "--simulator-option=--account-rate=0"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=clean)
    try:
        _until(lambda: process.poll() is None and "Ctrl-C stops" in log.read_text(), log.read_text)
        yield json.loads((data / "run" / "endpoints.json").read_text()) | {"data": str(data)}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        stop_stack(DataDir(data))


def _port_base() -> int:
    return free_ports(1)[0] % 30_000 + 20_000


def _until(done: Callable[[], bool], say: Callable[[], str]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < end, say()
        time.sleep(0.1)


def get(url: str, body: Any = None) -> Any:
    """The JSON answer, None while there is none."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=5) as answer:
            return json.loads(answer.read())
    except (OSError, urllib.error.HTTPError):
        return None


def clickhouse(desk: dict[str, str], sql: str) -> list[list[Any]]:
    """Rows of a query."""
    request = urllib.request.Request(f"{desk['clickhouse_url']}/?default_format=JSONCompact", sql.encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        rows: list[list[Any]] = json.loads(answer.read())["data"]
        return rows


def truth_positions(truth: dict[str, Any]) -> dict[str, tuple[Decimal, ...]]:
    """market -> contracts, money in and out (with what settlement paid), fees."""
    return {
        ticker: (Decimal(p["net_e2"]) / 100, Decimal(p["cash_e6"]) / 10**6, Decimal(p["fees_e6"]) / 10**6)
        for ticker, p in truth["positions"].items()
    }


def compared(rows: Any) -> dict[str, tuple[Decimal, ...]]:
    """The same of (market, contracts, cost, realized, fees)."""
    return {
        ticker: (Decimal(str(n)), Decimal(str(realized)) - Decimal(str(cost)), Decimal(str(fees)))
        for ticker, n, cost, realized, fees in rows
    }


@pytest.mark.timeout(400)
def test_workers_killed_while_the_account_trades_leave_every_store_right(desk: dict[str, str]) -> None:
    """State worker and sinks die by kill -9; positions, fills and orders are the account's own, to the last integer."""
    simulator, state = desk["simulator_url"], desk["state_url"]
    for step in range(STEPS):
        assert get(f"{simulator}/admin/account/trade", {"actions": ACTIONS})
        for component in KILLED.get(step, ()):
            _kill(desk, component)
        time.sleep(0.1)  # the pace of the trading, not a wait for anything
    truth = get(f"{simulator}/admin/account")
    assert len(truth["fills"]) > 500
    wanted = truth_positions(truth)

    _until(lambda: state_positions(state) == wanted, lambda: f"{state_positions(state)}\n{wanted}")
    live = {row["order_id"]: row["remaining_size"] for row in get(f"{state}/orders")}
    assert live == {order[0]: f"{Decimal(order[4]) / 100:.2f}" for order in truth["resting"]}
    assert get(f"{state}/fills/stats")["remembered"] >= 0

    _until(lambda: postgres_positions(desk) == wanted, lambda: f"{postgres_positions(desk)}\n{wanted}")
    _until(lambda: clickhouse_positions(desk) == wanted, lambda: f"{clickhouse_positions(desk)}\n{wanted}")
    fills = sorted(
        (f[0], f[1], f[2], f[3], f[4], f"{f[5] / 10_000:.4f}", f"{f[6] / 100:.2f}", f[8] // 1_000)
        for f in truth["fills"]
    )
    assert clickhouse_fills(desk) == fills
    assert postgres_fills(desk) == fills


def _kill(desk: dict[str, str], component: str) -> None:
    children = DataDir(Path(desk["data"])).children()
    for pid, name in children.items():
        if name == component:
            os.kill(pid, signal.SIGKILL)


def state_positions(url: str) -> dict[str, tuple[Decimal, ...]] | None:
    """From the worker's page."""
    rows = get(f"{url}/positions")
    if rows is None:
        return None
    return compared(
        (r["market_ticker"], r["pos_filled"], r["cost"], r["realized_pnl"], r["fees"]) for r in rows if r["fills"]
    )


def postgres_positions(desk: dict[str, str]) -> dict[str, tuple[Decimal, ...]]:
    """From state_positions."""
    with psycopg.connect(desk["pg_dsn"]) as connection:
        return compared(
            connection.execute(
                "select market_ticker, pos_filled, cost, realized_pnl, fees from state_positions where fills > 0"
            )
        )


def clickhouse_positions(desk: dict[str, str]) -> dict[str, tuple[Decimal, ...]]:
    """The newest revision of each market in mm_positions."""
    return compared(
        clickhouse(
            desk,
            "select market_ticker, toString(argMax(pos_filled, revision)), toString(argMax(cost, revision)), "
            "toString(argMax(realized_pnl, revision)), toString(argMax(fees, revision)) "
            "from kalshi.mm_positions group by 1 having max(fills) > 0",
        )
    )


def clickhouse_fills(desk: dict[str, str]) -> list[tuple[Any, ...]]:
    """Every fill of mm_fills as (id, market, order, side, action, price, size, ms)."""
    rows = clickhouse(
        desk,
        "select fill_id, market_ticker, exchange_order_id, side, action, toString(price), toString(size), "
        "toString(toUnixTimestamp64Milli(ts)) from kalshi.mm_fills where is_valid",
    )
    return sorted((*r[:5], f"{Decimal(r[5]):.4f}", f"{Decimal(r[6]):.2f}", int(r[7])) for r in rows)


def postgres_fills(desk: dict[str, str]) -> list[tuple[Any, ...]]:
    """The newest revision of every fill of events_fills."""
    with psycopg.connect(desk["pg_dsn"]) as connection:
        rows = connection.execute(
            "select distinct on (fill_id) fill_id, market_ticker, order_id, side, action, price, size, "
            "(extract(epoch from fill_ts) * 1000)::bigint from events_fills order by fill_id, revision desc"
        ).fetchall()
    return sorted((*r[:5], f"{r[5]:.4f}", f"{r[6]:.2f}", r[7]) for r in rows)
