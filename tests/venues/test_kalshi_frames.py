"""Frames of all wire vintages, any mix in one message, into exact integers; and what is refused, with which reason."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from frame_spellings import PRICES, SIZES, delta, parse, price_text, size_text
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import encode_record
from schemas.registry import BOOK_UPDATES, TRADES, decoder
from venues.capture import read_capture
from venues.kalshi import translate
from venues.kalshi.frames import FRAME_BYTES_MAX, FrameParser
from venues.kalshi.messages import ControlFrame, DeltaFrame, Frame, Refused, SnapshotFrame, TradeFrame
from venues.kalshi.timestamps import event_ms, rfc3339_ms
from venues.kalshi.vintages import parse_any_vintage

SHARED = Path(__file__).parents[3] / "shared" / "data" / "kalshi_ws"


@st.composite
def delta_spellings(draw: st.DrawFn) -> tuple[int, int, dict[str, Any]]:
    """One change in any mix of spellings that the value allows; older spellings may stand beside newer ones."""
    price_e4, delta_e2 = draw(PRICES), draw(st.integers(-(10**9), 10**9))
    whole_cents, whole_contracts = price_e4 % 100 == 0, delta_e2 % 100 == 0
    msg: dict[str, Any] = {}
    if not whole_cents or draw(st.booleans()):
        msg["price_dollars"] = price_text(price_e4)
    if whole_cents and ("price_dollars" not in msg or draw(st.booleans())):
        msg["price"] = price_e4 // 100
    if not whole_contracts or draw(st.booleans()):
        msg["delta_fp"] = size_text(delta_e2)
    if whole_contracts and ("delta_fp" not in msg or draw(st.booleans())):
        msg["delta"] = delta_e2 // 100
    return price_e4, delta_e2, msg


@given(delta_spellings())
def test_a_delta_means_the_same_in_every_vintage(spelling: tuple[int, int, dict[str, Any]]) -> None:
    """Exact integers, sign kept, sub-cent prices and fractional counts."""
    price_e4, delta_e2, msg = spelling

    assert parse(delta(**msg)) == DeltaFrame(2, 3, "KX-A", "u-1", "yes", price_e4, delta_e2, None)


@st.composite
def sides(draw: st.DrawFn) -> tuple[list[tuple[int, int]], dict[str, Any]]:
    """Levels of a `yes` side, and one of the ways to write them."""
    levels = draw(st.lists(st.tuples(PRICES, SIZES), max_size=5))
    ways: list[dict[str, Any]] = [{"yes_dollars_fp": [[price_text(p), size_text(s)] for p, s in levels]}]
    if all(s % 100 == 0 for _, s in levels):
        ways.append({"yes_dollars": [[price_text(p), s // 100] for p, s in levels], "yes_dollars_fp": None})
        if all(p % 100 == 0 for p, _ in levels):
            ways.append({"yes": [[p // 100, s // 100] for p, s in levels]})
    if not levels:
        ways += [{}, {"yes": None}, {"yes": []}]
    return levels, draw(st.sampled_from(ways))


@given(sides())
def test_a_snapshot_means_the_same_in_every_vintage(side: tuple[list[tuple[int, int]], dict[str, Any]]) -> None:
    """An absent, null or empty side is empty; levels keep the order received."""
    levels, msg = side
    frame = {"type": "orderbook_snapshot", "sid": 1, "seq": 9, "id": 4, "msg": {"market_ticker": "KX-A", **msg}}

    assert parse(frame) == SnapshotFrame(1, 9, 4, "KX-A", None, levels, [])


@given(PRICES, st.integers(1, 10**9), st.sampled_from(["yes", "no"]))
def test_a_trade_of_today_and_its_fast_and_slow_reading_agree(price_e4: int, count_e2: int, taker: str) -> None:
    """The strict pass and the one that knows every vintage read the same."""
    msg = {
        "trade_id": "t-1",
        "market_ticker": "KX-A",
        "yes_price_dollars": price_text(price_e4),
        "no_price_dollars": price_text(10_000 - price_e4),
        "count_fp": size_text(count_e2),
        "taker_side": taker,
        "ts": 1_669_149_841,
        "ts_ms": 1_669_149_841_123,
    }
    text = json.dumps({"type": "trade", "sid": 2, "seq": 48, "msg": msg}).encode()

    expected = TradeFrame(2, 48, "KX-A", "t-1", price_e4, 10_000 - price_e4, count_e2, taker, None, 1_669_149_841_123)
    assert FrameParser().parse(text) == expected == parse_any_vintage(text, Counter())


def test_an_old_trade_in_cents_and_seconds() -> None:
    """The other leg is the rest of the dollar, a missing seq is allowed, seconds become milliseconds."""
    msg = {"trade_id": "t", "market_ticker": "K", "yes_price": 36, "count": 13, "taker_side": "no", "ts": 1_669_149_841}

    assert parse({"type": "trade", "msg": msg}) == TradeFrame(
        None, None, "K", "t", 3_600, 6_400, 1_300, "no", None, 1_669_149_841_000
    )


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-04-18T05:34:49.816683Z", 1_776_490_489_816),
        ("2025-08-12T21:00:32.539836022Z", 1_755_032_432_539),
        ("2026-08-11T00:15:33.6Z", 1_786_407_333_600),
        ("2026-08-11T00:15:33Z", 1_786_407_333_000),
        ("2026-08-11T02:15:33+02:00", 1_786_407_333_000),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_rfc_3339_times_are_exact_to_the_millisecond(text: str, ms: int) -> None:
    """Finer digits are cut off, offsets are honoured, no float is involved."""
    assert rfc3339_ms(text) == ms
    assert parse(delta(price=42, delta=1, ts=text)) == DeltaFrame(2, 3, "KX-A", "u-1", "yes", 4_200, 100, ms)


BAD_DELTAS: list[tuple[dict[str, Any], str]] = [
    ({"price_dollars": "1.0000", "delta_fp": "1.00"}, "price_out_of_range"),
    ({"price_dollars": "0.0000", "delta_fp": "1.00"}, "price_out_of_range"),
    ({"price": 100, "delta": 1}, "price_out_of_range"),
    ({"price": True, "delta": 1}, "bad_number"),
    ({"price": 42, "delta": "1"}, "bad_number"),
    ({"price_dollars": 0.42001, "delta": 1}, "bad_number"),
    ({"price_dollars": 0.1 + 0.2, "delta": 1}, "bad_number"),
    ({"price_dollars": 1, "delta": 1}, "price_out_of_range"),
    ({"price_dollars": True, "delta": 1}, "bad_number"),
    ({"price_dollars": [0.42], "delta": 1}, "bad_number"),
    ({"price": 42.001, "delta": 1}, "bad_number"),
    ({"price": 42, "delta_fp": 10**25}, "bad_number"),
    ({"price_dollars": "NaN", "delta_fp": "1.00"}, "bad_number"),
    ({"price_dollars": "4e-1", "delta_fp": "1.00"}, "bad_number"),
    ({"price_dollars": "0.42001", "delta_fp": "1.00"}, "bad_number"),
    ({"price": 42, "delta_fp": "99999999999999999.00"}, "bad_number"),
    ({"price": 42, "delta": 10**18}, "size_out_of_range"),
    ({"price": 42, "delta": 1, "side": "maybe"}, "bad_side"),
    ({"price": 42, "delta": 1, "side": None}, "bad_side"),
    ({"price": 42, "delta": 1, "market_ticker": ""}, "bad_market_ticker"),
    ({"price": 42, "delta": 1, "market_ticker": "x" * 129}, "bad_market_ticker"),
    ({"price": 42, "delta": 1, "ts": "yesterday"}, "bad_timestamp"),
    ({"price": 42, "delta": 1, "ts": "2026-02-30T00:00:00Z"}, "bad_timestamp"),
    ({"price": 42, "delta": 1, "ts_ms": -1}, "bad_timestamp"),
    ({"price": 42, "delta": 1, "ts_ms": 1.5}, "bad_timestamp"),
    ({"delta": 1}, "bad_number"),
    ({"price": 42}, "bad_number"),
]


@pytest.mark.parametrize(("msg", "reason"), BAD_DELTAS)
def test_a_bad_delta_is_refused_with_its_reason_and_its_place(msg: dict[str, Any], reason: str) -> None:
    """What could be read of it is kept: its sid and seq were taken."""
    refused = parse(delta(**msg))

    assert isinstance(refused, Refused)
    assert (refused.reason, refused.sid, refused.seq, refused.is_book) == (reason, 2, 3, True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b'{"type":NaN}', "not_json"),
        (b"[1]", "not_an_object"),
        (b'{"sid":1}', "no_type"),
        (b'{"type":7}', "no_type"),
        (b'{"type":"ticker","msg":{}}', "unknown_type"),
        (b'{"type":"orderbook_delta","sid":1,"seq":2}', "no_message"),
        (b'{"type":"orderbook_delta","sid":-1,"seq":2,"msg":{"market_ticker":"A","price":1,"delta":1,"side":"no"}}', "no_sequence"),  # noqa: E501
        (b'{"type":"orderbook_snapshot","sid":1,"seq":2,"msg":{"market_ticker":"A","yes":[[1]]}}', "bad_levels"),
        (b'{"type":"orderbook_snapshot","sid":1,"seq":2,"msg":{"market_ticker":"A","yes":[[1,-1]]}}', "size_out_of_range"),  # noqa: E501
        (b'{"type":"trade","msg":{"market_ticker":"A","yes_price":1,"count":1,"taker_side":"no"}}', "bad_trade_id"),
        (b'{"type":"trade","msg":{"market_ticker":"A","trade_id":"t","yes_price":1,"no_price":2,"count":1,"taker_side":"no"}}', "prices_do_not_sum"),  # noqa: E501
        (b"[" * 100_000, "not_json"),
        (b" " * (FRAME_BYTES_MAX + 1), "frame_too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_bad_frame_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    """Never an exception."""
    refused = parse(data)

    assert isinstance(refused, Refused)
    assert refused.reason == reason


def test_fields_that_no_vintage_has_are_tolerated_and_counted() -> None:
    """The message is read, the names are counted per type."""
    parser = FrameParser()
    frame = json.dumps({**delta(price=42, delta=1, colour="red"), "mood": 1}).encode()

    assert parser.parse(frame) == parser.parse(frame) == DeltaFrame(2, 3, "KX-A", "u-1", "yes", 4_200, 100, None)
    assert parser.unknown_fields == {"orderbook_delta.colour": 2, "orderbook_delta.mood": 2}


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (
            {"id": 1, "type": "subscribed", "msg": {"channel": "trade", "sid": 5}},
            ControlFrame("subscribed", 1, 5, None, "trade", 0, "", ()),
        ),
        (
            {"id": 2, "sid": 2, "seq": 7, "type": "unsubscribed"},
            ControlFrame("unsubscribed", 2, 2, 7, None, 0, "", ()),
        ),
        (
            {"id": 3, "sid": 1, "seq": 222, "type": "ok", "msg": {"market_tickers": ["A", "B"]}},
            ControlFrame("ok", 3, 1, 222, None, 0, "", ("A", "B")),
        ),
        (
            {"id": 6, "type": "ok", "msg": [{"channel": "trade", "sid": 1}]},
            ControlFrame("ok", 6, None, None, None, 0, "", ()),
        ),
        (
            {"id": 9, "type": "error", "msg": {"code": 16, "msg": "Market not found", "market_ticker": "A"}},
            ControlFrame("error", 9, None, None, None, 16, "Market not found", ("A",)),
        ),
    ],
)
def test_answers_of_the_venue(frame: dict[str, Any], expected: ControlFrame) -> None:
    """Acknowledgements and errors with what the client needs of them."""
    assert parse(frame) == expected


@settings(max_examples=300)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=12,
    ),
    st.sampled_from(["orderbook_delta", "orderbook_snapshot", "trade", "ok", "error", "subscribed", "unsubscribed"]),
    st.sampled_from(["msg", "msg.yes", "msg.price", "msg.ts", "msg.market_ticker", "msg.trade_id", "sid", "seq", "id"]),
)
def test_whatever_stands_where_is_a_frame_or_a_refusal(value: Any, kind: str, place: str) -> None:
    """No input raises, and whatever is accepted becomes a record that readers accept."""
    msg = {"market_ticker": "A", "price": 5, "delta": 1, "side": "no", "trade_id": "t", "yes_price": 5, "count": 1}
    frame: dict[str, Any] = {"type": kind, "sid": 1, "seq": 2, "msg": {**msg, "taker_side": "yes"}}
    head, _, tail = place.partition(".")
    if tail:
        frame["msg"][tail] = value
    else:
        frame[head] = value

    _must_be_readable(parse(frame))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_refusal(data: bytes) -> None:
    """No bytes raise."""
    _must_be_readable(parse(data))


def _must_be_readable(frame: Frame) -> None:
    if isinstance(frame, DeltaFrame):
        decoder(BOOK_UPDATES).decode(encode_record(translate.book_delta(frame, "s", 1)))
    elif isinstance(frame, SnapshotFrame):
        decoder(BOOK_UPDATES).decode(encode_record(translate.book_snapshot(frame, "s", 1)))
    elif isinstance(frame, TradeFrame):
        decoder(TRADES).decode(encode_record(translate.trade(frame, 1)))


@pytest.mark.skipif(not SHARED.is_dir(), reason="recorded frames are not here")
def test_recorded_frames_read_the_same_fast_and_slow() -> None:
    """Every frame of the quiet recorded window: both readings agree, none is refused, no field is unknown."""
    parser, unknown = FrameParser(), Counter[str]()
    for captured in read_capture(SHARED / "KXGOLD15M-26AUG101900-00.ndjson.gz"):
        fast = parser.parse(captured.text.encode())
        assert fast == parse_any_vintage(captured.text.encode(), unknown)
        assert not isinstance(fast, Refused)
    assert not parser.unknown_fields
    assert not unknown


def test_keys_are_stable_and_say_where_a_record_comes_from() -> None:
    """The same frame of the same session has the same key; a trade has the same key in every session."""
    frame = parse(delta(price=42, delta=1))
    assert isinstance(frame, DeltaFrame)
    trade = TradeFrame(1, 2, "A", "t-9", 1, 9_999, 1, "no", None, None)
    snapshot = SnapshotFrame(1, 2, None, "A", None, [], [])

    assert translate.book_delta(frame, "s-1", 5).idempotency_key == "book_delta:v1:s-1:2:3"
    assert translate.book_snapshot(snapshot, "s-1", 5).idempotency_key == "book_snapshot:v1:s-1:1:2:A"
    assert translate.book_reset("A", "s-1", 4, None, None, "gap", 5).idempotency_key == "book_reset:v1:s-1:A:4"
    assert translate.trade(trade, 5).idempotency_key == translate.trade(trade, 6).idempotency_key == "trade:v1:t-9"


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("field", ["ts", "ts_ms"])
def test_integer_time_says_its_unit_by_its_size(unit: int, field: str) -> None:
    """Seconds, milliseconds, microseconds, nanoseconds: whatever the field is called."""
    assert event_ms(1_776_490_489 * unit if field == "ts_ms" else None, 1_776_490_489 * unit) == 1_776_490_489_000
