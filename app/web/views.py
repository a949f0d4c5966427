"""The HTTP contract: health, readiness, metrics, lag, books and best bid/offer.

Answers come from live state and say at which offset it stands. A book that another worker owns is asked for there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from aiohttp import ClientError
from faust.web import Request, Response, View
from prometheus_client import generate_latest

from app.feed_status import FeedStatus
from app.health import lags, not_ready_reasons
from app.metrics import registry_of
from app.settings import Settings
from domain.units import DOLLAR_E4, contracts_text, dollars_text
from tables.order_books import BookState, is_removed
from tables.outlets import ByKey
from tables.standby import readiness

log = logging.getLogger(__name__)

STALE = "stale"
#: How long another worker may take for its rows; beyond it they are missing, and said to be.
ELSEWHERE_S = 5.0
#: On the answer of one worker to another: the partitions whose books it has.
PARTITIONS_HEADER = "X-Partitions"


def add_common(app: Any) -> None:
    """`/healthz`, `/readyz`, `/metrics`, `/lag`: every worker has them."""
    registry = registry_of(app)

    @app.page("/healthz", name="healthz")
    async def healthz(self: View, request: Request) -> Response:
        return self.json({"alive": True})

    @app.page("/readyz", name="readyz")
    async def readyz(self: View, request: Request) -> Response:
        reasons = not_ready_reasons(app)
        body = {"ready": not reasons, "reasons": reasons, "positions": positions(app), "restored": restored(app)}
        body["standby"] = readiness(app.stages)
        return self.json(body, status=200 if not reasons else 503)

    @app.page("/metrics", name="metrics")
    async def metrics(self: View, request: Request) -> Response:
        return self.bytes(generate_latest(registry), content_type="text/plain; version=0.0.4")

    @app.page("/lag", name="lag")
    async def lag(self: View, request: Request) -> Response:
        return self.json(lags(app))


def positions(app: Any) -> dict[str, int]:
    """Next source offset of each owned partition."""
    rows: dict[str, int] = {}
    for stage in app.stages:
        for task in getattr(stage, "tasks", {}).values():
            rows |= {f"{topic}-{task.partition}": at for topic, at in task.vector.items()}
        for feed in getattr(stage, "feeds", {}).values():
            rows[f"{feed.tp.topic}-{feed.tp.partition}"] = feed.next_offset
    return rows


def restored(app: Any) -> dict[str, dict[str, float]]:
    """What the restores of this assignment did."""
    return {
        f"{stage.table.name}-{p}": {
            "records": job.records,
            "percent": round(job.percent, 1),
            "seconds": round(max(0.0, (job.finished_s or time.monotonic()) - job.started_s), 3),
        }
        for stage in app.stages
        for p, job in getattr(stage, "restores", {}).items()
    }


def add_books(app: Any, stage: Any, conf: Settings) -> None:
    """`/books/{ticker}` and `/bbo`."""
    feed = FeedStatus(app, conf)

    @app.page("/books/{ticker}", name="book")
    async def book(self: View, request: Request, ticker: str) -> Response:
        owner = await elsewhere(app, stage, self, request, ticker, f"/books/{ticker}")
        if owner is not None:
            return owner
        partition = partition_of(app, ticker)
        found = stage.state(partition, ticker.encode())
        if found is None:
            return self.json({"error": f"partition {partition} of {ticker} is being restored"}, status=503)
        state, offset = found
        if state is None or is_removed(state):
            return self.json({"error": f"no book of {ticker}"}, status=404)
        return self.json(_book(state, offset, *feed.of(partition)))

    @app.page("/bbo", name="bbo")
    async def bbo(self: View, request: Request) -> Response:
        tickers = request.query.get("tickers", "")
        wanted = [t for t in tickers.split(",") if t]
        rows, here = [], set()
        for task in stage.tasks.values():
            if not task.restored:
                continue
            here.add(task.partition)
            age = feed.of(task.partition)
            states = (task.table.get(t.encode()) for t in wanted) if wanted else list(task.table.residents.values())
            rows += [_bbo(s, task.position, *age) for s in states if s is not None and not is_removed(s)]
        if not request.query.get("routed"):
            asked = {partition_of(app, t) for t in wanted}
            missing = (asked or set(range(conf.topic_partitions))) - here
            rows += await gather_elsewhere(app, stage, missing, f"/bbo?tickers={tickers}")
            if missing:
                return self.json(_partial(missing, rows), status=503)
        answer = self.json(sorted(rows, key=lambda row: row["market_ticker"]))
        answer.headers[PARTITIONS_HEADER] = ",".join(map(str, sorted(here)))
        return answer


def _partial(missing: set[int], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Never a shorter list: whoever reads one takes what is not in it for not there."""
    why = "they are being restored, or their worker does not answer"
    return {"error": f"the books of partitions {sorted(missing)} are not known now: {why}", "known": rows}


async def gather_elsewhere(app: Any, stage: Any, missing: set[int], path: str) -> list[dict[str, Any]]:
    """The rows that other workers have of these partitions; those they answered for are taken out of `missing`."""
    rows: list[dict[str, Any]] = []
    for url, topics in app.assignor.external_topics_metadata().items():
        theirs = missing & set(topics.get(stage.sources[0], ()))
        if not theirs or url == str(app.conf.canonical_url):
            continue
        try:
            async with asyncio.timeout(ELSEWHERE_S):
                async with app.http_client.get(f"{str(url).rstrip('/')}{path}&routed=1") as answer:
                    rows += await answer.json(content_type=None)
                    told = answer.headers.get(PARTITIONS_HEADER, "")
                    missing -= theirs & {int(n) for n in told.split(",") if n}
        except (OSError, TimeoutError, ClientError, ValueError) as wrong:
            log.warning("%s: no rows of partitions %s: %r", url, sorted(theirs), wrong)
    return rows


def partition_of(app: Any, ticker: str) -> int:
    """The partition of a market, also before the consumer has started."""
    return ByKey(app.conf.topic_partitions)(ticker.encode())


async def elsewhere(app: Any, stage: Any, view: View, request: Request, ticker: str, path: str) -> Response | None:
    """The answer of the worker that owns the ticker, if that is not us (Faust's assignor knows the owners)."""
    source = stage.sources[0]
    partition = partition_of(app, ticker)
    if partition in stage.tasks or request.query.get("routed"):
        return None
    for url, topics in app.assignor.external_topics_metadata().items():
        if partition in topics.get(source, ()) and url != str(app.conf.canonical_url):
            async with app.http_client.get(f"{str(url).rstrip('/')}{path}?routed=1") as answer:
                return view.bytes(await answer.read(), content_type="application/json", status=answer.status)
    return None


def _head(state: BookState, offset: int, feed_age_ms: int | None, feed_live: bool) -> dict[str, Any]:
    age_ms = time.time_ns() // 1_000_000 - state.ts_ingest_ms
    return {
        "market_ticker": state.ticker,
        # Judged at read time: a dead producer cannot say that its books are stale.
        "status": state.status if feed_live else STALE,
        "session_id": state.session_id,
        "seq": state.seq if state.seq >= 0 else None,
        "ts_ms": state.ts_event_ms,
        # Of the future by our clock, which was set back: nobody knows. `feed_age_ms` needs no clock.
        "age_ms": age_ms if age_ms >= 0 else None,
        "feed_age_ms": feed_age_ms,
        "offset": offset,
    }


def _book(state: BookState, offset: int, feed_age_ms: int | None, feed_live: bool) -> dict[str, Any]:
    return _head(state, offset, feed_age_ms, feed_live) | {
        side: [[dollars_text(p), contracts_text(levels[p])] for p in sorted(levels, reverse=True)]
        for side, levels in (("yes", state.yes), ("no", state.no))
    }


def _bbo(state: BookState, offset: int, feed_age_ms: int | None, feed_live: bool) -> dict[str, Any]:
    _, yes_e4, yes_e2, no_e4, no_e2 = state.top()
    row = _head(state, offset, feed_age_ms, feed_live)
    for name, price_e4, size_e2 in (
        ("yes_bb", yes_e4, yes_e2),
        ("yes_ba", no_e4 and DOLLAR_E4 - no_e4, no_e2),
        ("no_bb", no_e4, no_e2),
        ("no_ba", yes_e4 and DOLLAR_E4 - yes_e4, yes_e2),
    ):
        row[f"{name}_px"] = dollars_text(price_e4) if price_e4 else None
        row[f"{name}_sz"] = contracts_text(size_e2) if price_e4 else None
    return row
