"""What `up` says of components that do not become ready: one line each, and nobody waits for what is not essential."""

from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from ops import up as up_module
from ops.display import missing_line
from ops.feed import parse_feed
from ops.plan import ACCOUNT, PRODUCER, STATE, UpOptions
from ops.supervisor import Supervisor
from ops.up import DataDir, Up

NO_REST = "venue REST degraded: connection refused"


class Answers:
    """/readyz of every component, by its address."""

    def __init__(self, reasons: dict[str, str]) -> None:
        self._reasons = reasons

    async def get(self, url: str) -> tuple[int, dict[str, Any]]:
        """503 where there is a reason."""
        reason = self._reasons.get(url.removesuffix("/readyz"))
        return (503, {"reasons": [reason]}) if reason else (200, {})


def make_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reasons: dict[str, str]) -> Up:
    """An `up` that has started nothing, over components that answer so."""
    monkeypatch.setattr(up_module, "OPTIONAL_READY_S_MAX", 0.0)
    one = Up(Settings(_env_file=None, data_dir=tmp_path), UpOptions(parse_feed("sim")), DataDir(tmp_path))
    one.supervisor = Supervisor(one.display.say)
    one.pages = Answers({one.plan.url(name): why for name, why in reasons.items()})  # type: ignore[assignment]
    return one


async def test_what_is_not_essential_holds_up_nobody_and_what_is_missing_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without REST the books are live: with addresses at once, not after a minute."""
    one = make_up(tmp_path, monkeypatch, {ACCOUNT: NO_REST})
    for child in (one.plan.producer(), one.plan.account_producer()):
        await one._wait_ready(child)
    assert one.missing == {ACCOUNT: NO_REST}
    log = one.data.log_file(ACCOUNT)
    assert missing_line(ACCOUNT, NO_REST, [STATE, PRODUCER], log) == (
        f"{ACCOUNT} is not ready and tries on: {NO_REST}; ready: {STATE}, {PRODUCER}; see {log}; "
        "USE_ACCOUNT=false leaves the account out"
    )
    one.supervisor.close()


async def test_component_that_is_down_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has been said already, in red."""
    one = make_up(tmp_path, monkeypatch, {PRODUCER: "venue unreachable"})
    one.supervisor.down[PRODUCER] = "died"
    await one._wait_ready(one.plan.producer())
    assert one.missing == {}
    one.supervisor.close()


def test_up_without_the_account_starts_no_producer_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """USE_ACCOUNT=false: books alone, no address of an account producer is told."""
    monkeypatch.setenv("USE_ACCOUNT", "false")
    one = Up(Settings(_env_file=None, data_dir=tmp_path), UpOptions(parse_feed("sim")), DataDir(tmp_path))
    assert not one.plan.has_account
    assert one.plan.endpoints()["producer_account_url"] is None
