"""Queries that try to leave the tables, against a planted secret and a listening socket. CAMPAIGN_QUERIES sets how many
the long form tries (100,000), CAMPAIGN_SEED from where."""

import asyncio
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from book_topic import batch, make_book_topic
from clickhouse_trap import SECRET, Trap
from query_campaign import EXPRESSIONS, WAYS, queries

from app.clickhouse_http import QUERY_TYPES
from app.http_guard import guarded, http_guard
from ops.ports import free_ports
from sinks.clickhouse.http import ReadOnlyHttp
from sinks.clickhouse.readonly import Refused, allowed_functions, tree_of

pytestmark = pytest.mark.engines

AT_ONCE = 8


@pytest.fixture
async def served(new_sink: Any) -> Any:
    """(store, port) with a small topic in the store."""
    sink = await new_sink()
    await sink.write(batch(make_book_topic(31, 100)))
    await sink.flush()
    (port,) = free_ports(1)
    http = ReadOnlyHttp(sink.store, guarded(http_guard("127.0.0.1", (), QUERY_TYPES)))
    await http.start("127.0.0.1", port)
    yield sink.store, port
    await http.stop()


async def campaign(served: Any, tmp_path: Path, seed: int, count: int) -> dict[int, int]:
    """Answers by status, after everything was tried; fails on the first that got out."""
    store, port = served
    secret = tmp_path / "key.pem"
    secret.write_text(SECRET)
    tables = "select name, total_rows from system.tables where database = {d:String} order by 1"
    before = store.rows(tables, {"d": store.database})
    files = sorted(os.listdir(tmp_path))
    answers: dict[int, int] = {}
    url = f"http://127.0.0.1:{port}/"
    async with Trap() as trap, aiohttp.ClientSession() as session:
        tried = queries(seed, count, str(secret), "127.0.0.1", trap.port, store.database)

        async def work() -> None:
            for text, parameters in tried:
                named = {f"param_{name}": value for name, value in parameters.items()}
                async with session.post(url, params=named, data=text.encode(errors="replace")) as answer:
                    body = await answer.read()
                    answers[answer.status] = answers.get(answer.status, 0) + 1
                assert SECRET.encode() not in body, f"the secret was read by {text!r}"
                assert trap.visits == 0, f"a socket was reached by {text!r}"
                assert answer.status < 500, f"not taken for a mistake of the query: {text!r}: {body[:200]!r}"

        await asyncio.gather(*[work() for _ in range(AT_ONCE)])
    assert store.rows(tables, {"d": store.database}) == before
    assert sorted(os.listdir(tmp_path)) == files, "a file was written"
    return answers


async def test_no_query_reads_a_file_or_reaches_a_socket(served: Any, tmp_path: Path) -> None:
    """A thousand of the campaign's; some of them are harmless and run, or it would prove nothing."""
    answers = await campaign(served, tmp_path, 1, 1_000)
    assert answers.get(200, 0) > 0
    assert answers[403] > 100


@pytest.mark.slow
@pytest.mark.timeout(3_600)
async def test_no_query_of_a_long_campaign_reads_a_file_or_reaches_a_socket(served: Any, tmp_path: Path) -> None:
    """See the module."""
    count, seed = int(os.environ.get("CAMPAIGN_QUERIES", "100000")), int(os.environ.get("CAMPAIGN_SEED", "7"))
    answers = await campaign(served, tmp_path, seed, count)
    print(f"{sum(answers.values())} queries: {dict(sorted(answers.items()))}; no secret, no visitor, no change")


async def test_the_campaign_would_find_its_way_without_the_list(served: Any, tmp_path: Path) -> None:
    """The same ways, asked of the engine itself: the secret is there to be read, and the socket to be reached."""
    store, _ = served
    secret = tmp_path / "key.pem"
    secret.write_text(SECRET)
    rows = await asyncio.to_thread(store.rows, f"select * from file('{secret}','LineAsString')")
    assert rows == [(SECRET,)]
    assert any("{file}" in way for way in WAYS)
    assert any("{port}" in way for way in (*WAYS, *EXPRESSIONS))


@pytest.mark.parametrize(
    "dump",
    ["SelectWithUnionQuery (children 1)\n ExpressionList (children 1)\n  Identifier a\n   Function count",
     "SelectWithUnionQuery (children 1)\n  Identifier gap", "SelectWithUnionQuery (children 2)\n Literal 1", "?"],
)  # fmt: skip
def test_tree_that_does_not_add_up_is_refused(dump: str) -> None:
    """Lines within a name look like nodes; the counts give them away."""
    with pytest.raises(Refused):
        tree_of(dump)


async def test_listed_functions_are_of_the_engine_and_none_of_a_kind_that_reaches_out(served: Any) -> None:
    """After an update of the engine: what it renamed, and what it put where."""
    store, _ = served
    known = {str(name).lower(): str(kind) for name, kind in store.rows("select name, categories from system.functions")}
    outside = ("Dictionary", "Embedded Dictionary", "Introspection", "Machine Learning", "AI", "Internal", "Encryption")
    assert {name for name in allowed_functions() if known.get(name) in outside} == {"_cast"}
    assert {n for n in allowed_functions() if n not in known} <= {"_cast", "lambda", "exists"}
    assert not {"file", "joinget", "dictget", "sleep", "hostname", "getsetting"} & allowed_functions()
