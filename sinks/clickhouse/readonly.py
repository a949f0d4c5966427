"""What a query over the read-only interface may be, decided on the engine's own parse of it.

The engine writes the syntax tree of the very text that is to run (`EXPLAIN AST`); every node of it must be of a kind
that is listed here, every function one of `allowed_functions.txt`, every table one of ours or of the few system tables
that clients ask for. What is not listed does not run: not a node of a newer version, not a function that reads files,
not a table of another database (chDB's own takes file names for tables). No text is searched for bad words.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

#: Tables of `system` that clients of ClickHouse look at when they connect.
SYSTEM_TABLES = frozenset({"one", "numbers", "databases", "tables", "columns", "settings", "functions", "parts"})
#: Statements besides SELECT, in the engine's canonical spelling; `{db}` is our database. The whole text must match.
STATEMENTS = (
    r"SHOW DATABASES", r"SHOW TABLES( FROM {db})?", r"EXISTS TABLE ({db}\.)?\w+", r"DESCRIBE TABLE ({db}\.)?\w+",
    r"SHOW CREATE TABLE ({db}\.)?\w+",
)  # fmt: skip
#: Formats of answers, `WithNames` and `WithNamesAndTypes` besides.
FORMATS = frozenset({
    "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV", "JSON", "JSONStrings", "JSONCompact",
    "JSONCompactStrings", "JSONEachRow", "JSONLines", "NDJSON", "JSONStringsEachRow", "JSONCompactEachRow",
    "JSONCompactStringsEachRow", "JSONColumns", "JSONColumnsWithMetadata", "Native", "Arrow", "ArrowStream", "Parquet",
    "RowBinary", "Pretty", "PrettyCompact", "PrettyCompactMonoBlock", "PrettyNoEscapes", "PrettySpace", "Vertical",
    "Values", "Markdown", "XML", "Null",
})  # fmt: skip
#: Kinds of nodes that carry nothing to be looked at: their children are.
_PLAIN_NODES = frozenset({
    "SelectWithUnionQuery", "SelectQuery", "SelectIntersectExceptQuery", "ExpressionList", "Literal", "Asterisk",
    "QualifiedAsterisk", "ColumnsTransformerList", "ColumnsExceptTransformer", "ColumnsRegexpMatcher",
    "TablesInSelectQuery", "TablesInSelectQueryElement", "TableExpression", "TableJoin", "ArrayJoin", "Subquery",
    "WithElement", "OrderByElement", "InterpolateElement", "SampleRatio", "WindowDefinition", "WindowListElement",
})  # fmt: skip
#: Functions whose right side may be the name of a table.
_TAKES_TABLE = frozenset(
    f"{where}{null}{word}{end}".lower()
    for where in ("", "global") for null in ("", "null") for word in ("in", "notin", "notnullin")
    for end in ("", "ignoreset")
)  # fmt: skip
#: Functions that may stand where a table does; they make their rows themselves.
TABLE_FUNCTIONS = frozenset({"numbers", "values"})
#: What an aggregate function's name may end with: how it takes its arguments, not what it reaches.
_COMBINATORS = (
    "if", "array", "map", "simplestate", "mergestate", "state", "merge", "foreach", "distinct", "ordefault", "ornull",
    "resample", "argmin", "argmax",
)  # fmt: skip
_LINE = re.compile(r"(?P<indent> *)(?P<kind>\w+)(?P<rest>.*?)(?: \(children (?P<children>\d+)\))?\Z")
_ALIAS = re.compile(r"(?P<name>.*?)(?: \(alias .*\))?\Z")
_COLUMN = re.compile(r"\w+(\.\w+)*\Z", re.ASCII)
_FORMAT = re.compile(r"\sFORMAT (?P<name>\w+)\Z", re.ASCII)


class Refused(Exception):
    """The query may not run; the text says why."""


@dataclass
class Node:
    """One line of the tree: its kind, what follows it, and its children."""

    kind: str
    name: str
    wanted: int
    children: "list[Node]" = field(default_factory=list)

    def walk(self) -> "Iterator[Node]":
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@cache
def allowed_functions() -> frozenset[str]:
    """Names in lower case, as the engine looks most of them up."""
    text = files("sinks.clickhouse").joinpath("allowed_functions.txt").read_text()
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(name.lower() for line in lines for name in line.split())


def is_listed_function(name: str) -> bool:
    """Whether a function of this name in lower case may be used: one of the list, or of it with combinators behind."""
    while name not in allowed_functions() | TABLE_FUNCTIONS:
        end = next((end for end in _COMBINATORS if name.endswith(end)), None)
        if end is None:
            return False
        name = name.removesuffix(end)
    return True


def tree_of(dump: str) -> Node:
    """The tree that EXPLAIN AST wrote.

    Raises:
        Refused: it does not add up: a name with a line break in it stands for lines that are no nodes.
    """
    root, path = Node("", "", 1), []
    path = [root]
    for line in dump.rstrip("\n").split("\n"):
        found = _LINE.match(line)
        if found is None:
            raise Refused(f"a line of the syntax tree that is no node: {line[:100]!r}")
        depth, wanted = len(found["indent"]) + 1, int(found["children"] or 0)
        name = _ALIAS.match(found["rest"].removeprefix(" "))
        node = Node(found["kind"], name["name"] if name else "", wanted)
        if depth > len(path):
            raise Refused("a syntax tree with a gap in it")
        del path[depth:]
        path[-1].children.append(node)
        path.append(node)
    if any(len(node.children) != node.wanted for node in root.walk()):
        raise Refused("a name with a line break in it")
    return root.children[0]


def require_reading(tree: Node, database: str) -> None:
    """Return when the query only reads what it may.

    Raises:
        Refused: with what it names that is not listed.
    """
    if tree.kind != "SelectWithUnionQuery" or len(tree.children) != 1:
        raise Refused("expected a SELECT without INTO OUTFILE")
    for node in tree.walk():
        _check(node, database)


def _check(node: Node, database: str) -> None:
    kind, name = node.kind, node.name
    if kind == "Function":
        if not is_listed_function(name.lower()):
            raise Refused(f"function {name[:64]!r} is not one of those listed")
        if name.lower() in _TAKES_TABLE:
            _check_right_side(node, database)
    elif kind == "TableIdentifier":
        _check_table(name, database)
    elif kind == "Identifier":
        if not _COLUMN.match(name):
            raise Refused(f"expected a plain name, was {name[:64]!r}")
    elif kind == "TableExpression":
        for child in node.children:
            if child.kind == "Function" and child.name.lower() not in TABLE_FUNCTIONS:
                raise Refused(f"table function {child.name[:64]!r} is not one of those listed")
    elif kind not in _PLAIN_NODES:
        raise Refused(f"{kind} is not one of the parts of a query that are listed (settings and parameters of it?)")


def _check_right_side(node: Node, database: str) -> None:
    """`x IN name`: the name may be a table's."""
    arguments = node.children[0].children if node.children else []
    for right in arguments[1:]:
        if right.kind == "Identifier":
            _check_table(right.name, database)


def _check_table(name: str, database: str) -> None:
    owner, _, table = name.rpartition(".")
    if not re.fullmatch(r"\w+", table, re.ASCII):
        raise Refused(f"expected a table, was {name[:64]!r}")
    # Without a database it is one of ours, a name of WITH, or none at all: ours is always the current one.
    if owner not in ("", database) and not (owner == "system" and table in SYSTEM_TABLES):
        raise Refused(f"table {name[:64]!r} is not one of {database} nor one of system's that are listed")


def is_listed_statement(canonical: str, database: str) -> bool:
    """Whether it is one of STATEMENTS."""
    return any(re.fullmatch(pattern.format(db=re.escape(database)), canonical, re.ASCII) for pattern in STATEMENTS)


def is_listed_format(name: str) -> bool:
    """Whether answers may have this format: those that need no schema and no template of a file."""
    for suffix in ("WithNamesAndTypes", "WithNames", ""):
        if name.endswith(suffix) and name.removesuffix(suffix) in FORMATS:
            return True
    return False


def split_format(canonical: str) -> tuple[str, str | None]:
    """The query without its trailing `FORMAT X`, and X."""
    found = _FORMAT.search(canonical)
    return (canonical[: found.start()], found["name"]) if found else (canonical, None)
