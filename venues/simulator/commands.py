"""The client's commands and the venue's answers."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from venues.simulator.channels import BOOK, TICKER, Channel
from venues.simulator.hub import Hub
from venues.simulator.session import Session, Subscription

ERRORS = {
    1: "Unable to process message",
    2: "Params required",
    3: "Channels required",
    4: "Subscription IDs required",
    5: "Unknown command",
    7: "Unknown subscription ID",
    8: "Unknown channel name",
    11: "Invalid parameter",
    12: "Exactly one subscription ID is required",
    13: "Unsupported action",
    14: "Market ticker required",
    15: "Action required",
    16: "Market not found",
    18: "Command timeout",
    26: "Subscription market limit exceeded",
}


class _Refused(Exception):
    """Becomes an error frame; never leaves this module."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def handle(hub: Hub, session: Session, text: str) -> None:
    """Carry out one command and answer it. Whatever a client sends, the answer is an error frame at worst."""
    request_id: int | None = None
    try:
        try:
            command = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            raise _Refused(1) from None
        if not isinstance(command, dict):
            raise _Refused(1)
        request_id = command.get("id") if type(command.get("id")) is int and command.get("id") else None
        name = command.get("cmd")
        verb = _VERBS.get(name) if isinstance(name, str) else None
        if verb is None:
            raise _Refused(5)
        params = command.get("params")
        if verb is not _list_subscriptions and not isinstance(params, dict):
            raise _Refused(2)
        verb(hub, session, request_id, params)
    except _Refused as refused:
        _error(session, request_id, refused.code)
    session.flush()


def _error(session: Session, request_id: int | None, code: int, **more: object) -> None:
    _reply(session, request_id, {"type": "error", "msg": {"code": code, "msg": ERRORS[code], **more}})


def _reply(session: Session, request_id: int | None, body: dict[str, object]) -> None:
    head = {} if request_id is None else {"id": request_id}
    session.reply(json.dumps({**head, **body}, separators=(",", ":")))


def _tickers(params: dict[str, Any]) -> list[str] | None:
    """market_ticker or market_tickers, not both; None where neither is given."""
    one, many = params.get("market_ticker"), params.get("market_tickers")
    if one is not None and many is not None:
        raise _Refused(11)
    if one is not None:
        many = [one]
    if many is None:
        return None
    if not isinstance(many, list) or not all(isinstance(t, str) for t in many):
        raise _Refused(11)
    return list(dict.fromkeys(many))


def _subscribe(hub: Hub, session: Session, request_id: int | None, params: dict[str, Any]) -> None:
    names = params.get("channels")
    if not isinstance(names, list) or not names:
        raise _Refused(3)
    if params.get("use_yes_price"):  # not spoken here; a client that wants NO prices on the YES scale must know
        raise _Refused(11)
    wanted = _tickers(params)
    known = None if wanted is None else [t for t in wanted if t in hub.markets]
    if known is not None and len(known) > hub.config.max_markets_per_sub:
        raise _Refused(26)
    for name in names:
        channel = hub.channels.get(name) if isinstance(name, str) else None
        if channel is None:
            _error(session, request_id, 8)
            continue
        if channel.needs_tickers and not wanted:
            _error(session, request_id, 14)
            continue
        if wanted and not known and not channel.ignores_tickers:
            continue  # nothing left of it; the markets are reported below
        tickers = None if channel.ignores_tickers or not known else set(known)
        sub, tickers = _subscription(hub, session, channel, tickers)
        _reply(session, request_id, {"type": "subscribed", "msg": {"channel": name, "sid": sub.sid}})
        if name == BOOK and hub.faults.mutes():
            continue
        hub.route(sub, tickers)
        # A ticker's present state comes only on request, a book's always.
        if channel.on_subscribe is not None and (name != TICKER or params.get("send_initial_snapshot")):
            channel.on_subscribe(
                sub, list(hub.markets) if tickers is None else [t for t in known or () if t in tickers]
            )
    for ticker in wanted or ():
        if ticker not in hub.markets:
            _error(session, request_id, 16, market_ticker=ticker)


def _subscription(
    hub: Hub, session: Session, channel: Channel, tickers: set[str] | None
) -> tuple[Subscription, set[str] | None]:
    """The subscription that a subscribe is about, and which markets it brings to it (None: all)."""
    present = session.subscribed_to(channel) if hub.faults.settings.join_sid else None
    if present is None:
        return session.subscribe(channel, tickers), tickers
    if present.tickers is None:
        return present, set()
    if tickers is None:
        hub.unroute(present, None)
        present.tickers = None
        return present, None
    new = tickers - present.tickers
    if len(present.tickers) + len(new) > hub.config.max_markets_per_sub:
        raise _Refused(26)
    present.tickers |= new
    return present, new


def _unsubscribe(hub: Hub, session: Session, request_id: int | None, params: dict[str, Any]) -> None:
    sids = params.get("sids")
    if not isinstance(sids, list) or not sids:
        raise _Refused(4)
    for sid in sids:
        sub = session.subscriptions.get(sid) if type(sid) is int else None
        if sub is None:
            _error(session, request_id, 7)
            continue
        hub.end_subscription(sub)
        _reply(session, request_id, {"sid": sub.sid, "seq": sub.next_seq(), "type": "unsubscribed"})


def _update_subscription(hub: Hub, session: Session, request_id: int | None, params: dict[str, Any]) -> None:
    sub = _one_subscription(session, params)
    action = params.get("action")
    if not action:
        raise _Refused(15)
    if action not in ("add_markets", "delete_markets", "get_snapshot"):
        raise _Refused(13)
    wanted = _tickers(params)
    if not wanted:
        raise _Refused(14)
    known = [t for t in wanted if t in hub.markets]
    if action == "get_snapshot":
        if sub.channel.name != BOOK:
            raise _Refused(13)
        for ticker in known:
            if hub.source.knows_book(hub.markets[ticker]):
                hub.answer_snapshot(sub, hub.markets[ticker], request_id)
            else:
                _error(session, request_id, 18, market_ticker=ticker, sid=sub.sid)
    elif sub.tickers is None:
        raise _Refused(11)
    elif action == "add_markets":
        _add(hub, sub, request_id, known)
    else:
        gone = [t for t in wanted if t in sub.tickers]
        hub.unroute(sub, gone)
        sub.tickers.difference_update(gone)
        _ok(sub, request_id)
    for ticker in wanted:
        if ticker not in hub.markets:
            _error(session, request_id, 16, market_ticker=ticker, sid=sub.sid)


def _one_subscription(session: Session, params: dict[str, Any]) -> Subscription:
    sids = params.get("sids", [])
    if not isinstance(sids, list):
        raise _Refused(11)
    named = [*sids, *([params["sid"]] if "sid" in params else [])]
    if len(named) != 1 or type(named[0]) is not int:
        raise _Refused(12)
    sub = session.subscriptions.get(named[0])
    if sub is None:
        raise _Refused(7)
    return sub


def _add(hub: Hub, sub: Subscription, request_id: int | None, known: Iterable[str]) -> None:
    assert sub.tickers is not None
    new = [t for t in known if t not in sub.tickers]
    if len(sub.tickers) + len(new) > hub.config.max_markets_per_sub:
        raise _Refused(26)
    sub.tickers.update(new)
    _ok(sub, request_id)
    hub.route(sub, new)
    if sub.channel.on_subscribe is not None and sub.channel.name != TICKER:
        sub.channel.on_subscribe(sub, new)


def _ok(sub: Subscription, request_id: int | None) -> None:
    body: dict[str, object] = {"sid": sub.sid}
    if sub.channel.sequenced:
        body["seq"] = sub.next_seq()
    _reply(sub.session, request_id, {**body, "type": "ok", "msg": {"market_tickers": sorted(sub.tickers or ())}})


def _list_subscriptions(_hub: Hub, session: Session, request_id: int | None, _params: object) -> None:
    listed = [{"channel": sub.channel.name, "sid": sub.sid} for sub in session.subscriptions.values()]
    _reply(session, request_id, {"type": "ok", "msg": listed})


_VERBS: dict[str, Any] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "update_subscription": _update_subscription,
    "list_subscriptions": _list_subscriptions,
}
