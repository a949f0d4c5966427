"""The door of the private REST interface: the key, the token budgets, and the faults that an answer can have."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from venues.simulator.config import SimConfig
from venues.simulator.gate import Gate
from venues.simulator.hub import Hub
from venues.simulator.rest import PREFIX, guard, problem
from venues.simulator.vintages import TODAY

REQUEST_TOKENS = 10  # the venue's default cost of a request
#: Routes with another cost, as GET /account/endpoint_costs lists them.
ENDPOINT_COSTS = {
    ("GET", "/portfolio/orders/{order_id}"): 2,
    ("DELETE", "/portfolio/events/orders/{order_id}"): 2,
}
BATCH_CANCEL_TOKENS = 2  # for each order of a batch
BODY_BYTES_MAX = 1 << 20  # a batch of a thousand orders is 0.3 MB
BASIC_WRITES_PER_S = 100


class Refused(Exception):
    """An answer that is not 200: status, code and message in the venue's form."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class AccountFaults:
    """POST /admin/account/faults takes these names. `*_every`: each Nth answer (or item, or frame); 0 is off."""

    same_page: bool = False  # every page says there is another one: itself
    repeat_page_every: int = 0  # a page is served twice under two cursors
    strip_ids_every: int = 0  # every Nth fill item comes without fill_id and trade_id
    mix_units: bool = False  # ts alternates between seconds and ms, without created_time
    wrong_shape_every: int = 0  # a text, a list, another name for the list
    null_lists: bool = False  # null where an empty list is meant
    orders_as_fills_every: int = 0  # order objects in the list of fills
    status_429_every: int = 0
    status_500_every: int = 0
    retry_after_s: int | None = None
    slow_s: float = 0.0
    positions_lag_s: float = 0.0  # positions, and /exchange/user_data_timestamp, are of so long ago
    drop_frame_every: int = 0
    repeat_frame_every: int = 0
    resend_on_subscribe: int = 0  # so many of the newest fills are pushed again on each subscription


class Bucket:
    """A token bucket: `refill_per_s` tokens a second, `capacity` saved up at most."""

    def __init__(self, refill_per_s: int, capacity: int) -> None:
        self.refill_per_s, self.capacity = refill_per_s, capacity
        self._tokens, self._filled_s = float(capacity), time.monotonic()

    def take(self, tokens: int) -> bool:
        """Spend them, or False where there are not enough."""
        now_s = time.monotonic()
        self._tokens = min(float(self.capacity), self._tokens + (now_s - self._filled_s) * self.refill_per_s)
        self._filled_s = now_s
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True


#: Takes the request and its body (None: none was sent); None is a 404, Refused any other refusal.
Answer = Callable[[web.Request, Any], dict[str, Any] | web.Response | None]


class Door:
    """Every private route goes through it. `counts`: requests, refusals and faults that struck."""

    def __init__(self, config: SimConfig, gate: Gate, faults: AccountFaults, reads_per_s: int) -> None:
        self.faults = faults
        self.counts: Counter[str] = Counter()
        self.hub: Hub | None = None  # known when the account runs, which is before anybody can ask
        self.reads = Bucket(reads_per_s, reads_per_s)
        # Two seconds of writes are saved up in every tier above Basic.
        writes = config.account_write_budget
        self.writes = Bucket(writes, writes if writes <= BASIC_WRITES_PER_S else 2 * writes)
        self._vintage = config.account_vintage
        self._gate = gate
        self._turns: Counter[str] = Counter()

    def told(self) -> str:
        """The vintage of this answer; of mixed ones every other is old."""
        if self._vintage != "mixed":
            return self._vintage
        return "b" if self.counts["requests"] % 2 == 0 else TODAY

    def route(self, method: str, path: str, answer: Answer, cost: Callable[[Any], int] | None = None) -> web.RouteDef:
        """One route under /trade-api/v2. `cost` is of the request's body; without it as `ENDPOINT_COSTS` says."""

        async def handle(request: web.Request) -> web.StreamResponse:
            if self.hub is None:
                return problem(503, "service_unavailable", "starting")
            refused = guard(self.hub, self._gate, request, needs_key=True)
            if refused is not None:
                return refused
            body, unreadable = await _body(request) if method != "GET" else (None, False)
            if unreadable:
                return problem(400, "invalid_json", "the body is no JSON")
            tokens = cost(body) if cost is not None else ENDPOINT_COSTS.get((method, path), REQUEST_TOKENS)
            return await self._answer(request, body, answer, self.reads if method == "GET" else self.writes, tokens)

        return web.route(method, PREFIX + path, handle)

    async def _answer(
        self, request: web.Request, body: Any, answer: Answer, bucket: Bucket, tokens: int
    ) -> web.StreamResponse:
        self.counts["requests"] += 1
        if self.faults.slow_s:
            await asyncio.sleep(self.faults.slow_s)
        within = bucket.take(tokens)
        self.counts["over_budget"] += not within
        if not within or self.turn("status_429_every"):
            after = self.faults.retry_after_s
            headers = {} if after is None else {"Retry-After": str(after)}
            return web.json_response({"error": "too many requests"}, status=429, headers=headers)
        if self.turn("status_500_every"):
            return problem(503, "service_unavailable", "injected")
        try:
            told = answer(request, body)
        except Refused as refused:
            return problem(refused.status, refused.code, refused.message)
        except ValueError as wrong:  # of numbers, cursors and msgspec alike
            return problem(400, "bad_request", str(wrong))
        if told is None:
            return problem(404, "not_found", "not found")
        if isinstance(told, web.Response):
            return told
        if self.faults.null_lists:
            told = {name: None if value == [] else value for name, value in told.items()}
        return web.json_response(self._misshapen(told) if self.turn("wrong_shape_every") else told)

    def turn(self, name: str) -> bool:
        """Whether the fault of this name strikes now; each call is one opportunity."""
        every = int(getattr(self.faults, name))
        if not every:
            return False
        self._turns[name] += 1
        struck = self._turns[name] % every == 0
        self.counts[name] += struck
        return struck

    def _misshapen(self, body: dict[str, Any]) -> Any:
        rows = next((value for value in body.values() if isinstance(value, list)), [])
        self._turns["shapes"] += 1
        return ["service busy", {"data": rows, "cursor": body.get("cursor", "")}, {"nothing": 1}, [*rows, "x", 7]][
            self._turns["shapes"] % 4
        ]

    async def set_faults(self, request: web.Request) -> web.Response:
        """POST /admin/account/faults: any of the fields of `AccountFaults`; the others stay."""
        try:
            wanted = await request.json()
            self.faults = msgspec.convert({**msgspec.to_builtins(self.faults), **wanted}, AccountFaults)
        except (ValueError, TypeError) as wrong:
            return web.json_response({"error": str(wrong)}, status=400)
        return web.json_response(msgspec.to_builtins(self.faults))


async def _body(request: web.Request) -> tuple[Any, bool]:
    """The JSON body (None where there is none), and whether it could not be read."""
    text = await request.content.read(BODY_BYTES_MAX + 1)
    while len(text) <= BODY_BYTES_MAX and not request.content.at_eof():
        text += await request.content.read(BODY_BYTES_MAX + 1 - len(text))
    if not text:
        return None, False
    try:
        return json.loads(text), False
    except ValueError:
        return None, True
