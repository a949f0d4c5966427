"""What the venue says of itself and of our key: whether it trades, and how much we may ask. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TEXT_MAX = 64  # characters of a time or a description that are shown
TOKENS_MAX = 1_000_000  # a second; more is no limit that this venue has


def pause_of(body: object) -> str | None:
    """GET /exchange/status: None while all of it trades, else what does not, and until when if it says so.

    The fields at the top are those of shard 0; what is not said is taken for open.
    """
    if not isinstance(body, Mapping):
        return None
    stopped = list(_stopped(body))
    if not stopped:
        return None
    until = body.get("exchange_estimated_resume_time")
    resume = f", expected back at {until[:TEXT_MAX]}" if isinstance(until, str) and until else ""
    return f"the exchange does not trade: {', '.join(stopped)}{resume}"


def _stopped(body: Mapping[str, Any]) -> Iterator[str]:
    shards = body.get("exchange_index_statuses")
    if isinstance(shards, list) and shards:
        named = [(f"shard {shard.get('exchange_index')}", shard) for shard in shards if isinstance(shard, Mapping)]
    else:
        named = [("all", body)]
    for name, shard in named:
        for field, what in (("exchange_active", "closed"), ("trading_active", "paused")):
            if shard.get(field) is False:
                yield f"{name[:TEXT_MAX]} {what}"
                break


@dataclass(frozen=True, slots=True)
class Costs:
    """Tokens of a GET: `default`, and those of paths that cost otherwise."""

    default: int
    paths: tuple[tuple[re.Pattern[str], int], ...] = ()

    def of(self, path: str) -> int:
        """Of one path, without host and query."""
        return next((cost for pattern, cost in self.paths if pattern.fullmatch(path)), self.default)


def reads_per_s(body: object) -> int | None:
    """GET /account/limits: the tokens that the key's reads have a second; None where it does not say."""
    read = body.get("read") if isinstance(body, Mapping) else None
    rate = read.get("refill_rate") if isinstance(read, Mapping) else None
    return rate if type(rate) is int and 0 < rate <= TOKENS_MAX else None


def costs_of(body: object, default: int) -> Costs:
    """GET /account/endpoint_costs, of reads; what it does not say costs `default`."""
    if not isinstance(body, Mapping):
        return Costs(default)
    said, listed = body.get("default_cost"), body.get("endpoint_costs")
    paths = []
    for item in listed if isinstance(listed, list) else ():
        path, cost = (item.get("path"), item.get("cost")) if isinstance(item, Mapping) else (None, None)
        if isinstance(path, str) and type(cost) is int and cost > 0 and str(item.get("method")).upper() == "GET":
            parts = [r"[^/]+" if part.startswith(("{", ":")) else re.escape(part) for part in path.split("/")]
            paths.append((re.compile(r"(?:/trade-api/v2)?" + "/".join(parts)), cost))
    return Costs(said if type(said) is int and said > 0 else default, tuple(paths))
