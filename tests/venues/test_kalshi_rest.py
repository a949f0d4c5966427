"""The market's REST answers in odd shapes, from a real server: lists, cursors, numbers, bodies."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from domain.errors import MalformedFrame
from venues.kalshi import rest as rest_module
from venues.kalshi.rest import KalshiRest, Market, RestRefused


@asynccontextmanager
async def answering(*bodies: str, seen: list[dict[str, str]] | None = None) -> AsyncIterator[KalshiRest]:
    """A client of a venue that gives these bodies one after the other, the last one again and again."""
    asked = seen if seen is not None else []

    async def answer(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        return web.Response(text=bodies[min(len(asked), len(bodies)) - 1], content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server, KalshiRest(str(server.make_url("/")), None, tries_max=1) as rest:
        yield rest


async def _tickers(rest: KalshiRest) -> list[str]:
    return [market.ticker for market in await rest.markets({})]


@pytest.mark.parametrize(
    ("cursors", "pages"),
    [(["a", "a"], 2), (["a", "b", "a"], 3), (["a", "b", ""], 3), (["a", None], 2)],
    ids=["itself", "a circle", "the end", "null"],
)
async def test_a_cursor_that_repeats_ends_the_walk_at_its_first_repeat(cursors: list[Any], pages: int) -> None:
    """Every page that was given is read, none is asked for twice."""
    bodies = [json.dumps({"markets": [{"ticker": f"M{n}"}], "cursor": cursor}) for n, cursor in enumerate(cursors)]
    seen: list[dict[str, str]] = []
    async with answering(*bodies, seen=seen) as rest:
        assert await _tickers(rest) == [f"M{n}" for n in range(pages)]
    assert len(seen) == pages
    assert len({query.get("cursor") for query in seen}) == pages


async def test_null_lists_and_null_texts_are_empty() -> None:
    """Of a page, of an event, of a market."""
    async with answering('{"markets":null,"cursor":null}') as rest:
        assert await _tickers(rest) == []
    nulls = '{"ticker":"M","event_ticker":null,"status":null,"result":null,"close_time":null,"yes_ask_dollars":null}'
    async with answering(f'{{"markets":[{nulls}],"cursor":""}}') as rest:
        assert await rest.markets({}) == [Market(ticker="M")]
    async with answering('{"event":{"event_ticker":"E","title":null,"markets":null},"markets":null}') as rest:
        assert (await rest.event("E")).markets == ()


async def test_a_list_that_is_none_is_refused_with_its_shape() -> None:
    """Not read as the letters of a text or the keys of an object."""
    async with answering('{"markets":{"a":1}}') as rest:
        with pytest.raises(RestRefused, match="expected a list, was dict"):
            await _tickers(rest)


async def test_numbers_are_exact_and_no_float_is_made_of_them() -> None:
    """Read from their text."""
    async with answering('{"orderbook_fp":{"yes_dollars":[[0.29,1000000.07]]}}') as rest:
        assert (await rest.orderbook("M"))["orderbook_fp"]["yes_dollars"] == [[Decimal("0.29"), Decimal("1000000.07")]]
    async with answering('{"markets":[{"ticker":"M","yes_bid_dollars":0.29,"yes_ask_dollars":"0.3000"}]}') as rest:
        (market,) = await rest.markets({})
        assert (market.yes_bid_e4, market.yes_ask_e4) == (2_900, 3_000)


@pytest.mark.parametrize(
    ("bid", "ask", "expected"),
    [
        ("0.0000", "1.0000", (None, None)),
        ("0.0000", "0.0000", (None, None)),  # multivariate markets
        ("0.0100", "0.0000", (100, None)),
        ("0.9900", "1.0000", (9_900, None)),
        ("0.0001", "0.9999", (1, 9_999)),
        (None, None, (None, None)),
        (0, 1, (None, None)),
    ],
)
def test_an_absent_side_has_several_spellings(
    bid: object, ask: object, expected: tuple[int | None, int | None]
) -> None:
    """An ask of nothing is not an offer to sell for nothing."""
    market = Market(ticker="M", yes_bid_dollars=bid, yes_ask_dollars=ask)
    assert (market.yes_bid_e4, market.yes_ask_e4) == expected


def test_a_price_that_is_no_number_does_not_hide_its_market() -> None:
    """Who asks for the price is told."""
    market = Market(ticker="M", yes_bid_dollars="cheap")
    with pytest.raises(MalformedFrame, match="expected decimal text"):
        _ = market.yes_bid_e4


async def test_a_body_beyond_all_bounds_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one whose length is not said before."""
    monkeypatch.setattr(rest_module, "BODY_BYTES_MAX", 1_000)

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(10_000):
            await answer.write(b" " * 1_000)
        return answer

    app = web.Application()
    app.router.add_get("/markets", endless)
    async with TestServer(app) as server, KalshiRest(str(server.make_url("/")), None, tries_max=1) as rest:
        with pytest.raises(RestRefused, match="expected at most 1000 bytes"):
            await _tickers(rest)
