"""`python -m venues.simulator`: runs until SIGTERM or SIGINT; says {"ready":true,"port":P} on stdout when listening."""

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from domain.errors import UserMistake
from venues.simulator.account import BUDGET_TOKENS_PER_S, Account
from venues.simulator.config import FaultSettings, SimConfig
from venues.simulator.server import serving

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    port: Annotated[int, typer.Option(help="0 = a free one")] = 0,
    source: Annotated[str, typer.Option(help="generator or capture")] = "",
    capture: Annotated[list[Path] | None, typer.Option(help="capture file; may be given several times")] = None,
    seed: int = 1,
    rate: Annotated[int, typer.Option(min=0, help="frames/s of the generator, 0 = its maximum")] = 200,
    strikes: Annotated[int, typer.Option(min=1, help="KXBTCD markets per hour")] = 12,
    frames: Annotated[int | None, typer.Option(help="finish after so many frames")] = None,
    start_ms: Annotated[int | None, typer.Option(help="fixed epoch: same seed, same frames")] = None,
    vintage: Annotated[str, typer.Option(help="wire vintage: a, b, c or mixed")] = "c",
    speed: Annotated[float, typer.Option(min=0, help="of a capture, 0 = as fast as it goes")] = 1.0,
    wait: Annotated[str, typer.Option(help="a capture starts when all its markets are subscribed, or any")] = "all",
    add_snapshots: Annotated[bool, typer.Option(help="a snapshot of our own on each subscription")] = False,
    public_key: Annotated[Path | None, typer.Option(help="PEM file; without it nobody is refused")] = None,
    key_id: Annotated[str | None, typer.Option(help="the only key id let in")] = None,
    clock_skew_s: int = 30,
    stamp_us: Annotated[bool, typer.Option(help="keep send times for GET /admin/sent")] = False,
    max_markets_per_sub: int = 1_000,
    ping_interval_s: float = 10.0,
    drop_every: int = 0,
    duplicate_every: int = 0,
    reorder_every: int = 0,
    garbage_every: int = 0,
    disconnect_every: int = 0,
    garbage_kind: Annotated[str, typer.Option(help="replace or extra")] = "replace",
    fault_channels: Annotated[str, typer.Option(help="comma separated; all sequenced ones by default")] = "",
    slow_frames_per_s: int = 0,
    unauthorized: bool = False,
    clean_tail_frames: int = 1_000,
    join_sid: Annotated[bool, typer.Option(help="a second subscribe to a channel joins its sid")] = False,
    account_rate: Annotated[float, typer.Option(min=0, help="the scripted trader's actions/s; 0 = none")] = 2.0,
    account_budget: Annotated[int, typer.Option(min=1, help="REST tokens/s of the account")] = BUDGET_TOKENS_PER_S,
) -> None:
    """A Kalshi and Coinbase on 127.0.0.1."""
    given: dict[str, Any] = dict(locals())
    faults = FaultSettings(
        channels=tuple(part for part in given.pop("fault_channels").split(",") if part),
        **{name: given.pop(name) for name in FaultSettings.__dataclass_fields__ if name in given},
    )
    captures = tuple(given.pop("capture") or ())
    trades_per_s, budget_per_s = given.pop("account_rate"), given.pop("account_budget")
    given["source"] = source or ("capture" if captures else "generator")
    config = SimConfig(captures=captures, faults=faults, **given)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        _check(config)
        uvloop.run(_run(config, Account(config, actions_per_s=trades_per_s, budget_per_s=budget_per_s)))
    except UserMistake as mistake:
        typer.echo(str(mistake), err=True)
        raise typer.Exit(2) from None


def _check(config: SimConfig) -> None:
    allowed = (
        ("--source", config.source, ("generator", "capture")),
        ("--vintage", config.vintage, ("a", "b", "c", "mixed")),
        ("--wait", config.wait, ("all", "any")),
        ("--garbage-kind", config.faults.garbage_kind, ("replace", "extra")),
    )
    for flag, value, values in allowed:
        if value not in values:
            raise UserMistake(f"{flag}: expected one of {', '.join(values)}, was {value!r}")
    if (config.source == "capture") != bool(config.captures):
        raise UserMistake("--source capture goes with --capture FILE, and only with it")


async def _run(config: SimConfig, account: Account) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    failed: list[BaseException] = []

    def on_exception(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        if "task of the simulator" in str(context.get("message")):
            failed.append(context["exception"])
            stop.set()

    loop.set_exception_handler(on_exception)
    async with serving(config, (account,)) as simulator:
        base = f"127.0.0.1:{simulator.port}"
        ready = {
            "ready": True,
            "port": simulator.port,
            "kalshi_ws_url": f"ws://{base}/trade-api/ws/v2",
            "kalshi_rest_url": f"http://{base}/trade-api/v2",
            "coinbase_ws_url": f"ws://{base}/coinbase",
            "markets": sorted(simulator.hub.markets),
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stop.wait()
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
