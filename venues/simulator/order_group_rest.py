"""Order groups over REST: create, list, get, reset, trigger, limit, delete."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from aiohttp import web

from domain.errors import MalformedFrame
from domain.units import size_e2_from_text
from venues.simulator.account_door import Door, Refused
from venues.simulator.account_ledger import SUBACCOUNT
from venues.simulator.config import EXCHANGE_INDEX
from venues.simulator.order_groups import OrderGroup, OrderGroups
from venues.simulator.vintages import Body

GROUPS = "/portfolio/order_groups"


class GroupLimit(msgspec.Struct, kw_only=True):
    """The body of create and limit: whole contracts, or a text with decimals; where both are given they agree."""

    contracts_limit: int | None = None
    contracts_limit_fp: str | None = None


class GroupRoutes:
    """Handlers over the groups."""

    def __init__(self, door: Door, groups: OrderGroups) -> None:
        self._door, self._groups = door, groups

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes of this module."""
        route, one = self._door.route, f"{GROUPS}/{{order_group_id}}"
        return [
            route("POST", f"{GROUPS}/create", self._create),
            route("GET", GROUPS, lambda _request, _body: {"order_groups": self._groups.listed()}),
            route("GET", one, lambda request, _body: self._groups.shown(self._group(request))),
            route("DELETE", one, self._act(lambda group, _, now_us: self._groups.delete(group, now_us))),
            route("PUT", f"{one}/reset", self._act(lambda group, _, now_us: self._groups.reset(group, now_us))),
            route("PUT", f"{one}/trigger", self._act(lambda group, _, now_us: self._groups.trigger(group, now_us))),
            route("PUT", f"{one}/limit", self._act(self._limit)),
        ]

    def _create(self, _request: web.Request, body: Any) -> web.Response:
        group = self._groups.create(_limit_e2(body), _now_us())
        if group is None:
            raise Refused(409, "too_many_order_groups", "expected fewer groups")
        told = {"order_group_id": group.group_id, "subaccount": SUBACCOUNT, "exchange_index": EXCHANGE_INDEX}
        return web.json_response(told, status=201)

    def _act(self, act: Callable[[OrderGroup, Any, int], None]) -> Callable[[web.Request, Any], Body]:
        def answer(request: web.Request, body: Any) -> Body:
            act(self._group(request), body, _now_us())
            return {}

        return answer

    def _limit(self, group: OrderGroup, body: Any, now_us: int) -> None:
        self._groups.limit(group, _limit_e2(body), now_us)

    def _group(self, request: web.Request) -> OrderGroup:
        group = self._groups.get(request.match_info["order_group_id"])
        if group is None:
            raise Refused(404, "order_group_not_found", "no such order group")
        return group


def _now_us() -> int:
    return time.time_ns() // 1_000


def _limit_e2(body: Any) -> int:
    asked = msgspec.convert(body, GroupLimit)
    try:
        limits = {asked.contracts_limit * 100} if asked.contracts_limit is not None else set()
        if asked.contracts_limit_fp is not None:
            limits.add(size_e2_from_text(asked.contracts_limit_fp, "contracts_limit_fp"))
    except MalformedFrame as wrong:
        raise Refused(400, "invalid_contracts_limit", wrong.detail) from None
    if len(limits) != 1 or min(limits) <= 0:
        raise Refused(400, "invalid_contracts_limit", "expected one limit above 0")
    return limits.pop()
