"""ClickHouse's HTTP interface, read-only, over the chDB of this process: for qa, Grafana, curl, clickhouse-connect.

chDB's folder can be opened by one process only, so whoever wants to read asks the one that writes. What a client needs
of the protocol is here: `query` as parameter or body, a trailing `FORMAT`, `param_*`, `database`, and the headers
X-ClickHouse-Format and X-ClickHouse-Timezone. Settings in the address are accepted and ignored.

What runs is never the text that came: the engine parses that (as a value, which cannot become a statement), writes it
in its canonical form, and shows the tree of that form, which must be all listed (`readonly`). The form is what runs.
"""

import asyncio
import os
import re
from typing import Any

import chdb
from aiohttp import web
from aiohttp.typedefs import Middleware

from sinks.clickhouse.readonly import (
    Refused,
    is_listed_format,
    is_listed_statement,
    require_reading,
    split_format,
    tree_of,
)
from sinks.clickhouse.store import Store, first_line

READERS = 2  # queries at a time; more would take both cores from the sink
QUERY_BYTES_MAX = 1 << 20  # length of a query with its body
# Per query, enforced by the engine: one reader must not starve the sink.
LIMITS = {"max_execution_time": 30, "max_memory_usage": 1 << 30, "max_result_bytes": 256 << 20, "max_threads": 2}
READERS_WAIT_S = 30.0  # a query that waits longer for its turn is told so (503)
#: A value of a query parameter is read as one field of TabSeparated.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
_CODE = re.compile(r"Code: (\d+)")
_TYPES = {
    "JSON": "application/json",
    "JSONEachRow": "application/x-ndjson",
    "CSV": "text/csv",
    "CSVWithNames": "text/csv",
}
_TYPES |= dict.fromkeys(("Native", "Arrow", "ArrowStream", "Parquet", "RowBinary"), "application/octet-stream")
STATUS_OF_CODE = {60: 404, 81: 404, 47: 404, 46: 404, 164: 403, 497: 403}
#: The engine's own trouble: a logical error, its disk, what has no code. Any other error is the query's (400).
STATUS_OF_CODE |= dict.fromkeys((49, 74, 75, 76, 243, 1001, 1002), 500)


class _Reader:
    """One handle on the engine, made read-only for good: the setting cannot be taken back in its session.

    A query that fails is the last of its handle. chDB keeps what it had written until then and puts it before the next
    answer: before another client's rows, and before the text that we take for the engine's own spelling and run.
    """

    def __init__(self, store: Store) -> None:
        self._path = os.path.realpath(str(store.path))
        self._database = store.database
        self._connection: Any = self._connect()
        self.timezone = self._connection.query("SELECT timezone()", "TabSeparated").bytes().decode().strip()

    def run(self, sql: str, default_format: str, parameters: dict[str, str]) -> tuple[bytes, str]:
        """The answer, and its format: the query's own, or the default. Blocking.

        Raises:
            Refused: it is not listed. RuntimeError: with the engine's text.
        """
        if self._connection is None:
            self._connection = self._connect()
        try:
            return self._run(sql, default_format, parameters)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> Any:
        connection = chdb.connect(self._path)
        connection.query(f"USE {self._database}")
        for name, value in LIMITS.items():
            connection.query(f"SET {name} = {value}")
        connection.query("SET readonly = 2")
        return connection

    def _run(self, sql: str, default_format: str, parameters: dict[str, str]) -> tuple[bytes, str]:
        canonical, asked = split_format(self._canonical(sql))
        answer_format = asked or default_format
        if not is_listed_format(answer_format):
            raise Refused(f"format {answer_format[:64]!r} is not one of those listed")
        if asked is not None:
            canonical = self._canonical(canonical)
        if not is_listed_statement(canonical, self._database):
            tree = self._tree(self._explained(canonical), parameters)
            require_reading(tree_of(tree), self._database)
        return bytes(self._connection.query(canonical, answer_format, params=parameters).bytes()), answer_format

    def _canonical(self, sql: str) -> str:
        """The engine's own spelling of one statement; it parses the text as a value, and runs nothing of it."""
        value = sql.translate(_ESCAPES)
        answer = self._connection.query("SELECT formatQuerySingleLine({q:String})", "RawBLOB", params={"q": value})
        return _text(answer.bytes()).rstrip("\n")

    def _explained(self, canonical: str) -> str:
        """The query itself, or the one that it explains: settings of an EXPLAIN would become those of our own question
        for the tree, and with `optimize` that opens the files and addresses it asks about."""
        explained = canonical.removeprefix("EXPLAIN ")
        if explained == canonical:
            return canonical
        if not explained.startswith(("SELECT ", "WITH ", "(")) or self._canonical(explained) != explained:
            raise Refused("expected EXPLAIN of a SELECT, without settings")
        return explained

    def _tree(self, canonical: str, parameters: dict[str, str]) -> str:
        # In a subquery: there the engine takes one SELECT without FORMAT or INTO OUTFILE, and nothing else.
        try:
            asked = f"SELECT * FROM (EXPLAIN AST {canonical}\n)"  # noqa: S608 - canonical, so it ends where it ends
            return _text(self._connection.query(asked, "TabSeparatedRaw", params=parameters).bytes())
        except RuntimeError as wrong:
            if "EXPLAIN" in str(wrong):
                raise Refused("expected a SELECT, or SHOW, EXISTS or DESCRIBE of our tables") from None
            raise

    def close(self) -> None:
        """Give the handle back; the next query opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _text(answer: bytes) -> str:
    try:
        return bytes(answer).decode()
    except UnicodeDecodeError:
        raise Refused("expected UTF-8 in names and texts, also behind escapes") from None


class ReadOnlyHttp:
    """The interface; `app` is an aiohttp application, `start` and `stop` serve it on a port of its own."""

    def __init__(self, store: Store, guard: Middleware) -> None:
        """`guard` sees every request first (`app.http_guard`): the port has no password."""
        self._store = store
        self._readers: asyncio.Queue[_Reader] = asyncio.Queue(READERS)
        self._runner: web.AppRunner | None = None
        self.queries = 0
        self.app = web.Application(client_max_size=QUERY_BYTES_MAX, middlewares=[guard])
        self.app.router.add_get("/ping", self._ping)
        self.app.router.add_route("*", "/", self._query)
        self.app.on_startup.append(self._open)
        self.app.on_cleanup.append(self._close)

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._runner = web.AppRunner(self.app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def stop(self) -> None:
        """Stop listening, close the readers."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _open(self, _app: web.Application) -> None:
        for _ in range(READERS):
            await self._readers.put(await asyncio.to_thread(_Reader, self._store))

    async def _close(self, _app: web.Application) -> None:
        for _ in range(READERS):
            reader = await self._readers.get()
            await asyncio.to_thread(reader.close)

    async def _ping(self, _request: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _query(self, request: web.Request) -> web.Response:
        if request.method not in ("GET", "POST", "HEAD"):
            return _refused(405, f"expected GET or POST, was {request.method}")
        body = (await request.read()).decode(errors="replace") if request.can_read_body else ""
        sql = f"{request.query.get('query', '')}\n{body}".strip()
        if not sql:
            return web.Response(text="Ok.\n")
        database = request.query.get("database") or request.headers.get("X-ClickHouse-Database") or self._store.database
        if database not in (self._store.database, "default"):  # what clients say who were told of none
            return _refused(403, f"database: expected {self._store.database}, was {database[:64]!r}")
        default_format = _asked_format(request)
        parameters = {name[6:]: value for name, value in request.query.items() if name.startswith("param_")}
        return await self._answer(sql, default_format, parameters)

    async def _answer(self, sql: str, default_format: str, parameters: dict[str, str]) -> web.Response:
        try:
            reader = await asyncio.wait_for(self._readers.get(), READERS_WAIT_S)
        except TimeoutError:
            return _refused(503, f"all {READERS} readers are busy for more than {READERS_WAIT_S:.0f} s")
        self.queries += 1
        try:
            # Shielded: a client that goes away must not free a handle that still runs its query.
            done = asyncio.ensure_future(asyncio.to_thread(reader.run, sql, default_format, parameters))
            done.add_done_callback(lambda _: self._readers.put_nowait(reader))
            answer, answer_format = await asyncio.shield(done)
        except Refused as why:
            text = f"Code: 164. DB::Exception: this interface reads its own tables only: {why}. (READONLY)"
            return _refused(403, text, 164)
        except RuntimeError as wrong:
            text = first_line(wrong)
            code = int(found[1]) if (found := _CODE.search(text)) else 1002
            return _refused(STATUS_OF_CODE.get(code, 400), str(wrong)[:4_000], code)
        headers = {
            "X-ClickHouse-Format": answer_format,
            "X-ClickHouse-Timezone": reader.timezone,
            "X-ClickHouse-Summary": "{}",
            "Content-Type": _TYPES.get(answer_format, "text/plain; charset=utf-8"),
        }
        return web.Response(body=answer, headers=headers)


def _asked_format(request: web.Request) -> str:
    asked: Any = request.query.get("default_format") or request.headers.get("X-ClickHouse-Format")
    return str(asked or "TabSeparated")


def _refused(status: int, text: str, code: int = 1002) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers={"X-ClickHouse-Exception-Code": str(code)})
