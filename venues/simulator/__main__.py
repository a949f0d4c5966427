"""`python -m venues.simulator`: runs until SIGTERM or SIGINT; says {"ready":true,"port":P} on stdout when listening."""

import asyncio
import inspect
import json
import logging
import signal
import sys
import time
from typing import Any

import typer
import uvloop

from domain.errors import UserMistake
from venues.simulator.account import Account
from venues.simulator.config import SimConfig
from venues.simulator.options import config_of, options
from venues.simulator.server import serving

#: As `app.logs` writes them; the simulator stands below it and is no part of a real desk.
LOG_LINE = "%(asctime)s.%(msecs)03dZ %(levelname)s simulator %(message)s"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def main(**given: Any) -> None:
    """A Kalshi and Coinbase on 127.0.0.1."""
    try:
        config = config_of(given)
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=LOG_LINE, datefmt="%Y-%m-%dT%H:%M:%S")
        logging.Formatter.converter = time.gmtime
        uvloop.run(_run(config, Account(config)))
    except UserMistake as mistake:
        typer.echo(str(mistake), err=True)
        raise typer.Exit(2) from None


main.__signature__ = inspect.Signature(list(options()))  # type: ignore[attr-defined]  # typer reads the options there
app.command()(main)


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
        if config.admin_token_file is None:
            ready["admin_token"] = simulator.admin_token
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stop.wait()
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
