"""`kalshi-streams record`: the venue's raw frames to capture files, without Kafka and without translation."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
from websockets.exceptions import InvalidStatus, InvalidURI, WebSocketException

from app.settings import Settings
from domain.errors import UserMistake
from producers.backoff import Backoff
from producers.connection import FrameConnection, OnFrame, open_connection
from producers.feed import UNAUTHORIZED
from producers.market import make_recorder, stop_on_signals, venue_signer, websocket_url
from producers.recorder import Recorder
from producers.sids import BOOK, TRADE
from venues.kalshi.addresses import REST_URLS
from venues.kalshi.auth import RequestSigner
from venues.kalshi.rest import KalshiRest

log = logging.getLogger(__name__)

REPORT_S = 10.0
_decode = msgspec.json.Decoder(dict).decode


async def run(settings: Settings, stop: asyncio.Event | None = None) -> None:
    """Record MARKET_TICKERS, or what the series and events list as open at the start, until SIGTERM or SIGINT.

    Raises:
        UserMistake: wrong key, folder or address, or nothing to record.
    """
    signer = venue_signer(settings)
    stop = stop or stop_on_signals()
    tickers = await _tickers(settings, signer)
    recorder = make_recorder(settings)
    try:
        recorder.start()
    except OSError as wrong:
        raise UserMistake(f"{settings.data_dir / 'raw'}: {wrong.strerror}") from None
    reporting = asyncio.create_task(_report(recorder))
    try:
        await _record(settings, signer, tickers, recorder, stop)
    finally:
        reporting.cancel()
        await asyncio.to_thread(recorder.stop)
        log.info("recorded %d frames, dropped %d", recorder.frames_written, recorder.frames_dropped)


async def _record(
    settings: Settings, signer: RequestSigner | None, tickers: Sequence[str], recorder: Recorder, stop: asyncio.Event
) -> None:
    backoff = Backoff()

    def on_frame(data: bytes, is_text: bool, received_ns: int) -> None:
        recorder.put(received_ns, data, is_text, is_text and _is_json(data))

    while not stop.is_set():
        written = recorder.frames_written
        try:
            async with venue_connection(settings, signer, on_frame) as connection:
                for command in subscribe_commands(tickers, settings.markets_per_subscription):
                    await connection.send(command)
                await _until_over(connection, stop, settings.ws_silence_timeout_s)
            backoff.session_ended(is_good=recorder.frames_written > written)
        except (OSError, TimeoutError, WebSocketException) as wrong:
            log.warning("venue: %s %s", type(wrong).__name__, wrong)
        if not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), backoff.next_pause_s())


@asynccontextmanager
async def venue_connection(
    settings: Settings, signer: RequestSigner | None, on_frame: OnFrame
) -> AsyncIterator[FrameConnection]:
    """A connection with fresh headers, closed at the end. Raises UserMistake where trying again cannot help."""
    url = websocket_url(settings)
    headers = signer.headers("GET", url, time.time_ns() // 1_000_000) if signer else {}
    try:
        connection = await open_connection(url, headers, on_frame)
    except InvalidStatus as refused:
        status = refused.response.status_code
        if status in UNAUTHORIZED:
            raise UserMistake(
                f"the venue answers {status}: expected a valid key id, its key file, and this machine's clock right"
            ) from None
        raise
    except InvalidURI:
        raise UserMistake(f"KALSHI_WS_URL: expected ws://host or wss://host, was {url!r}") from None
    try:
        yield connection
    finally:
        await connection.close()


def subscribe_commands(tickers: Sequence[str], group_size: int) -> list[str]:
    """The subscribe frames for these markets, in bounded groups."""
    commands = []
    for n, start in enumerate(range(0, len(tickers), group_size), 1):
        params = {
            "channels": [BOOK, TRADE],
            "market_tickers": list(tickers[start : start + group_size]),
            "use_yes_price": False,
        }
        commands.append(msgspec.json.encode({"id": n, "cmd": "subscribe", "params": params}).decode())
    return commands


async def _until_over(connection: FrameConnection, stop: asyncio.Event, silence_timeout_s: float) -> None:
    closed = asyncio.ensure_future(connection.wait_closed())
    stopped = asyncio.ensure_future(stop.wait())
    try:
        while not closed.done() and not stopped.done() and connection.silent_s() < silence_timeout_s:
            await asyncio.wait((closed, stopped), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
    finally:
        closed.cancel()
        stopped.cancel()
        await asyncio.gather(closed, stopped, return_exceptions=True)


async def _tickers(settings: Settings, signer: RequestSigner | None) -> list[str]:
    if settings.market_tickers:
        return list(settings.market_tickers)
    found: dict[str, None] = {}
    filters = [{"series_ticker": s} for s in settings.market_series]
    filters += [{"event_ticker": e} for e in settings.market_events]
    async with KalshiRest(settings.kalshi_rest_url or REST_URLS[settings.kalshi_env], signer) as rest:
        for wanted in filters:
            found.update(dict.fromkeys(m.ticker for m in await rest.markets({**wanted, "status": "open"})))
    if not found:
        raise UserMistake("no open market matches MARKET_SERIES and MARKET_EVENTS, nothing to record")
    return list(found)


async def _report(recorder: Recorder) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        log.info("%d frames recorded, %d dropped", recorder.frames_written, recorder.frames_dropped)


def _is_json(data: bytes) -> bool:
    try:
        _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
