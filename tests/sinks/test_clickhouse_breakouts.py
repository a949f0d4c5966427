"""Ways out of the read-only port that were found, each on a real socket: the engine's answers to one handle are not
only those of its last query, and not everything that is called EXPLAIN only explains."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from clickhouse_trap import SECRET, Trap

from app.clickhouse_http import QUERY_TYPES
from app.http_guard import guarded, http_guard
from ops.ports import free_ports
from sinks.clickhouse.http import READERS, ReadOnlyHttp
from sinks.contract import SinkUnavailable

pytestmark = pytest.mark.engines

#: Fails in its third block, when what the first two wrote is under way. The first row is `{text}`, others are empty.
FAILS_LATE = (
    "select if(number = 0, '{text}', if(intDiv(1, toInt64(number) - 140000) = 7, 'x', '')) "
    "from numbers(1000000) format TSVRaw"
)


@pytest.fixture
async def ask(new_sink: Any) -> Any:
    """Asks the port: (status, body)."""
    sink = await new_sink()
    (port,) = free_ports(1)
    http = ReadOnlyHttp(sink.store, guarded(http_guard("127.0.0.1", (), QUERY_TYPES)))
    await http.start("127.0.0.1", port)
    async with aiohttp.ClientSession() as session:

        async def asked(sql: str) -> tuple[int, str]:
            async with session.post(f"http://127.0.0.1:{port}/", data=sql) as answer:
                return answer.status, (await answer.read()).decode()

        yield asked
    await http.stop()


async def test_answer_after_a_failed_query_is_of_its_own_query_alone(ask: Any) -> None:
    """chDB puts what a failed query had written before the next answer of the handle."""
    for _ in range(READERS):
        assert (await ask(FAILS_LATE.format(text="left over")))[0] == 400
    for _ in range(READERS):
        assert await ask("select 42") == (200, "42\n")


async def test_what_a_failed_query_wrote_never_becomes_a_statement(ask: Any, tmp_path: Path) -> None:
    """The next answer of the handle is the text that is taken for the engine's own spelling, and run."""
    secret = tmp_path / "key.pem"
    secret.write_text(SECRET)
    async with Trap() as trap:
        sent = f"concat(\\'http://127.0.0.1:{trap.port}/\\', hex(file(\\'{secret}\\')))"
        text = f"select 1) ; select * from url({sent}, \\'LineAsString\\') ; select * from (select 1"
        for _ in range(READERS):
            await ask(FAILS_LATE.format(text=text))
        answers = [await ask("select 42") for _ in range(READERS + 1)]
        assert trap.visits == 0
    assert answers == [(200, "42\n")] * (READERS + 1)


@pytest.mark.parametrize("settings", ["optimize = 1", "optimize = 1, graph = 0", "graph = 1", "header = 1"])
async def test_explain_with_settings_is_refused_before_anything_is_resolved(
    ask: Any, tmp_path: Path, settings: str
) -> None:
    """With `optimize` the engine resolves what it explains: it opens the address to see what columns it has."""
    async with Trap() as trap:
        status, _ = await ask(f"explain {settings} select * from url('http://127.0.0.1:{trap.port}/x', 'CSV')")
        assert (status, trap.visits) == (403, 0)
    assert (await ask(f"explain {settings} select 1"))[0] == 403
    assert (await ask("explain with 1 as a select a"))[0] == 200


async def test_functions_whose_one_call_outlasts_every_limit_are_refused(ask: Any) -> None:
    """Between two rows the engine looks at its clock, within a call it does not: 40,000 letters squared are 8 s."""
    for name in ("editDistance", "levenshteinDistance", "damerauLevenshteinDistance", "editDistanceUTF8"):
        status, body = await ask(f"select {name}('a', 'b')")
        assert (status, "not one of those listed" in body) == (403, True), name


async def test_errors_of_a_query_are_the_clients(ask: Any) -> None:
    """No status of ours is 5xx for what was asked wrongly."""
    wrong = (
        "select toUInt8('x')",
        "select intDiv(1, 0)",
        "select sum('a')",
        "select toDate('x')",
        "select (1",
        "select f",
    )
    assert [status for status, _ in [await ask(sql) for sql in wrong] if not 400 <= status < 500] == []


async def test_own_client_of_the_store_is_right_after_a_failed_query(new_sink: Any) -> None:
    """The sink asks its store where it ends by the same kind of handle."""
    store = (await new_sink()).store
    with pytest.raises(SinkUnavailable):
        store.rows("select number, intDiv(1, number - 200000) from numbers(1000000)")
    assert store.rows("select 42") == [(42,)]
    with pytest.raises(SinkUnavailable):
        store.command("select number, intDiv(1, number - 200000) from numbers(1000000)")
    assert store.client.command("select 43") == 43
