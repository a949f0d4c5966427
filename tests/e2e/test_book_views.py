"""What a person sees over HTTP: books, best prices, and whether the feed behind them is alive."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from kernel_world import PARTITIONS, SHORT_SESSION, BookInput, WorkerProcess, World, judge, partition_of

from domain.units import DOLLAR_E4, contracts_text, dollars_text
from ops.engines.kafka import KafkaEngine
from schemas import records as r
from schemas.codec import encode_record
from schemas.registry import BOOK_UPDATES, FEED_STATUS
from tables import order_books

pytestmark = [pytest.mark.engines, pytest.mark.timeout(180)]
MARKETS = 12


@pytest.fixture(scope="module")
def world(own_kafka_module: KafkaEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A Kafka with some folded books and one worker; the tests below only read and send heartbeats."""
    world = World(own_kafka_module, tmp_path_factory.mktemp("views"))
    world.produce(BookInput(MARKETS, seed=7).take(600))
    yield world
    world.stop_all()


@pytest.fixture(scope="module")
def own_kafka_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaEngine]:
    """A broker of this module's own: the catalogue's topic names are needed."""
    from ops.ports import free_ports

    folder = tmp_path_factory.mktemp("views-kafka")
    engine = KafkaEngine(folder / "kafka", folder / "kafka.log", free_ports(1)[0])
    engine.start()
    yield engine
    engine.kill9()


def test_books_are_stale_without_heartbeats_live_with_them_and_stale_again_when_they_stop(world: World) -> None:
    """Age is judged at read time; the levels and prices are those of a fold of the input; unknown tickers are 404."""
    worker = world.start(**SHORT_SESSION, FEED_STALE_MS="3000")
    worker.wait_committed(world.ends(BOOK_UPDATES.name))
    assert {row["status"] for row in worker.get("/bbo")} == {"stale"}

    _until(lambda: _all_live_after_a_beat(world, worker), worker)
    _check_books(world, worker)
    assert "error" in worker.get("/books/NO-SUCH-MARKET")

    _until(lambda: {row["status"] for row in worker.get("/bbo")} == {"stale"}, worker)
    assert worker.get("/bbo")[0]["feed_age_ms"] > 3_000
    assert worker.stop() == 0


def test_a_book_of_another_worker_is_asked_for_there(world: World) -> None:
    """Two workers share the partitions; either answers for every market."""
    one, two = world.start(instance="a", **SHORT_SESSION), world.start(instance="b", **SHORT_SESSION)
    _until(lambda: all(0 < _owned(w) < PARTITIONS for w in (one, two)) and _owned(one) + _owned(two) == PARTITIONS, one)
    _until(lambda: all(not _busy(w) for w in (one, two)), one)

    for market in range(MARKETS):
        ticker = f"KXTEST-{market:03d}"
        here, there = one.get(f"/books/{ticker}"), two.get(f"/books/{ticker}")
        assert here["market_ticker"] == there["market_ticker"] == ticker
        assert here["yes"] == there["yes"]
        assert here["offset"] == there["offset"]
    lists = [{row["market_ticker"] for row in worker.get("/bbo")} for worker in (one, two)]
    assert lists == [{f"KXTEST-{market:03d}" for market in range(MARKETS)}] * 2, "a worker told its own markets only"
    assert one.stop() == 0
    assert two.stop() == 0


def _check_books(world: World, worker: WorkerProcess) -> None:
    expected = judge(world.read(BOOK_UPDATES.name))
    rows = {row["market_ticker"]: row for row in worker.get("/bbo?tickers=KXTEST-000,KXTEST-001")}
    assert sorted(rows) == ["KXTEST-000", "KXTEST-001"]
    for ticker, row in rows.items():
        state = order_books.decode(expected.table[ticker.encode()])
        book = worker.get(f"/books/{ticker}")
        assert book["yes"] == [[dollars_text(p), contracts_text(s)] for p, s in sorted(state.yes.items(), reverse=True)]
        assert book["no"] == [[dollars_text(p), contracts_text(s)] for p, s in sorted(state.no.items(), reverse=True)]
        assert (row["yes_bb_px"], row["yes_bb_sz"]) == tuple(book["yes"][0])
        assert row["yes_ba_px"] == dollars_text(DOLLAR_E4 - state.best_no_e4)
        assert row["yes_ba_sz"] == book["no"][0][1]
        assert book["seq"] == state.seq
        assert book["session_id"] == state.session_id
        assert book["offset"] == world.ends(BOOK_UPDATES.name)[partition_of(ticker.encode())]


def _all_live_after_a_beat(world: World, worker: WorkerProcess) -> bool:
    _beat(world)  # each time anew: on a busy machine the one before may be too old when it is looked at
    return all(row["status"] == "live" for row in worker.get("/bbo"))


def _beat(world: World) -> None:
    """One heartbeat to every partition, as the market producer sends them."""
    now_ms = time.time_ns() // 1_000_000
    pairs: dict[int, tuple[bytes, bytes]] = {}
    for number in range(1_000):
        key = str(number).encode()
        pairs.setdefault(partition_of(key), (key, _heartbeat(partition_of(key), now_ms)))
    world.produce(list(pairs.values()), FEED_STATUS.name)


def _heartbeat(partition: int, now_ms: int) -> bytes:
    payload = r.FeedHeartbeatPayload(
        partition=partition, session_id="s7", connected=True, last_frame_ms=now_ms, markets=MARKETS
    )
    return encode_record(
        r.FeedHeartbeat(
            ts_event=None,
            ts_ingest=now_ms,
            source="kalshi_ws",
            idempotency_key=f"feed_heartbeat:v1:s7:{partition}:{now_ms}",
            cause=None,
            payload=payload,
        )
    )


def _owned(worker: WorkerProcess) -> int:
    answer: Any = worker.get("/readyz") or {"positions": {}}
    return len([name for name in answer["positions"] if name.startswith(f"{BOOK_UPDATES.name}-")])


def _busy(worker: WorkerProcess) -> bool:
    reasons = (worker.get("/readyz") or {"reasons": ["silent"]})["reasons"]
    return any(word in reason for reason in reasons for word in ("restoring", "rebalancing", "silent"))


def _until(done: Any, worker: WorkerProcess, deadline_s: float = 120.0) -> None:
    until = time.monotonic() + deadline_s
    while not done():
        assert time.monotonic() < until, f"not reached within {deadline_s} s; log:\n{worker.tail()}"
        time.sleep(0.1)
