"""`kalshi-streams`: the commands. Each imports what it needs when it runs, so that help is quick.

A user mistake is one line on stderr and exit code 2, any other failure of ours that was foreseen one line and 1.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from domain.errors import KalshiStreamsError, UserMistake

if TYPE_CHECKING:
    from app.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Live Kalshi books on Kafka.",
)
stack = typer.Typer(no_args_is_help=True, help="The embedded engines alone.")
topics = typer.Typer(no_args_is_help=True, help="Create or verify the topics at BUS_URL.")
producer = typer.Typer(no_args_is_help=True, help="One producer process.")
app.add_typer(stack, name="stack")
app.add_typer(topics, name="topics")
app.add_typer(producer, name="producer")

DataDirOption = Annotated[Path | None, typer.Option(help="where everything lies (DATA_DIR, default ./data)")]


def main() -> None:
    """The console script."""
    try:
        app()
    except UserMistake as mistake:
        _end(mistake, 2)
    except KalshiStreamsError as failure:
        _end(failure, 1)


def _end(failure: KalshiStreamsError, code: int) -> None:
    line = " ".join(str(failure).split())
    sys.stderr.write(f"{line}\n")
    sys.exit(code)


def _settings(data_dir: Path | None = None, **more: Any) -> "Settings":
    from app.settings import load_settings

    return load_settings(**({"data_dir": data_dir} if data_dir is not None else {}), **more)


@app.command()
def up(
    feed: Annotated[str, typer.Option(help="sim, replay:PATH[,PATH], demo or prod")] = "sim",
    speed: Annotated[float, typer.Option(min=0, help="of a replay; 0: as fast as it goes")] = 1.0,
    rate: Annotated[int | None, typer.Option(min=0, help="frames/s of the simulator; 0: its maximum")] = None,
    seed: Annotated[int | None, typer.Option(help="of the simulator")] = None,
    duration: Annotated[float | None, typer.Option(min=0, help="stop after so many seconds")] = None,
    until_drained: Annotated[bool, typer.Option(help="end when a replay is wholly in every store")] = False,
    data_dir: DataDirOption = None,
    port_base: Annotated[int | None, typer.Option(min=1024, max=65_500, help="All ports in a row from here")] = None,
    simulator_option: Annotated[list[str] | None, typer.Option(help="passed on, for example --drop-every=500")] = None,
) -> None:
    """Start everything that is not configured away; stop it cleanly on Ctrl-C, SIGTERM or after --duration."""
    from ops.feed import parse_feed
    from ops.plan import UpOptions
    from ops.up import run_up

    chosen = parse_feed(feed)
    if until_drained and not chosen.finite:
        raise UserMistake(f"--until-drained: expected a feed with an end (replay:PATH), was {feed}")
    options = UpOptions(chosen, speed, rate, seed, duration, until_drained, port_base, tuple(simulator_option or ()))
    sys.exit(run_up(_settings(data_dir, kalshi_env=chosen.kalshi_env), options))


@app.command()
def replay(
    path: Annotated[str | None, typer.Argument(help="capture file, several with commas, or an archive folder")] = None,
    speed: Annotated[float, typer.Option(min=0, help="of a capture; 0: as fast as it goes")] = 1.0,
    data_dir: DataDirOption = None,
    until_drained: bool = False,
    from_parquet: Annotated[
        bool, typer.Option("--from-parquet", help="PATH is a Parquet archive (default: the data directory's own)")
    ] = False,
    topic: Annotated[list[str] | None, typer.Option(help="of the archive; default: all that producers wrote")] = None,
    append: Annotated[bool, typer.Option("--append", help="also onto topics that hold records")] = False,
    after_holes: Annotated[bool, typer.Option("--after-holes", help="begin after the last lost offset")] = False,
) -> None:
    """A recorded capture through the same pipeline (`up --feed replay:PATH`); or, with --from-parquet, the records of
    an archive back onto empty topics, byte for byte."""
    if not from_parquet:
        if path is None or topic or append or after_holes:
            raise UserMistake("replay: expected a capture's PATH, or --from-parquet (with --topic, --append, ..)")
        up(f"replay:{path}", speed, data_dir=data_dir, until_drained=until_drained)
        return
    from ops.replay_parquet import replay_archive

    settings = _settings(data_dir)
    archive = Path(path) if path else settings.parquet_dir or settings.data_dir / "parquet"
    print("\n".join(replay_archive(settings, archive, topic or (), append=append, after_holes=after_holes)))


@stack.command("start")
def stack_start(data_dir: DataDirOption = None) -> None:
    """Start Kafka and Postgres and leave them running."""
    import asyncio

    from ops.data_dir import DataDir
    from ops.display import Display
    from ops.stack import start_stack

    settings = _settings(data_dir)
    data = DataDir(settings.data_dir)
    data.prepare()
    endpoints = asyncio.run(start_stack(settings, data, Display()))
    print(f"BUS_URL={endpoints['bus_url']}\nPG_DSN={endpoints['pg_dsn']}")


@stack.command("stop")
def stack_stop(data_dir: DataDirOption = None) -> None:
    """Stop the engines of `stack start`, and whatever a killed run left."""
    from ops.data_dir import DataDir
    from ops.stack import stop_stack

    data = DataDir(_settings(data_dir).data_dir)
    data.prepare()
    print("\n".join(f"ended {line}" for line in stop_stack(data)) or "nothing was running")


@stack.command("status")
def stack_status(data_dir: DataDirOption = None) -> None:
    """What runs for this data directory; exit 1 when nothing does."""
    from ops.data_dir import DataDir

    data = DataDir(_settings(data_dir).data_dir)
    children = data.children()
    for pid, component in sorted(children.items(), key=lambda item: item[1]):
        print(f"{component:<20} pid {pid}")
    for name, address in data.read_endpoints().items() if children else ():
        if address:
            print(f"{name:<20} {address}")
    if not children:
        print("nothing is running")
        sys.exit(1)


@topics.command("apply")
def topics_apply() -> None:
    """Create what is missing, set what differs."""
    import asyncio

    from app.bus import aiokafka_options
    from ops.topics import apply_topics

    settings = _settings()
    report = asyncio.run(apply_topics(aiokafka_options(settings), settings))
    for word, names in (("created", report.created), ("changed", report.changed)):
        for name in names:
            print(f"{word} {name}")
    if not report.created and not report.changed:
        print("as declared")


@topics.command("check")
def topics_check() -> None:
    """Say what is missing or different; exit 1 then."""
    import asyncio

    from app.bus import aiokafka_options
    from ops.topics import check_topics

    settings = _settings()
    report = asyncio.run(check_topics(aiokafka_options(settings), settings))
    for line in [f"missing {name}" for name in report.missing] + report.differing:
        print(line)
    if not report.clean:
        sys.exit(1)
    print("as declared")


@app.command()
def migrate(check: Annotated[bool, typer.Option(help="only say what would run; exit 1 then")] = False) -> None:
    """Numbered SQL migrations of the Postgres at PG_DSN and of the ClickHouse server at CLICKHOUSE_URL."""
    from ops.migrate_stores import migrate_stores

    ran = migrate_stores(_settings(), check)
    for line in ran:
        print(f"{'pending' if check else 'applied'} {line}")
    if check and ran:
        sys.exit(1)
    if not ran:
        print("up to date")


@producer.command("market")
def producer_market() -> None:
    """Order books and trades from the venue that KALSHI_ENV picks, to Kafka."""
    _run_producer("market")


@producer.command("account")
def producer_account() -> None:
    """Fills, orders, positions and settlements of the account, pushed and polled, to Kafka."""
    _run_producer("account")


@app.command()
def record(data_dir: DataDirOption = None) -> None:
    """Raw frames of the venue to capture files, without Kafka."""
    _run_async("producers.record", settings=_beside_up(data_dir))


@app.command()
def watch(
    ticker: Annotated[str, typer.Option(help="market ticker")],
    compact: Annotated[bool, typer.Option(help="one short line per frame")] = False,
    rate: Annotated[float, typer.Option(min=0, help="lines per second at most; 0: all")] = 0.0,
    data_dir: DataDirOption = None,
) -> None:
    """Live wire viewer: `[SUB]`, `[SNAP]`, then deltas. Writes nothing."""
    _run_async("producers.watch", ticker, compact, rate, settings=_beside_up(data_dir))


def _beside_up(data_dir: Path | None) -> "Settings":
    """The settings; where they name no venue, the simulator of a running `up`, whose port and key are of that run."""
    from pydantic import SecretStr

    from ops.data_dir import DataDir

    settings = _settings(data_dir)
    data = DataDir(settings.data_dir)
    url = data.read_endpoints().get("kalshi_ws_url")
    if settings.kalshi_env != "sim" or settings.kalshi_ws_url is not None or not url:
        return settings
    key = {"sim_keyid": SecretStr("simulator"), "sim_keyfile": data / "run" / "simulator-private.pem"}
    return settings.model_copy(update={"kalshi_ws_url": url, **key})


def _run_producer(name: str) -> None:
    from app.logs import log_lines

    settings = _settings()
    log_lines(f"producer-{name}", settings.log_level, settings.log_format)
    _run_async(f"producers.{name}", settings=settings)


def _run_async(module: str, *arguments: Any, settings: "Settings | None" = None) -> None:
    import importlib

    import uvloop

    # A third more frames a second from the socket than with the standard loop.
    uvloop.run(importlib.import_module(module).run(settings or _settings(), *arguments))


qa = typer.Typer(no_args_is_help=True, help="Checks of what the stores hold; exit 0 clean, 2 findings, 1 unclear.")
app.add_typer(qa, name="qa")


@qa.command("books")
def qa_books(data_dir: DataDirOption = None) -> None:
    """Events against levels against tables, per market."""
    from ops.qa import books

    settings = _settings(data_dir)
    sys.exit(books(settings, settings.data_dir))


@qa.command("fills")
def qa_fills(data_dir: DataDirOption = None) -> None:
    """Stored fills: each once, at its own time, with its own price; ClickHouse, Postgres and the venue agree."""
    from ops.qa import fills

    settings = _settings(data_dir)
    sys.exit(fills(settings, settings.data_dir))


if __name__ == "__main__":
    main()
