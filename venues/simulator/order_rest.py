"""Order writes of today (V2) and order groups over REST. Legacy writes answer 410, as they do at the venue."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec
from aiohttp import web

from domain.errors import MalformedFrame
from domain.units import contracts_text, dollars_text, money_text, price_e4_from_dollars, size_e2_from_text
from venues.simulator.account_door import BATCH_CANCEL_TOKENS, REQUEST_TOKENS, Door, Refused
from venues.simulator.account_ledger import DOLLAR_E4, SUBACCOUNT, SimOrder
from venues.simulator.config import EXCHANGE_INDEX
from venues.simulator.hub import Hub
from venues.simulator.order_desk import OrderDesk, TimeInForce, Wanted
from venues.simulator.vintages import Body

ORDERS = "/portfolio/events/orders"
BATCH_MAX = 1_000  # orders in a batch; the venue's own bound follows from the tier's write budget


class CreateOrder(msgspec.Struct, kw_only=True):
    """The body of POST /portfolio/events/orders; other fields are ignored."""

    ticker: str
    side: Literal["bid", "ask"]
    count: str
    price: str
    time_in_force: TimeInForce
    self_trade_prevention_type: Literal["taker_at_cross", "maker"]
    client_order_id: str | None = None
    expiration_time: int | None = None
    post_only: bool | None = None
    cancel_order_on_pause: bool | None = None
    reduce_only: bool | None = None
    order_group_id: str | None = None
    subaccount: int | None = None
    exchange_index: int | None = None


class AmendOrder(msgspec.Struct, kw_only=True):
    """The body of POST .../{order_id}/amend. `expiration_time` absent: as it is; 0: none."""

    ticker: str
    side: Literal["bid", "ask"]
    price: str
    count: str
    updated_client_order_id: str | None = None
    expiration_time: int | None = None


class DecreaseOrder(msgspec.Struct, kw_only=True):
    """The body of POST .../{order_id}/decrease: exactly one of the two."""

    reduce_by: str | None = None
    reduce_to: str | None = None


class CancelItem(msgspec.Struct, kw_only=True):
    """One order of a batch to be cancelled."""

    order_id: str


class OrderWrites:
    """Handlers over the desk."""

    def __init__(self, door: Door, desk: OrderDesk) -> None:
        self._door, self._desk = door, desk
        self._by_id = desk.ledger.by_id

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes of this module."""
        route = self._door.route
        batch = _per_item(REQUEST_TOKENS), _per_item(BATCH_CANCEL_TOKENS)
        gone = ("", "/batched", "/{order_id}/amend", "/{order_id}/decrease")
        return [
            # The fixed paths stand before those with an id.
            route("POST", f"{ORDERS}/batched", self._create_batch, batch[0]),
            route("DELETE", f"{ORDERS}/batched", self._cancel_batch, batch[1]),
            route("POST", ORDERS, self._create),
            route("DELETE", ORDERS, self._cancel_all),
            route("DELETE", f"{ORDERS}/{{order_id}}", self._cancel),
            route("POST", f"{ORDERS}/{{order_id}}/amend", self._amend),
            route("POST", f"{ORDERS}/{{order_id}}/decrease", self._decrease),
            *(route("POST", f"/portfolio/orders{path}", _deprecated) for path in gone),
            *(route("DELETE", f"/portfolio/orders{path}", _deprecated) for path in ("/batched", "/{order_id}")),
        ]

    def _create(self, _request: web.Request, body: Any) -> web.Response:
        return web.json_response(self._place(body), status=201)

    def _place(self, body: Any) -> Body:
        asked = msgspec.convert(body, CreateOrder)
        count_e2, price_e4 = _count(asked.count), _price(asked.price)
        if count_e2 <= 0:
            raise Refused(400, "invalid_count", "expected a count above 0")
        _check_routing(asked.subaccount, asked.exchange_index)
        wanted = Wanted(
            ticker=asked.ticker,
            client_order_id=asked.client_order_id or "",
            bid=asked.side == "bid",
            count_e2=count_e2,
            price_e4=price_e4,
            time_in_force=asked.time_in_force,
            self_trade_prevention_type=asked.self_trade_prevention_type,
            expires_us=(asked.expiration_time or 0) * 1_000_000,
            post_only=bool(asked.post_only),
            cancel_order_on_pause=bool(asked.cancel_order_on_pause),
            reduce_only=bool(asked.reduce_only),
            order_group_id=asked.order_group_id or "",
        )
        now_us = _now_us()
        order = self._desk.create(self._hub(), wanted, now_us)
        return _answer(order, now_us, fill_count=contracts_text(order.filled_e2), **_left(order), **_averages(order))

    def _create_batch(self, _request: web.Request, body: Any) -> web.Response:
        told = []
        for item in _items(body):
            client_order_id = item.get("client_order_id") if isinstance(item, dict) else None
            named = {"client_order_id": client_order_id} if isinstance(client_order_id, str) else {}
            told.append(_item(self._place, item, named))
        return web.json_response({"orders": told}, status=201)

    def _cancel(self, request: web.Request, _body: Any) -> Body:
        return self._take_away(request.match_info["order_id"])

    def _take_away(self, order_id: str) -> Body:
        order, now_us = self._resting(order_id), _now_us()
        return _answer(order, now_us, reduced_by=contracts_text(self._desk.cancel(self._hub(), order, now_us)))

    def _cancel_batch(self, _request: web.Request, body: Any) -> Body:
        told = []
        for item in _items(body):
            order_id = msgspec.convert(item, CancelItem).order_id
            failed = {"order_id": order_id, "reduced_by": contracts_text(0)}
            told.append(_item(self._take_away, order_id, failed))
        return {"orders": told}

    def _cancel_all(self, _request: web.Request, _body: Any) -> web.Response:
        """All of the owner's orders; those of markets that are not open stay, as they can not be cancelled."""
        for order in [order for order in self._desk.ledger.resting() if not order.scripted]:
            market = self._hub().markets.get(order.ticker)
            if market is not None and market.status == "active":
                self._desk.end(order, _now_us())
        return web.Response(status=204)

    def _amend(self, request: web.Request, body: Any) -> Body:
        asked, order, now_us = (
            msgspec.convert(body, AmendOrder),
            self._resting(request.match_info["order_id"]),
            _now_us(),
        )
        if (asked.ticker, asked.side) != (order.ticker, "bid" if order.action == "buy" else "ask"):
            raise Refused(400, "invalid_parameters", "an amend changes neither market nor side")
        if asked.expiration_time and asked.expiration_time * 1_000_000 <= now_us:
            raise Refused(400, "invalid_expiration", "expiration_time is in the past")
        self._desk.amend(self._hub(), order, _price(asked.price), _count(asked.count), now_us)
        if asked.expiration_time is not None:
            order.expires_us = asked.expiration_time * 1_000_000
        order.client_order_id = asked.updated_client_order_id or order.client_order_id
        return _answer(order, now_us, fill_count=contracts_text(order.filled_e2), **_left(order), **_averages(order))

    def _decrease(self, request: web.Request, body: Any) -> Body:
        asked, order, now_us = (
            msgspec.convert(body or {}, DecreaseOrder),
            self._resting(request.match_info["order_id"]),
            _now_us(),
        )
        if (asked.reduce_by is None) == (asked.reduce_to is None):
            raise Refused(400, "invalid_parameters", "expected exactly one of reduce_by and reduce_to")
        to_e2 = order.remaining_e2 - _count(asked.reduce_by) if asked.reduce_by else _count(asked.reduce_to or "")
        if not 0 <= to_e2 <= order.remaining_e2 and asked.reduce_to:
            raise Refused(400, "invalid_count", "expected no more than what rests")
        self._desk.decrease(self._hub(), order, to_e2, now_us)
        return _answer(order, now_us, **_left(order))

    def _resting(self, order_id: str) -> SimOrder:
        order = self._by_id.get(order_id)
        if order is None:
            raise Refused(404, "order_not_found", "no such order")
        if order.status != "resting":
            raise Refused(404, "order_not_found", f"the order is {order.status}")
        return order

    def _hub(self) -> Hub:
        assert self._door.hub is not None  # the door answers 503 before
        return self._door.hub


def _now_us() -> int:
    return time.time_ns() // 1_000


def _deprecated(_request: web.Request, _body: Any) -> Body:
    raise Refused(410, "deprecated_v1_order_endpoint", f"use {ORDERS}")


def _per_item(tokens: int) -> Callable[[Any], int]:
    return lambda body: tokens * max(1, len(_listed(body)))


def _listed(body: Any) -> list[Any]:
    listed = body.get("orders") if isinstance(body, dict) else None
    return listed if isinstance(listed, list) else []


def _items(body: Any) -> list[Any]:
    items = _listed(body)
    if not 1 <= len(items) <= BATCH_MAX:
        raise Refused(400, "invalid_parameters", f"expected orders: a list of 1 to {BATCH_MAX}")
    return items


def _item(act: Callable[[Any], Body], item: Any, failed: Body) -> Body:
    """What one item of a batch came to: its answer, or its own error."""
    try:
        return act(item)
    except Refused as refused:
        error = {"code": refused.code, "message": refused.message, "details": refused.message}
    except msgspec.ValidationError as wrong:
        error = {"code": "invalid_parameters", "message": str(wrong), "details": str(wrong)}
    return {**failed, "error": error}


def _check_routing(subaccount: int | None, exchange_index: int | None) -> None:
    if (subaccount or SUBACCOUNT) != SUBACCOUNT:
        raise Refused(404, "subaccount_not_found", f"expected subaccount {SUBACCOUNT}")
    if exchange_index not in (None, -1, EXCHANGE_INDEX):
        raise Refused(400, "invalid_exchange_index", f"expected exchange_index {EXCHANGE_INDEX}, or -1")


def _count(text: str) -> int:
    try:
        return size_e2_from_text(text, "count")
    except MalformedFrame as wrong:
        raise Refused(400, "invalid_count", wrong.detail) from None


def _price(text: str) -> int:
    try:
        return price_e4_from_dollars(text)
    except MalformedFrame as wrong:
        raise Refused(400, "invalid_price", wrong.detail) from None


def _answer(order: SimOrder, now_us: int, **more: str) -> Body:
    named = {"client_order_id": order.client_order_id} if order.client_order_id else {}
    return {"order_id": order.order_id, **named, **more, "ts_ms": now_us // 1_000}


def _left(order: SimOrder) -> dict[str, str]:
    return {"remaining_count": contracts_text(order.remaining_e2)}


def _averages(order: SimOrder) -> dict[str, str]:
    """Of the YES leg; nothing where nothing was filled."""
    if not order.filled_e2:
        return {}
    own_e4 = (order.taker_cost_e6 + order.maker_cost_e6) // order.filled_e2
    yes_e4 = own_e4 if order.side == "yes" else DOLLAR_E4 - own_e4
    return {
        "average_fill_price": dollars_text(yes_e4),
        "average_fee_paid": money_text(order.fees_e6 * 100 // order.filled_e2),
    }
