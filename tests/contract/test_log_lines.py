"""Log lines of every process have one form, and a line that repeats is summed."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.logs import REPEAT_S, JsonFormatter, LineFormatter, SummingHandler

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) [a-z-]+ .+\Z")


def logger_on(stream: io.StringIO, clock: list[float], formatter: logging.Formatter) -> logging.Logger:
    """A logger of its own over the handler that every process has."""
    handler = SummingHandler(stream, lambda: clock[0])
    handler.setFormatter(formatter)
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger


def test_line_that_repeats_is_written_once_and_summed_when_its_time_is_over() -> None:
    """A line each second would hide the one that came once."""
    stream, clock = io.StringIO(), [0.0]
    log = logger_on(stream, clock, LineFormatter("state"))
    for _ in range(5):
        log.warning("store away: %s", "no route")
        clock[0] += 1
    log.warning("another matter")
    clock[0] += REPEAT_S
    log.warning("store away: no route")
    texts = [line.split(" ", 3)[3] for line in stream.getvalue().splitlines()]
    assert texts[:2] == ["store away: no route", "another matter"]
    assert texts[2:] == ["store away: no route (again 4 times in 65 s)", "store away: no route"]


def test_what_repeats_until_the_end_is_summed_at_the_end() -> None:
    """Else the last minute would be silent."""
    stream, clock = io.StringIO(), [0.0]
    log = logger_on(stream, clock, LineFormatter("state"))
    log.error("x")
    log.error("x")
    log.handlers[0].close()
    assert "x (again 1 times" in stream.getvalue().splitlines()[1]


def test_traceback_is_never_summed_away() -> None:
    """Two bugs may have one text."""
    stream = io.StringIO()
    log = logger_on(stream, [0.0], LineFormatter("state"))
    for _ in range(2):
        try:
            raise KeyError("k")
        except KeyError:
            log.exception("bug")
    assert stream.getvalue().count("Traceback") == 2


def test_json_lines_hold_the_same_and_the_traceback() -> None:
    """One object per line, whatever the text holds."""
    stream = io.StringIO()
    log = logger_on(stream, [0.0], JsonFormatter("producer-market"))
    log.info('gap: "sid" 1\nand more')
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert (told["level"], told["component"], told["text"]) == ("INFO", "producer-market", 'gap: "sid" 1\nand more')


@pytest.mark.long
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_real_producer_writes_its_lines_so(tmp_path: Path, form: str) -> None:
    """INFO lines too: without a configuration they were lost, and the others had no time."""
    code = (
        "import asyncio, logging\n"
        "import producers.market as m\n"
        "async def run(settings): logging.getLogger('producers.feed').info('hello %s', 'there')\n"
        "m.run = run\n"
        "from ops.cli import app\n"
        "app(['producer', 'market'])\n"
    )
    env = os.environ | {"LOG_FORMAT": form, "DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=120
    )
    (line,) = done.stderr.splitlines()
    if form == "json":
        assert json.loads(line)["text"] == "hello there"
    else:
        assert LINE.match(line)
        assert line.endswith("INFO producer-market hello there")
