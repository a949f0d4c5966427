"""Every wire vintage of the venue's frames, any mix in one message.

The spellings of one value, newest first: `*_dollars_fp` (text price, text count), `*_dollars` (text price, integer
count), bare integers (whole cents, whole contracts). The newest that is present and not null wins: older ones are
rounded where prices are finer than a cent. An absent, null or empty side is an empty side. Where text is meant a JSON
number is as good: it is read from its text, never as a float.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from domain.errors import MalformedFrame
from domain.units import DOLLAR_E4
from venues.kalshi.messages import ControlFrame, DeltaFrame, Frame, Level, Refused, SnapshotFrame, TradeFrame
from venues.kalshi.numbers import cents_e4, contracts_e2, decode_exact, dollars_e4, size_e2
from venues.kalshi.timestamps import event_ms

SIZE_TEXTS_CACHED_MAX = 65_536  # texts; about 8 MB, and more distinct sizes than a busy day has
UNKNOWN_FIELDS_COUNTED_MAX = 1_000  # names; the rest is counted as "other", a hostile peer invents names without end
LEVELS_MAX = 9_999  # per side: one per possible price
TEXT_MAX = 128  # characters of a ticker or an id
COUNTER_MAX = 1 << 53

_OUTCOME_OF = {"bid": "yes", "ask": "no"}
_ENVELOPE = frozenset({"type", "id", "sid", "seq", "msg"})
_SIDES = ("yes", "no")
_CONTROL_TYPES = ("subscribed", "unsubscribed", "ok", "error")
_KNOWN: dict[str, frozenset[str]] = {
    "orderbook_delta": frozenset(
        [
            "market_ticker",
            "market_id",
            "price",
            "price_dollars",
            "delta",
            "delta_fp",
            "side",
            "ts",
            "ts_ms",
            "client_order_id",
            "subaccount",
        ]
    ),
    "orderbook_snapshot": frozenset(
        ["market_ticker", "market_id", "yes", "yes_dollars", "yes_dollars_fp", "no", "no_dollars", "no_dollars_fp"]
    ),
    "trade": frozenset(
        [
            "trade_id",
            "market_ticker",
            "market_id",
            "yes_price",
            "yes_price_dollars",
            "no_price",
            "no_price_dollars",
            "count",
            "count_fp",
            "taker_side",
            "taker_outcome_side",
            "taker_book_side",
            "is_block_trade",
            "ts",
            "ts_ms",
        ]
    ),
}


def parse_any_vintage(data: bytes, unknown_fields: Counter[str]) -> Frame:
    """The meaning of one frame of any vintage, or a `Refused` that says why not. Counts fields that no vintage has."""
    try:
        frame = decode_exact(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        return Refused("not_json", str(wrong)[:500])
    except RecursionError:
        return Refused("not_json", "nested too deeply")
    if not isinstance(frame, dict):
        return Refused("not_an_object", f"expected a JSON object, was {type(frame).__name__}")
    kind = frame.get("type")
    if not isinstance(kind, str):
        return Refused("no_type", f"expected a message type, was {kind!r}"[:500])
    try:
        return _parse_kind(kind, frame, unknown_fields)
    except MalformedFrame as wrong:
        return _refused(kind, frame, wrong.reason, wrong.detail)


def _parse_kind(kind: str, frame: dict[str, Any], unknown_fields: Counter[str]) -> Frame:
    if kind in _CONTROL_TYPES:
        return _control(kind, frame)
    known = _KNOWN.get(kind)
    if known is None:
        raise MalformedFrame("unknown_type", f"expected a type we subscribed to, was {kind!r}"[:500])
    msg = frame.get("msg")
    if not isinstance(msg, dict):
        raise MalformedFrame("no_message", f"expected an object as msg, was {type(msg).__name__}")
    parsed = _PARSERS[kind](frame, msg)
    for field in [*(frame.keys() - _ENVELOPE), *(msg.keys() - known)]:
        name = f"{kind}.{field}"[:TEXT_MAX]
        counted = name in unknown_fields or len(unknown_fields) < UNKNOWN_FIELDS_COUNTED_MAX
        unknown_fields[name if counted else "other"] += 1
    return parsed


def _delta(frame: dict[str, Any], msg: dict[str, Any]) -> DeltaFrame:
    if (text := msg.get("price_dollars")) is not None:
        price_e4 = dollars_e4(text, "price")
    else:
        price_e4 = cents_e4(msg.get("price"), "price")
    if (text := msg.get("delta_fp")) is not None:
        delta_e2 = size_e2(text, "delta")
    else:
        delta_e2 = contracts_e2(msg.get("delta"), "delta")
    return DeltaFrame(
        _counter(frame, "sid"),
        _counter(frame, "seq"),
        _text(msg, "market_ticker"),
        _optional_text(msg, "market_id"),
        _side(msg.get("side")),
        price_e4,
        delta_e2,
        event_ms(msg.get("ts_ms"), msg.get("ts")),
    )


def _snapshot(frame: dict[str, Any], msg: dict[str, Any]) -> SnapshotFrame:
    command_id = frame.get("id")
    return SnapshotFrame(
        _counter(frame, "sid"),
        _counter(frame, "seq"),
        command_id if type(command_id) is int else None,
        _text(msg, "market_ticker"),
        _optional_text(msg, "market_id"),
        _levels(msg, "yes"),
        _levels(msg, "no"),
    )


def _levels(msg: dict[str, Any], side: str) -> list[Level]:
    for name, in_cents in ((f"{side}_dollars_fp", False), (f"{side}_dollars", False), (side, True)):
        levels = msg.get(name)
        if levels is None:
            continue
        if not isinstance(levels, list) or len(levels) > LEVELS_MAX:
            raise MalformedFrame("bad_levels", f"{name}: expected a list of at most {LEVELS_MAX} levels")
        return [_level(level, name, in_cents) for level in levels]
    return []


def _level(level: object, name: str, in_cents: bool) -> Level:
    if not isinstance(level, list) or len(level) != 2:
        raise MalformedFrame("bad_levels", f"{name}: expected [price, count], was {level!r}"[:200])
    price, count = level
    price_e4 = cents_e4(price, name) if in_cents else dollars_e4(price, name)
    count_e2 = size_e2(count, name) if isinstance(count, str) else contracts_e2(count, name)
    if count_e2 < 0:
        raise MalformedFrame("size_out_of_range", f"{name}: expected a count of at least 0, was {count!r}")
    return price_e4, count_e2


def _trade(frame: dict[str, Any], msg: dict[str, Any]) -> TradeFrame:
    yes_e4, no_e4 = _leg_e4(msg, "yes_price"), _leg_e4(msg, "no_price")
    if yes_e4 is None and no_e4 is None:
        raise MalformedFrame("bad_number", "expected a price, was none")
    yes_e4 = yes_e4 if yes_e4 is not None else DOLLAR_E4 - (no_e4 or 0)
    no_e4 = no_e4 if no_e4 is not None else DOLLAR_E4 - yes_e4
    if yes_e4 + no_e4 != DOLLAR_E4:
        raise MalformedFrame("prices_do_not_sum", f"expected the legs to sum to 10000 e4, were {yes_e4} and {no_e4}")
    if (text := msg.get("count_fp")) is not None:
        count_e2 = size_e2(text, "count")
    else:
        count_e2 = contracts_e2(msg.get("count"), "count")
    if count_e2 <= 0:
        raise MalformedFrame("size_out_of_range", f"count: expected more than 0, was {count_e2} e2")
    is_block = msg.get("is_block_trade")
    if is_block is not None and not isinstance(is_block, bool):
        raise MalformedFrame("bad_type", f"is_block_trade: expected true or false, was {is_block!r}"[:200])
    return TradeFrame(
        _counter(frame, "sid") if frame.get("sid") is not None else None,
        _counter(frame, "seq") if frame.get("seq") is not None else None,
        _text(msg, "market_ticker"),
        _text(msg, "trade_id"),  # its identity; without one there is no key, and no key means dead letter
        yes_e4,
        no_e4,
        count_e2,
        taker_side(msg.get("taker_outcome_side"), msg.get("taker_book_side"), msg.get("taker_side")),
        is_block,
        event_ms(msg.get("ts_ms"), msg.get("ts")),
    )


_PARSERS: dict[str, Callable[[dict[str, Any], dict[str, Any]], DeltaFrame | SnapshotFrame | TradeFrame]] = {
    "orderbook_delta": _delta,
    "orderbook_snapshot": _snapshot,
    "trade": _trade,
}


def _leg_e4(msg: dict[str, Any], name: str) -> int | None:
    if (text := msg.get(f"{name}_dollars")) is not None:
        return dollars_e4(text, name)
    return None if (cents := msg.get(name)) is None else cents_e4(cents, name)


def taker_side(outcome: object, book_side: object, side: object) -> str:
    """The side that the taker gained: `taker_outcome_side`, else what `taker_book_side` says (a bid buys YES), else the
    deprecated `taker_side`. Raises MalformedFrame `bad_side`."""
    if outcome is None and book_side is not None:
        outcome = _OUTCOME_OF.get(book_side) if isinstance(book_side, str) else None
        if outcome is None:
            raise MalformedFrame("bad_side", f"taker_book_side: expected bid or ask, was {book_side!r}"[:200])
    return _side(outcome if outcome is not None else side)


def _control(kind: str, frame: dict[str, Any]) -> ControlFrame:
    msg = frame.get("msg")
    body: dict[str, Any] = msg if isinstance(msg, dict) else {}
    sid = frame.get("sid") if kind != "subscribed" else body.get("sid", frame.get("sid"))
    if sid is None and kind == "error":
        sid = body.get("sid")
    named = body.get("market_tickers")
    tickers = named if isinstance(named, list) else [body.get("market_ticker")]
    code, channel = body.get("code"), body.get("channel")
    return ControlFrame(
        kind,
        _int_or_none(frame.get("id")),
        _int_or_none(sid),
        _int_or_none(frame.get("seq")),
        channel if isinstance(channel, str) else None,
        code if type(code) is int else 0,
        str(body.get("msg", ""))[:500],
        tuple(ticker for ticker in tickers if isinstance(ticker, str)),
    )


def _refused(kind: str, frame: dict[str, Any], reason: str, detail: str) -> Refused:
    msg = frame.get("msg")
    ticker = msg.get("market_ticker") if isinstance(msg, dict) else None
    return Refused(
        reason,
        detail[:2_000],
        _int_or_none(frame.get("sid")),
        _int_or_none(frame.get("seq")),
        ticker if isinstance(ticker, str) and 0 < len(ticker) <= TEXT_MAX else None,
        kind if kind in _KNOWN or kind in _CONTROL_TYPES else "",
        _int_or_none(frame.get("id")),
    )


def _int_or_none(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= COUNTER_MAX else None


def _counter(frame: dict[str, Any], name: str) -> int:
    value = _int_or_none(frame.get(name))
    if value is None:
        raise MalformedFrame("no_sequence", f"{name}: expected a count, was {frame.get(name)!r}"[:200])
    return value


def _text(msg: dict[str, Any], name: str) -> str:
    value = msg.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_MAX:
        raise MalformedFrame(f"bad_{name}", f"expected 1 to {TEXT_MAX} characters, was {value!r}"[:200])
    return value


def _optional_text(msg: dict[str, Any], name: str) -> str | None:
    value = msg.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedFrame("bad_type", f"{name}: expected text, was {value!r}"[:200])
    return value


def _side(value: object) -> str:
    if value not in _SIDES:
        raise MalformedFrame("bad_side", f"expected yes or no, was {value!r}"[:200])
    return str(value)
