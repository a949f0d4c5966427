"""Two subaccounts under one key: the desk's position is of its own, and the other one is counted and listed."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from domain.errors import UserMistake
from producers.account import refuse_other_subaccount
from producers.account_walk import walk
from venues.kalshi.account_rest import AccountRest
from venues.kalshi.subaccounts import LISTED_MAX, Subaccounts, subaccount_of


def fill(number: int | None, name: str) -> dict[str, Any]:
    """What a list of fills has of one."""
    told = {} if number is None else {"subaccount_number": number}
    return {"fill_id": name, "ticker": "KX-A", "count_fp": "6.00", **told}


@pytest.fixture
async def venue() -> Any:
    """(address, the queries that came): lists of two pages, of which the first has the other subaccount alone."""
    pages = {"": ([fill(1, "b"), fill(1, "c")], "2"), "2": ([fill(0, "a"), fill(None, "d")], "")}
    asked: list[dict[str, str]] = []

    async def fills(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        items, cursor = pages[request.query.get("cursor", "")]
        return web.json_response({"fills": items, "cursor": cursor})

    app = web.Application()
    app.router.add_get("/portfolio/fills", fills)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    await runner.cleanup()


@pytest.mark.parametrize(("own", "names", "asks"), [(0, ["a", "d"], None), (1, ["b", "c", "d"], "1")])
async def test_a_walk_brings_the_desks_own_and_counts_the_others(
    venue: Any, own: int, names: list[str], asks: str | None
) -> None:
    """Mixed, +6 of ours and +6 of the other's would be a position of +12 that nobody has."""
    url, asked = venue
    seen: list[str] = []

    def on_page(items: list[dict[str, Any]]) -> bool:
        seen.extend(item["fill_id"] for item in items)
        return not items  # a page of others must not look like the end

    async with AccountRest(url, None, subaccount=own) as rest:
        result = await walk(rest, "/portfolio/fills", "fills", {}, on_page)
    assert (seen, result.complete) == (names, True)
    assert {query.get("subaccount") for query in asked} == {asks}
    (other,) = rest.subaccounts.listed()["others"].values()
    assert other == {"fills": 2 if own == 0 else 1, "markets": ["KX-A"]}


@pytest.mark.parametrize(
    ("item", "number"),
    [({"subaccount": 3}, 3), ({"subaccount_number": "4"}, 4), ({}, None), ({"subaccount": None}, None),
     ({"subaccount": True}, None)],
)  # fmt: skip
def test_number_of_a_subaccount_in_either_field(item: dict[str, Any], number: int | None) -> None:
    """Lists say `subaccount_number`, frames `subaccount`; old venues neither."""
    assert subaccount_of(item) == number


def test_a_venue_that_invents_numbers_fills_no_memory() -> None:
    """The venue has 64; what comes beyond is counted together."""
    subaccounts = Subaccounts(0)
    for number in range(1, 1_000):
        assert not subaccounts.is_own({"subaccount": number, "ticker": f"KX-{number}"}, "fills")
    assert len(subaccounts.others) <= LISTED_MAX + 1
    assert sum(counts["fills"] for counts in subaccounts.others.values()) == 999


def test_data_directory_of_one_subaccount_is_refused_to_another(tmp_path: Path) -> None:
    """Their positions would be summed in one log."""
    mark = tmp_path / "prod-0123.json"
    refuse_other_subaccount(mark)
    mark.write_text("{}")
    (tmp_path / "prod-4567-sub2.json").write_text("{}")
    refuse_other_subaccount(mark)
    with pytest.raises(UserMistake, match=r"prod-0123\.json.*prod-0123-sub1\.json; use another --data-dir"):
        refuse_other_subaccount(tmp_path / "prod-0123-sub1.json")
    refuse_other_subaccount(tmp_path / "prod-4567-sub2.json")
