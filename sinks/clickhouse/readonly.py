"""What a query over the read-only interface may be. The engine refuses writes by itself (`readonly`); this refuses what
it would allow: reading files and other hosts through table functions, writing files, changing the session."""

import re

_FIRST_WORDS = ("select", "with", "show", "describe", "desc", "exists", "explain")
_COMMENT = r"(?:\s|/\*.*?\*/|--[^\n]*(?:\n|\Z)|\#[^\n]*(?:\n|\Z))"
_FIRST = re.compile(rf"{_COMMENT}*\(*{_COMMENT}*(?P<word>[A-Za-z]+)", re.DOTALL)
_OUTSIDE = re.compile(
    r"(?<![\w.])[\"`]?(?:file\w*|url\w*|s3\w*|gcs|oss|cosn|azure\w*|hdfs\w*|remote\w*|cluster\w*|mysql|postgresql|mongodb|redis|"
    r"sqlite|odbc|jdbc|executable|python|iceberg\w*|deltalake\w*|paimon\w*|hudi\w*|arrowflight|ytsaurus|input)[\"`]?"
    rf"{_COMMENT}*\(",
    re.DOTALL | re.IGNORECASE,
)
_OUTFILE = re.compile(rf"\binto{_COMMENT}+outfile\b", re.DOTALL | re.IGNORECASE)
_FORMAT = re.compile(r"\bformat\s+(?P<name>\w+)\s*;?\s*\Z", re.IGNORECASE)


def refusal_of(sql: str) -> str | None:
    """Why this query is refused, None when it may run."""
    first = _FIRST.match(sql)
    word = first["word"].lower() if first else ""
    if word not in _FIRST_WORDS:
        known = ", ".join(_FIRST_WORDS).upper()
        return f"this interface is read-only: expected {known}, was {word[:20].upper() or 'nothing'}"
    if _OUTSIDE.search(sql):
        return "this interface reads its own tables only: no functions that reach files or other hosts"
    if _OUTFILE.search(sql):
        return "this interface is read-only: INTO OUTFILE is refused"
    return None


def split_format(sql: str) -> tuple[str, str | None]:
    """The query without its trailing `FORMAT X`, and X."""
    sql = sql.strip().rstrip(";")
    found = _FORMAT.search(sql)
    return (sql[: found.start()].rstrip(), found["name"]) if found else (sql, None)
