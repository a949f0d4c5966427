"""Faust's own way to test an agent works for batched agents: `agent.test_context` takes a list of records."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

from kernel_input import BookInput
from kernel_judge import judge

from app.settings import load_settings
from app.worker import build_app
from schemas.registry import QUOTE_UPDATES


async def test_agent_in_a_test_context_folds_a_list_of_records(tmp_path: Path) -> None:
    """Without a broker or a disk: the outputs and the book are those of the fold."""
    app = build_app(load_settings(data_dir=tmp_path), transient=True)
    stage = next(stage for stage in app.stages if stage.name == "maintain_books")
    pairs = BookInput(3, seed=2, faults=True).take(200)
    rows = [
        SimpleNamespace(offset=i, key=k, value=v, timestamp=1, timestamp_type=1, headers=[])
        for i, (k, v) in enumerate(pairs)
    ]
    wanted = judge({0: rows}).outputs[QUOTE_UPDATES.name, 0]
    async with app.agents["maintain_books"].test_context() as agent:
        await agent.put(rows[:120])
        await agent.put(rows[120:])
        deadline_s = time.monotonic() + 90
        while 0 not in stage.tasks or stage.tasks[0].next_offset("market.book_updates") < len(rows):
            assert time.monotonic() < deadline_s, "the agent did not take the records"
            await asyncio.sleep(0.01)
        sent = stage.tasks[0]._outlets._outboxes[QUOTE_UPDATES.name, 0].sent
        assert [value for _, value in sent] == wanted
        state, offset = stage.state(0, rows[0].key)
        assert (state.ticker, offset) == ("KXTEST-000", 200)
    stage.revoke()
