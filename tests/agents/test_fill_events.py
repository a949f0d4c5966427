"""The seeds' log events: one line of JSON each, with their names, from where the fills come to where they go."""

import json
from pathlib import Path
from typing import Any

import pytest
from account_agents import AgentDesk
from account_desk import KeepingPublisher
from account_trade import pushed_fills, traded

from agents import dedup_fills
from producers.account_reporter import AccountReporter
from schemas.registry import FILL_REPORTS

ITEM = {
    "trade_id": "f-1", "order_id": "o-1", "ticker": "KX-A", "side": "yes", "action": "buy", "count": 1, "yes_price": 42,
    "ts": 1_768_175_532,
}  # fmt: skip


def events(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Every line that is JSON."""
    return [json.loads(record.message) for record in caplog.records if record.message.startswith("{")]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run of reports logs its counts, not only one in ten seconds."""
    monkeypatch.setattr(dedup_fills, "LOG_INTERVAL_S", 0.0)


def test_the_storm_of_the_seeds_is_told_in_their_own_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, at_once: None
) -> None:
    """427 reports of 55 fills: 55 new, 372 filtered; the same five polled again: nothing new."""
    caplog.set_level("INFO")
    account = traded(3, 200)
    told = pushed_fills(account.ledger, old=False)[:55]
    assert len(told) == 55
    desk = AgentDesk(tmp_path)
    desk.report((told * 8)[:427])
    desk.fills.take(FILL_REPORTS.name, 1_000)
    desk.report(told[:5])
    desk.fills.take(FILL_REPORTS.name, 1_000)

    deduped = [event for event in events(caplog) if event["event"] == "fills_deduped"]
    assert [(e["total_rows"], e["new_rows"], e["duplicates_filtered"]) for e in deduped] == [(427, 55, 372), (5, 0, 5)]
    assert [e["count"] for e in events(caplog) if e["event"] == "fills_ingested"] == [55]
    (stats,) = [event for event in events(caplog) if event["event"] == "fill_pipeline_stats"]
    newest_s = max(report.payload.ts_ms for report in told) // 1_000  # type: ignore[attr-defined]
    assert stats["first_fill_ts_iso"] == dedup_fills._iso(newest_s * 1_000)
    assert stats["first_fill_ts_iso"].endswith("Z")
    assert stats["now_iso"] > stats["first_fill_ts_iso"]
    assert stats["ts_age_sec"] > 0, "the fill's own time, not ours"


def test_the_source_is_described_once_and_what_is_dropped_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """What the first batch looks like, and per reason how many were refused and what the first had."""
    caplog.set_level("INFO")
    publisher = KeepingPublisher()
    reporter = AccountReporter(publisher, "session")  # type: ignore[arg-type]
    for n in range(3):
        reporter.read_fills([ITEM, {**ITEM, "count": 0, "trade_id": f"f-{n}"}], "rest")

    (sanity,) = [event for event in events(caplog) if event["event"] == "fill_source_sanity"]
    assert (sanity["batch_size"], sanity["item_type"]) == (2, "dict")
    assert sanity["item_keys"] == sorted(ITEM)
    assert all(sanity[name] for name in ("has_fill_id", "has_order_id", "has_count", "has_price_fields"))
    dropped = [event for event in events(caplog) if event["event"] == "fills_dropped_invalid"]
    assert [(event["reason"], event["count"]) for event in dropped] == [("zero_size", n) for n in (1, 2, 3)]
    assert dropped[0]["item_keys"] == sorted(ITEM)


def test_an_order_that_cannot_be_read_is_no_dropped_fill(caplog: pytest.LogCaptureFixture) -> None:
    """Its event has a name of its own."""
    reporter = AccountReporter(KeepingPublisher(), "session")  # type: ignore[arg-type]
    reporter.say_order({"order_id": "o-1", "ticker": "KX-A", "status": "dreaming"}, "rest")

    assert [(e["event"], e["reason"]) for e in events(caplog)] == [("reports_dropped_invalid", "order_invalid_status")]
