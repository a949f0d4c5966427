# ruff: noqa: E501 - tables of odd values
"""A generated HTTP client: any method, path, query, header and body, for the routes of a server; and what every answer
must keep to, whatever was asked."""

import http.client
from dataclasses import dataclass
from urllib.parse import quote

from hypothesis import strategies as st

ANSWER_BYTES_MAX = 16 << 20  # books of every market, or a page of 1,000 orders, are two orders below
ANSWER_S_MAX = 120.0  # bounds a hang
#: Answers of ours that say "not now" on purpose, with a reason: 503 only.
NOT_NOW = (b'"reasons"', b'"error"', b"readers are busy")

_SEGMENT = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["..", ".", "%2e%2e", "\x00", "KXBTC15M", "-1", "0", "9" * 40, "NaN", "null", "{}", "%", "ä" * 300, "a/b", " ", "?", "#"]
    ),
)  # fmt: skip
_NAMES = ("ticker", "tickers", "limit", "cursor", "depth", "min_ts", "max_ts", "status", "routed", "since", "query", "count",
          "database", "default_format", "param_x", "subaccount", "series_ticker", "event_ticker", "order_id", "type")  # fmt: skip
_VALUES = st.one_of(
    _SEGMENT,
    st.integers(-(1 << 70), 1 << 70).map(str),
    st.sampled_from(["select 1", "select", "1e309", "1.5", "true", "open,closed", "," * 500, "A" * 4_000]),
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_NAMES), inner, max_size=3)),
    max_leaves=8,
)


@dataclass(frozen=True)
class Request:
    """As it goes on the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None


@st.composite
def requests(draw: st.DrawFn, routes: tuple[str, ...], headers: dict[str, str]) -> Request:
    """A request to one of the routes (`/a/{b}`), now and then to none; `headers` go along with each."""
    import json

    route = draw(st.sampled_from((*routes, "/{none}/{none}")))
    parts = [quote(draw(_SEGMENT)) if part.startswith("{") else part for part in route.split("/")]
    query = draw(st.lists(st.tuples(st.sampled_from(_NAMES), _VALUES), max_size=3))
    target = "/".join(parts) + "".join(f"{'&' if n else '?'}{k}={quote(v)}" for n, (k, v) in enumerate(query))
    method = draw(st.sampled_from(["GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "X"]))
    body = None
    if method in ("POST", "PUT", "PATCH", "DELETE"):
        body = draw(st.one_of(st.none(), _JSON.map(lambda value: json.dumps(value).encode()), st.binary(max_size=60)))
    more = (
        {"Content-Type": draw(st.sampled_from(["application/json", "application/json", "text/plain"]))} if body else {}
    )
    return Request(method, target, headers | more, body)


def send(port: int, request: Request) -> tuple[int, bytes]:
    """Status and body. A connection that the server ends without an answer is an error."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S_MAX)
    try:
        connection.request(request.method, request.target, request.body, request.headers)
        answer = connection.getresponse()
        return answer.status, answer.read(ANSWER_BYTES_MAX + 1)
    finally:
        connection.close()


def complaint(status: int, body: bytes, *, is_head: bool = False) -> str | None:
    """What is wrong with an answer, None when nothing is."""
    if b"Traceback (most recent call last)" in body:
        return "a traceback"
    if len(body) > ANSWER_BYTES_MAX:
        return f"more than {ANSWER_BYTES_MAX} bytes"
    if status == 503 and (is_head or any(words in body for words in NOT_NOW)):  # an answer to HEAD has no body
        return None
    return f"status {status}: {body[:300]!r}" if status >= 500 else None
