"""Who may speak to an HTTP server of this project: one check, the first thing that each of them does with a request.

All of them listen on loopback without a password, so any web page that is open in a browser on this host reaches them:
by a name of its own that resolves to 127.0.0.1 (DNS rebinding), or by a form or script of another site. A browser says
both: the first in `Host`, the second in `Origin` and `Sec-Fetch-Site` (Fetch standard). Programs send neither of the
latter two, and name a host that is ours.
"""

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
#: Any address of the machine: nobody can name these, so they let nobody in.
WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  # names that are refused, not bound
JSON_ONLY = frozenset({"application/json"})
_AUTHORITY = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>.+)", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_OWN_SITE = frozenset({"same-origin", "none"})  # `none`: typed into the address line


class Headers(Protocol):
    """A multidict whose names know no case."""

    def getall(self, key: str, default: list[str]) -> list[str]:
        """All values of that name."""


@dataclass(frozen=True, slots=True)
class HttpGuard:
    """`hosts`: names in `Host` that mean us, lower case, without a port (it may be mapped to another). `content_types`:
    of bodies; the empty one stands for none given."""

    hosts: frozenset[str]
    content_types: frozenset[str] = JSON_ONLY

    def refusal(self, headers: Headers) -> str | None:
        """Why this request is refused, None when it may go on."""
        hosts = headers.getall("Host", [])
        host = _authority(hosts[0]) if len(hosts) == 1 else None
        if host is None or host[0] not in self.hosts:
            return f"Host: expected a name of this server (HTTP_ALLOWED_HOSTS), was {_shown(hosts)}"
        origins = headers.getall("Origin", [])
        if origins and (len(origins) > 1 or not _is_origin_of(origins[0], *host)):
            return f"Origin: expected none or that of this server, was {_shown(origins)}"
        sites = headers.getall("Sec-Fetch-Site", [])
        if not _OWN_SITE.issuperset(sites):
            return f"Sec-Fetch-Site: expected a request of this server's own pages, was {_shown(sites)}"
        return self._body_refusal(headers)

    def _body_refusal(self, headers: Headers) -> str | None:
        lengths = headers.getall("Content-Length", [])
        if not headers.getall("Transfer-Encoding", []) and not any(length.strip("0 ") for length in lengths):
            return None
        kinds = headers.getall("Content-Type", []) or [""]
        if len(kinds) == 1 and kinds[0].partition(";")[0].strip().lower() in self.content_types:
            return None
        expected = " or ".join(sorted(kind or "none" for kind in self.content_types))
        return f"Content-Type: expected {expected}, was {_shown(kinds)}"


def http_guard(bind: str, allowed_hosts: Iterable[str] = (), content_types: frozenset[str] = JSON_ONLY) -> HttpGuard:
    """The guard of a server that listens on `bind`: loopback, that address, this machine's own name (workers ask each
    other by it), and what HTTP_ALLOWED_HOSTS adds."""
    names = {bind, *allowed_hosts, socket.gethostname()} - WILDCARDS
    return HttpGuard(LOOPBACK_NAMES | {name.strip("[]").rstrip(".").lower() for name in names}, content_types)


def guarded(guard: HttpGuard) -> Middleware:
    """The guard as aiohttp's middleware: 403 with the reason, before any handler."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        why = guard.refusal(request.headers)
        if why is None:
            return await handler(request)
        # The rest of a refused body is not read.
        return web.json_response({"error": why}, status=403, headers={"Connection": "close"})

    return check


def _authority(text: str) -> tuple[str, str | None] | None:
    """(name, port) of `name[:port]`."""
    found = _AUTHORITY.fullmatch(text.strip())
    return None if found is None else (found["name"].strip("[]").rstrip(".").lower(), found["port"])


def _is_origin_of(origin: str, name: str, port: str | None) -> bool:
    """Whether `scheme://host[:port]` is where that host is; the scheme's own port need not be written."""
    found = _ORIGIN.fullmatch(origin.strip())
    authority = _authority(found["authority"]) if found is not None else None
    if found is None or authority is None:
        return False
    default = _DEFAULT_PORTS[found["scheme"]]
    return (authority[0], authority[1] or default) == (name, port or default)


def _shown(values: list[str]) -> str:
    """For an error: what a stranger sent, cut."""
    return ascii(", ".join(values)[:80]) if values else "none"
