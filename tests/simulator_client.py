"""A small Kalshi client for tests of the simulator: real websockets, all frames kept, books folded by `domain.book`."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from domain.book import Book
from domain.units import price_e4_from_cents, price_e4_from_dollars, size_e2_from_contracts, size_e2_from_text
from venues.simulator.admin import ADMIN_HEADER
from venues.simulator.server import WS_PATH, Simulator

DEADLINE_S = 90.0


class Client:
    """One connection. `frames` has every JSON frame in order of arrival, `texts` every text."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self.frames: list[dict[str, Any]] = []
        self.texts: list[str | bytes] = []
        self.closed = False
        self._id = 0

    async def read_forever(self) -> None:
        """Collect until the connection ends."""
        try:
            async for text in self.ws:
                self.texts.append(text)
                try:
                    frame = json.loads(text)
                except ValueError:
                    continue
                if isinstance(frame, dict):
                    self.frames.append(frame)
        except ConnectionClosed:
            pass
        self.closed = True

    async def send(self, cmd: str, **params: object) -> int:
        """Send one command, return its id."""
        self._id += 1
        await self.ws.send(json.dumps({"id": self._id, "cmd": cmd, **({"params": params} if params else {})}))
        return self._id

    async def ask(self, cmd: str, **params: object) -> dict[str, Any]:
        """Send one command, return the first frame that answers it."""
        number = await self.send(cmd, **params)
        return await self.first(lambda frame: frame.get("id") == number)

    async def first(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first frame so far or to come for which `wanted` is true."""
        found: list[dict[str, Any]] = []

        def seen() -> bool:
            found[:] = [frame for frame in self.frames if wanted(frame)][:1]
            return bool(found)

        await until(seen)
        return found[0]

    def of_sid(self, sid: int) -> list[dict[str, Any]]:
        """All frames that consumed a number of this sid: data, `ok`, `unsubscribed`."""
        return [frame for frame in self.frames if frame.get("sid") == sid]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """All frames of one type."""
        return [frame for frame in self.frames if frame.get("type") == kind]


async def until(ready: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Poll until `ready`; fail at the deadline."""
    end = time.monotonic() + deadline_s
    while not ready():
        assert time.monotonic() < end, "nothing happened before the deadline"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def client_of(simulator: Simulator, headers: dict[str, str] | None = None) -> AsyncIterator[Client]:
    """A connected client that reads on its own."""
    url = f"ws://127.0.0.1:{simulator.port}{WS_PATH}"
    async with connect(url, additional_headers=headers, max_size=8 << 20, compression=None) as ws:
        client = Client(ws)
        reader = asyncio.create_task(client.read_forever())
        try:
            yield client
        finally:
            await ws.close()
            await reader


async def get(simulator: Simulator, path: str, **more: Any) -> Any:
    """GET of one JSON document."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{simulator.port}{path}", **more) as answer,
    ):
        return await answer.json()


async def post(simulator: Simulator, path: str, body: dict[str, Any]) -> Any:
    """POST of one JSON document."""
    async with (
        aiohttp.ClientSession() as http,
        http.post(
            f"http://127.0.0.1:{simulator.port}{path}", json=body, headers={ADMIN_HEADER: simulator.admin_token}
        ) as answer,
    ):
        return await answer.json()


async def finished(simulator: Simulator) -> dict[str, Any]:
    """The status once all frames were served and read by nobody in particular."""
    await until(lambda: simulator.source.finished)
    status = await get(simulator, "/admin/status")
    assert isinstance(status, dict)
    return status


def make_key(folder: Path) -> tuple[rsa.RSAPrivateKey, Path]:
    """A fresh key and the PEM file of its public half."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    path = folder / "public.pem"
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.write_bytes(pem)
    return key, path


def signed(
    key: rsa.RSAPrivateKey, *, path: str = WS_PATH, key_id: str = "k1", off_ms: int = 0, salt: int = 32
) -> dict[str, str]:
    """The venue's three headers for a GET of `path`."""
    stamp = str(time.time_ns() // 1_000_000 + off_ms)
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
    signature = key.sign(f"{stamp}GET{path}".encode(), pss, hashes.SHA256())
    return {
        "KALSHI-ACCESS-KEY": key_id,
        "KALSHI-ACCESS-TIMESTAMP": stamp,
        "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode(),
    }


def levels(msg: dict[str, Any], side: str) -> list[tuple[int, int]]:
    """One side of a snapshot of any vintage, exact."""
    if exact := msg.get(f"{side}_dollars_fp"):
        return [(price_e4_from_dollars(p), size_e2_from_text(s)) for p, s in exact]
    return [(price_e4_from_cents(p), size_e2_from_contracts(s)) for p, s in msg.get(side) or ()]


def change(msg: dict[str, Any]) -> tuple[str, int, int]:
    """Side, price (e4) and signed size (e2) of a delta of any vintage, exact."""
    fp = msg.get("delta_fp")
    size_e2 = size_e2_from_contracts(msg["delta"]) if fp is None else size_e2_from_text(fp)
    return msg["side"], price_e4_from_dollars(msg["price_dollars"]), size_e2


def fold(frames: list[dict[str, Any]]) -> dict[str, Book]:
    """Books from book frames in order; each sid is taken as its own session. Raises what `domain.book` raises."""
    books: dict[str, Book] = {}
    for frame in frames:
        if frame["type"] not in ("orderbook_snapshot", "orderbook_delta"):
            continue
        msg = frame["msg"]
        book = books.setdefault(msg["market_ticker"], Book())
        if frame["type"] == "orderbook_snapshot":
            book.apply_snapshot("s", frame["sid"], frame["seq"], levels(msg, "yes"), levels(msg, "no"))
        else:
            book.apply_delta("s", frame["sid"], frame["seq"], *change(msg))
    return books


def as_truth(books: dict[str, Book]) -> dict[str, dict[str, list[list[int]]]]:
    """Folded books in the form of GET /admin/books."""
    return {
        ticker: {side: [list(level) for level in sorted(getattr(book, side).items())] for side in ("yes", "no")}
        for ticker, book in books.items()
    }


async def truth(simulator: Simulator) -> dict[str, dict[str, list[list[int]]]]:
    """GET /admin/books without sid and seq."""
    books = await get(simulator, "/admin/books")
    return {ticker: {"yes": book["yes"], "no": book["no"]} for ticker, book in books.items()}
