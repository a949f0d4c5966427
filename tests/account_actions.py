"""Order actions as the router of a later stage would publish them, and what the stores then say of each fill."""

import asyncio
import json
import urllib.request
from typing import Any

import psycopg
from account_stack import AccountStack, until_equal
from account_stores import get
from aiokafka import AIOKafkaProducer

from schemas.codec import encode_record, numbered_key
from schemas.order_records import OrderAction, OrderActionPayload
from schemas.registry import ORDERS


def publish_actions(desk: AccountStack, orders: list[list[Any]], first: int) -> dict[str, str]:
    """One `place` for every second of these orders (the ledger's, of which `first` is the number of the first), on the
    real topic. Returns order id -> decision."""
    told = {order[0]: (first + n, order) for n, order in enumerate(orders) if (first + n) % 2 == 0}
    asyncio.run(_send(desk.urls["bus_url"], [_placed(number, order[1]) for number, order in told.values()]))
    return {order_id: f"decision-{number}" for order_id, (number, _) in told.items()}


def order_action(ticker: str, decision_id: str, client_order_id: str, ts_ms: int) -> OrderAction:
    """One `place`; what is asked for does not matter here."""
    payload = OrderActionPayload(
        market_ticker=ticker, decision_id=decision_id, client_order_id=client_order_id, order_id=None, kind="place",
        side="yes", action="buy", price_e4=5_000, count_e2=300, request_json="{}",
    )  # fmt: skip
    key = numbered_key("order_action", ticker, client_order_id, "place")
    return OrderAction(
        ts_event=ts_ms, ts_ingest=ts_ms, source="route_orders", idempotency_key=key, cause=None, payload=payload
    )


def _placed(number: int, ticker: str) -> OrderAction:
    return order_action(ticker, f"decision-{number}", f"sim-{number}", 1_795_000_000_000 + number)


async def _send(address: str, actions: list[OrderAction]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for record in actions:
            await producer.send(ORDERS.name, encode_record(record), key=record.payload.market_ticker.encode())
        await producer.flush()
    finally:
        await producer.stop()


def assert_fills_linked(desk: AccountStack, truth: dict[str, Any], decisions: dict[str, str]) -> None:
    """Each fill has the decision of its order, or none, in ClickHouse and Postgres; the worker counts the same."""
    wanted = sorted((fill[0], decisions.get(fill[2])) for fill in truth["fills"])
    linked = sum(decision is not None for _, decision in wanted)

    def clickhouse_decisions() -> list[tuple[str, str | None]]:
        sql = "select fill_id, decision_id from kalshi.mm_fills where is_valid"
        request = urllib.request.Request(f"{desk.urls['clickhouse_url']}/?default_format=JSONCompact", sql.encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return sorted((row[0], row[1]) for row in json.loads(answer.read())["data"])

    def postgres_decisions() -> list[tuple[str, str | None]]:
        with psycopg.connect(desk.urls["pg_dsn"]) as connection:
            return sorted(connection.execute("select fill_id, decision_id from mm_fills").fetchall())

    def worker_links() -> tuple[int, str | None]:
        stats = get(f"{desk.urls['state_url']}/fills/stats") or {}
        return stats.get("fills_linked", 0), stats.get("link_rate")

    until_equal(worker_links, (linked, f"{linked / len(wanted):.4f}"))
    until_equal(clickhouse_decisions, wanted)
    until_equal(postgres_decisions, wanted)
