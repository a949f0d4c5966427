"""The read-only HTTP interface on a real socket, with clickhouse-connect's own HTTP client and with plain HTTP."""

import asyncio
from typing import Any

import aiohttp
import clickhouse_connect
import pytest
from book_topic import batch, make_book_topic
from clickhouse_connect.driver.exceptions import DatabaseError

from app.clickhouse_http import QUERY_TYPES
from app.http_guard import guarded, http_guard
from ops.ports import free_ports
from sinks.clickhouse.http import ReadOnlyHttp

pytestmark = pytest.mark.engines


@pytest.fixture
async def served(new_sink: Any) -> Any:
    """(sink, port) with a small topic in the store."""
    sink = await new_sink()
    await sink.write(batch(make_book_topic(31, 400)))
    await sink.flush()
    (port,) = free_ports(1)
    http = ReadOnlyHttp(sink.store, guarded(http_guard("127.0.0.1", (), QUERY_TYPES)))
    await http.start("127.0.0.1", port)
    yield sink, port
    await http.stop()


async def test_clickhouse_connect_reads_rows_and_arrow(served: Any) -> None:
    """Bound parameters, Native and Arrow answers, while the sink goes on writing."""
    sink, port = served

    def read() -> tuple[Any, Any]:
        client = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=sink.store.database)
        rows = client.query("select count() from orderbook_events where _offset < {n:Int64}", {"n": 200}).result_rows
        arrow = client.query_arrow("select _offset, price from orderbook_events order by _offset, _row limit 3")
        client.close()
        return rows, arrow

    rows, arrow = await asyncio.to_thread(read)
    await sink.write(batch(make_book_topic(31, 500)[400:]))
    await sink.flush()

    assert rows == sink.store.rows("select count() from {db}.orderbook_events where _offset < 200")
    assert arrow.num_rows == 3


async def test_plain_http_gets_the_format_it_asks_for(served: Any) -> None:
    """`query` in the address or the body, a trailing FORMAT, the headers of the protocol, errors with their code."""
    _, port = served
    url = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/ping") as pong:
            assert await pong.text() == "Ok.\n"
        query = {"query": "select {a:String} as a format JSONEachRow", "param_a": "x"}
        async with session.get(f"{url}/", params=query) as answer:
            assert await answer.text() == '{"a":"x"}\n'
            assert answer.headers["X-ClickHouse-Format"] == "JSONEachRow"
            assert answer.headers["X-ClickHouse-Timezone"]
        async with session.post(f"{url}/", data="select 1 + 1") as answer:
            assert await answer.text() == "2\n"
        async with session.post(f"{url}/", data="select * from nowhere") as answer:
            assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (404, "60")


WRITES = (
    "insert into sink_marks values ('a', 1, 1)",
    "create table x (a Int8) engine = Memory",
    "drop table trades_raw",
    "set readonly = 0",
    "select 1 settings readonly = 0",
    "alter table trades_raw delete where 1",
    "system shutdown",
    "select * from file('/etc/hostname', 'LineAsString')",
    "select * from file /* x */ ('/etc/hostname', 'LineAsString')",
    "select * from `url`('http://127.0.0.1:1', 'CSV', 'a String')",
    "select 1 into outfile '/tmp/x'",
    "with x as (select 1) insert into sink_marks select 'a', 1, 1",
)


async def test_nothing_but_reading_its_own_tables(served: Any) -> None:
    """Writes, settings, files and other hosts are refused, whoever refuses them."""
    sink, port = served
    tables = "select name, total_rows from system.tables where database = {d:String} order by 1"
    before = sink.store.rows(tables, {"d": sink.store.database})
    answers = {}
    async with aiohttp.ClientSession() as session:
        for sql in WRITES:
            async with session.post(f"http://127.0.0.1:{port}/", data=sql) as answer:
                answers[sql] = answer.status

    assert {sql: status for sql, status in answers.items() if status < 400} == {}
    assert sink.store.rows(tables, {"d": sink.store.database}) == before


async def test_clickhouse_connect_sees_the_refusal_as_its_own_error(served: Any) -> None:
    """The client raises what a server in readonly mode would make it raise."""
    sink, port = served

    def write() -> None:
        client = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=sink.store.database)
        client.command("truncate table trades_raw")

    with pytest.raises(DatabaseError, match="READONLY"):
        await asyncio.to_thread(write)


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1", "-- a\nselect 1", "(select 1) union all (select 2)", "/* a */ with 1 as a select a", "show tables",
     "select price as file from orderbook_events limit 1", "explain select 1",
     "exists table trades", "describe table trades;",
     "show create table trades", "select 'file(1)', $$ url('x') $$",
     "select max(price) from orderbook_events where 'a' in ('b')",
     "select countIf(price > 1), argMaxIfOrNull(price, seq, price < 1) from orderbook_events",
     "select uniqExactMerge(s) from (select uniqExactState(seq) as s from orderbook_events)"],
)  # fmt: skip
async def test_reading_is_allowed(served: Any, sql: str) -> None:
    """What only reads is not refused by its looks."""
    _, port = served
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/", data=sql) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def test_bytes_behind_escapes_that_are_no_text_are_refused(served: Any) -> None:
    """They would be another query when they are written down again."""
    _, port = served
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/", data=b"select 1 as `a\\xff`") as answer,
    ):
        assert answer.status == 403, await answer.text()
