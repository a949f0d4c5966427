"""GET on /portfolio: any JSON answer, within a share of the tier's token budget, retried with full jitter.

Apart from `rest.KalshiRest` in two things: an answer of any shape is handed on (the normalization judges it), and what
is spent are the venue's tokens, so that a 429 storm never makes us ask more.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

import aiohttp
import msgspec
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from domain.errors import KalshiStreamsError
from venues.kalshi.auth import RequestSigner
from venues.kalshi.exchange import Costs, costs_of, reads_per_s
from venues.kalshi.numbers import decode_exact
from venues.kalshi.rest import RestRefused, RestUnavailable, full_jitter_or_retry_after, retry_after_s
from venues.kalshi.subaccounts import PRIMARY, Subaccounts

log = logging.getLogger(__name__)

Tier = Literal["basic", "advanced", "premier", "paragon", "prime"]
#: Tokens a second (reads, writes) of each tier, mid-2026.
TIER_TOKENS: dict[Tier, tuple[int, int]] = {
    "basic": (200, 100),
    "advanced": (300, 300),
    "premier": (1_000, 1_000),
    "paragon": (2_000, 2_000),
    "prime": (4_000, 4_000),
}
REQUEST_TOKENS = 10  # the default cost, until the venue has said what a request costs
BUDGET_SHARE = 0.5  # of the tier's reads: producer market reads with the same key
IN_FLIGHT_MAX = 2
TRIES_MAX = 6
LIMITS_PATH, COSTS_PATH = "/account/limits", "/account/endpoint_costs"
REQUEST_TIMEOUT_S = 15.0
BODY_BYTES_MAX = 8 << 20  # a page of a thousand fills is 0.5 MB


class TokenBudget:
    """`rate` tokens a second, one second's worth saved up at most; `cost` is taken before the request leaves."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._tokens, self._filled_s = rate, clock()

    def wait_s(self, cost: float) -> float:
        """Take the tokens; how long to wait until they are ours."""
        now_s = self._clock()
        self._tokens = min(self._rate, self._tokens + (now_s - self._filled_s) * self._rate) - cost
        self._filled_s = now_s
        return max(0.0, -self._tokens / self._rate)

    def empty(self) -> None:
        """The venue says we asked too much: whatever we believed to have is gone."""
        self._tokens = min(self._tokens, 0.0)


class AccountRest:
    """One client per process. Use as an async context manager. `counts`: requests and what became of them."""

    def __init__(
        self,
        base_url: str,
        signer: RequestSigner | None,
        tier: Tier = "basic",
        tries_max: int = TRIES_MAX,
        subaccount: int = PRIMARY,
    ) -> None:
        #: Whose lists are asked for, and what was told of the others.
        self.subaccounts = Subaccounts(subaccount)
        self.counts: Counter[str] = Counter()
        #: Why the last answer was none (network, 429, 5xx), until there is one: a retry may still help.
        self.problem: str | None = None
        self.budget = TokenBudget(TIER_TOKENS[tier][0] * BUDGET_SHARE)
        self.costs = Costs(REQUEST_TOKENS)
        self._base_url = base_url.rstrip("/")
        self._signer = signer
        self._tries_max = tries_max
        self._in_flight = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "AccountRest":
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        self._session = aiohttp.ClientSession(timeout=timeout, headers={"User-Agent": "kalshi-streams"})
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """The JSON value of the answer, whatever its shape; text that is no JSON comes back as text.

        Raises:
            RestUnavailable: network, 429 or 5xx, after all tries. RestRefused: any other status but 200.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RestUnavailable),
            stop=stop_after_attempt(self._tries_max),
            wait=full_jitter_or_retry_after,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                try:
                    value = await self._once(path, dict(params or {}))
                except RestUnavailable as wrong:
                    self.problem = f"venue REST degraded: {wrong}"
                    raise
                self.problem = None
                return value
        raise AssertionError("tenacity either returns or raises")

    async def learn_limits(self) -> None:
        """Take the budget and the costs that the venue says instead of the tier's, which are ours to guess."""
        try:
            rate, costs = reads_per_s(await self.get(LIMITS_PATH)), await self.get(COSTS_PATH)
        except KalshiStreamsError as wrong:
            log.info("the key's limits are taken from KALSHI_TIER: %s", wrong)
            return
        self.costs = costs_of(costs, REQUEST_TOKENS)
        if rate is not None:
            self.budget = TokenBudget(rate * BUDGET_SHARE)
        log.info(
            "the key may read %s tokens a second, a request costs %d", rate or "an unsaid number of", self.costs.default
        )

    async def _once(self, path: str, params: Mapping[str, str | int]) -> Any:
        if self._session is None:
            raise RuntimeError("use AccountRest as an async context manager")
        async with self._in_flight:
            await asyncio.sleep(self.budget.wait_s(self.costs.of(path)))
            url = self._base_url + path
            headers = self._signer.headers("GET", url, time.time_ns() // 1_000_000) if self._signer else {}
            self.counts["requests"] += 1
            try:
                async with self._session.get(url, params=params, headers=headers) as answer:
                    return await self._read(answer, path)
            except (aiohttp.ClientError, TimeoutError, OSError) as wrong:
                self.counts["unreachable"] += 1
                raise RestUnavailable(f"{path}: {type(wrong).__name__} {wrong}"[:300]) from None

    async def _read(self, answer: aiohttp.ClientResponse, path: str) -> Any:
        if answer.status == 429 or answer.status >= 500:
            self.counts[f"status_{'429' if answer.status == 429 else '5xx'}"] += 1
            if answer.status == 429:
                self.budget.empty()
            raise RestUnavailable(f"{path}: {answer.status}", retry_after_s(answer.headers.get("Retry-After")))
        if answer.status != 200:
            raise RestRefused(answer.status, path, (await answer.text(errors="replace"))[:200])
        body = await answer.content.read(BODY_BYTES_MAX + 1)
        while len(body) <= BODY_BYTES_MAX and not answer.content.at_eof():
            body += await answer.content.read(BODY_BYTES_MAX + 1 - len(body))
        if len(body) > BODY_BYTES_MAX:
            raise RestRefused(answer.status, path, f"expected at most {BODY_BYTES_MAX} bytes")
        try:
            return decode_exact(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return body[:200].decode(errors="replace")
