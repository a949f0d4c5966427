"""The venue's REST interface: signed, paced, retried, paged. Generic over paths.

Numbers come as text where the venue sends text, and as `Decimal` where it sends a number: nothing here is a float.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated, Any, TypeVar

import aiohttp
import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from domain.errors import KalshiStreamsError
from domain.units import PRICE_E4_MAX, PRICE_E4_MIN, parse_scaled
from venues.kalshi.auth import RequestSigner
from venues.kalshi.numbers import decode_exact, number_text

log = logging.getLogger(__name__)

REQUESTS_PER_S = 10.0  # half of the lowest tier's reads: two producers may run beside each other
BURST_REQUESTS = 10
IN_FLIGHT_MAX = 4
TRIES_MAX = 6  # then the caller decides; with the waits below that is about half a minute
WAIT_S_MAX = 20.0
REQUEST_TIMEOUT_S = 15.0
BODY_BYTES_MAX = 32 << 20  # one page of a thousand markets is about 3 MB
PAGE_LIMIT = 200  # items asked for per page
PAGES_MAX = 1_000  # a cursor that never ends is a defect of the other side

Params = Mapping[str, str | int]


class RestRefused(KalshiStreamsError):
    """An answer that a retry does not change (4xx but 429). `status` is the HTTP status."""

    def __init__(self, status: int, path: str, text: str) -> None:
        super().__init__(f"{path}: expected 200, was {status} {text[:200]}")
        self.status = status


class RestUnavailable(KalshiStreamsError):
    """No usable answer after all tries: network, 429 or 5xx. `retry_after_s` is what the venue asked for, if it did."""

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class VenueModel(BaseModel):
    """Base of REST objects: unknown fields are the venue's business."""

    model_config = ConfigDict(extra="ignore", frozen=True)


M = TypeVar("M", bound=VenueModel)


def present_price_e4(value: object) -> int | None:
    """Dollars, text or number. The venue spells an absent bid 0.0000 and an absent ask 1.0000, or 0.0000 where the
    market is multivariate: what no contract can cost is no price. Raises MalformedFrame for what is no number."""
    if value is None:
        return None
    price_e4 = parse_scaled(number_text(value), 4, "price")
    return price_e4 if PRICE_E4_MIN <= price_e4 <= PRICE_E4_MAX else None


Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]  # null says as little as ""


class Market(VenueModel):
    """A market as listed. Prices are read when they are asked for: a strange one must not hide its market."""

    ticker: str
    event_ticker: Text = ""
    status: Text = ""
    open_time: str | None = None
    close_time: str | None = None
    result: Text = ""
    strike_type: str | None = None
    yes_bid_dollars: Any = None
    yes_ask_dollars: Any = None

    @property
    def yes_bid_e4(self) -> int | None:
        """The best bid for YES, None where there is none."""
        return present_price_e4(self.yes_bid_dollars)

    @property
    def yes_ask_e4(self) -> int | None:
        """The best ask for YES, None where there is none."""
        return present_price_e4(self.yes_ask_dollars)


class Event(VenueModel):
    """An event and, when asked for, its markets."""

    event_ticker: str
    series_ticker: Text = ""
    title: Text = ""
    markets: tuple[Market, ...] = ()


class TokenBucket:
    """At most `rate_per_s` a second on average and `burst` at once."""

    def __init__(self, rate_per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._clock = clock
        self._tokens = float(burst)
        self._filled_s = clock()

    def wait_s(self) -> float:
        """Take one token; how long to wait before it may be used."""
        now_s = self._clock()
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._rate_per_s)
        self._filled_s = now_s
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._rate_per_s)

    def try_take(self) -> bool:
        """Take a token if one is there now."""
        if self.wait_s() == 0.0:
            return True
        self._tokens += 1.0
        return False


class KalshiRest:
    """One client per process. Use as an async context manager."""

    def __init__(self, base_url: str, signer: RequestSigner | None, *, tries_max: int = TRIES_MAX) -> None:
        """`base_url` ends in `/trade-api/v2`; without a signer only public paths answer."""
        self._base_url = base_url.rstrip("/")
        self._signer = signer
        self._bucket = TokenBucket(REQUESTS_PER_S, BURST_REQUESTS)
        self._in_flight = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._tries_max = tries_max
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "KalshiRest":
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        self._session = aiohttp.ClientSession(timeout=timeout, headers={"User-Agent": "kalshi-streams"})
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, params: Params | None = None) -> dict[str, Any]:
        """The answer of `GET <base><path>`. Raises RestRefused or RestUnavailable."""
        return await self.request("GET", path, params=params)

    async def request(
        self, method: str, path: str, *, params: Params | None = None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """One request, repeated while the venue is unavailable. Only GET and DELETE are repeated after a failure whose
        outcome is unknown; others raise at once, the caller must look before it tries again."""
        repeat = method in ("GET", "DELETE")
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RestUnavailable),
            stop=stop_after_attempt(self._tries_max if repeat else 1),
            wait=full_jitter_or_retry_after,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                return await self._once(method, path, params, body)
        raise AssertionError("tenacity either returns or raises")

    async def get_pages(self, path: str, params: Params, key: str) -> AsyncIterator[dict[str, Any]]:
        """The items under `key` of every page, until the cursor is empty, null, or one that was there already: the
        venue's lists have been seen to lead back into themselves, and everything was read by then."""
        cursor, seen = "", set[str]()
        for _ in range(PAGES_MAX):
            page = await self.get(path, {"limit": PAGE_LIMIT, **params, **({"cursor": cursor} if cursor else {})})
            items = page.get(key) or ()
            if not isinstance(items, list | tuple):
                raise RestRefused(200, path, f"{key}: expected a list, was {type(items).__name__}")
            for item in items:
                yield item
            cursor = str(page.get("cursor") or "")
            if cursor in seen:
                log.warning("%s: the cursor repeats, the walk ends here", path)
            if not cursor or cursor in seen:
                return
            seen.add(cursor)
        raise RestUnavailable(f"{path}: expected a last page, was none after {PAGES_MAX}")

    async def markets(self, params: Params) -> list[Market]:
        """All markets that `GET /markets` gives for these filters. One that cannot be read is an error, not a skip."""
        return [_model(Market, item) async for item in self.get_pages("/markets", params, "markets")]

    async def event(self, event_ticker: str) -> Event:
        """One event with its markets."""
        answer = await self.get(f"/events/{event_ticker}", {"with_nested_markets": "true"})
        body = dict(answer.get("event") or {})
        return _model(Event, {**body, "markets": answer.get("markets") or body.get("markets") or ()})

    async def orderbook(self, ticker: str) -> dict[str, Any]:
        """The book as REST shows it (no seq in it), undecoded: `orderbook_fp` or the older `orderbook`."""
        return await self.get(f"/markets/{ticker}/orderbook")

    async def _once(
        self, method: str, path: str, params: Params | None, body: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        if self._session is None:
            raise RuntimeError("use KalshiRest as an async context manager")
        async with self._in_flight:
            await asyncio.sleep(self._bucket.wait_s())
            url = self._base_url + path
            headers = self._signer.headers(method, url, time.time_ns() // 1_000_000) if self._signer else {}
            try:
                async with self._session.request(method, url, params=params, json=body, headers=headers) as answer:
                    return await _read(answer, path)
            except (aiohttp.ClientError, TimeoutError, OSError) as wrong:
                raise RestUnavailable(f"{path}: {type(wrong).__name__} {wrong}"[:300]) from None


async def _read(answer: aiohttp.ClientResponse, path: str) -> dict[str, Any]:
    if answer.status == 429 or answer.status >= 500:
        raise RestUnavailable(f"{path}: {answer.status}", retry_after_s(answer.headers.get("Retry-After")))
    if answer.status == 204:
        return {}
    body = b""
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise RestRefused(answer.status, path, f"expected at most {BODY_BYTES_MAX} bytes")
    if answer.status >= 400:
        raise RestRefused(answer.status, path, body[:200].decode(errors="replace"))
    try:
        value = decode_exact(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RestUnavailable(f"{path}: expected JSON") from None
    if not isinstance(value, dict):
        raise RestRefused(answer.status, path, f"expected a JSON object, was {type(value).__name__}")
    return value


def retry_after_s(text: str | None) -> float | None:
    """Retry-After in seconds; its date form is rare and not honoured."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


_full_jitter = wait_random_exponential(multiplier=0.5, max=WAIT_S_MAX)


def full_jitter_or_retry_after(state: RetryCallState) -> float:
    """How long to wait before the next try: what the venue asked for, else full jitter; WAIT_S_MAX at most."""
    wrong = state.outcome.exception() if state.outcome else None
    asked_s = wrong.retry_after_s if isinstance(wrong, RestUnavailable) else None
    return min(WAIT_S_MAX, asked_s) if asked_s is not None else _full_jitter(state)


def _model(kind: type[M], item: object) -> M:
    try:
        return kind.model_validate(item)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        raise RestRefused(200, kind.__name__, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
