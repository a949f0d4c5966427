"""One form of log lines for every process: time, level, component, text; JSON by setting (LOG_FORMAT).

    2026-12-01T04:45:00.123Z WARNING producer-market gap: sid 1, 3 missing, KX-A

A line that comes again and again is written once, and then summed: what repeats each second hides what happened once.
"""

import json
import logging
import logging.config
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

#: The same text is written again at the earliest after this, with how often it came meanwhile.
REPEAT_S = 60.0
#: Texts remembered to find repeats; beyond it the oldest is forgotten and would be written again.
TEXTS_MAX = 1_000


class LineFormatter(logging.Formatter):
    """One line per record; a traceback follows on its own lines."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        text = f"{_time_of(record)} {record.levelname} {self._component} {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonFormatter(logging.Formatter):
    """One JSON object per record, for whoever collects logs."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time_of(record),
            "level": record.levelname,
            "component": self._component,
            "logger": record.name,
            "text": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class SummingHandler(logging.StreamHandler[Any]):
    """Writes a text once in REPEAT_S, and then how often it came. `clock` is monotonic."""

    def __init__(self, stream: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream or sys.stderr)
        self._clock = clock
        #: (level, text) -> since when, how often since then without being written, its last record.
        self._seen: OrderedDict[tuple[int, str], tuple[float, int, logging.LogRecord]] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        now_s, key = self._clock(), (record.levelno, record.getMessage())
        self._sum_up(now_s)
        known = self._seen.get(key)
        if known is not None and not record.exc_info:
            self._seen[key] = (known[0], known[1] + 1, record)
            return
        self._seen[key] = (now_s, 0, record)
        if len(self._seen) > TEXTS_MAX:
            self._seen.popitem(last=False)
        super().emit(record)

    def _sum_up(self, now_s: float, wait_s: float = REPEAT_S) -> None:
        """What repeated and whose time is over: one line each, and then it is new again."""
        while self._seen and now_s - next(iter(self._seen.values()))[0] >= wait_s:
            _, (since_s, times, record) = self._seen.popitem(last=False)
            if times:
                text = f"{record.getMessage()} (again {times} times in {now_s - since_s:.0f} s)"
                super().emit(logging.makeLogRecord(record.__dict__ | {"msg": text, "args": (), "exc_info": None}))

    def close(self) -> None:
        self._sum_up(self._clock(), 0.0)
        super().close()


def logging_config(component: str, level: str, form: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`; `form` is "text" or "json"."""
    formatter = JsonFormatter if form == "json" else LineFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter, "component": component}},
        # The level on the handler too: Faust sets the root logger to DEBUG at times.
        "handlers": {"default": {"()": SummingHandler, "formatter": "line", "level": level.upper()}},
        "root": {"handlers": ["default"], "level": level.upper()},
        # aiokafka tells of each reconnect at INFO, and asyncio of each slow callback in debug mode.
        "loggers": {"aiokafka": {"level": "WARNING"}},
    }


def log_lines(component: str, level: str, form: str) -> None:
    """From now on this process logs so, to stderr."""
    logging.config.dictConfig(logging_config(component, level, form))


def _time_of(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"
