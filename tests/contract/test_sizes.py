"""Files that can be read in one sitting: at most 300 lines, functions at most 50."""

import ast
from pathlib import Path

FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 50

#: file -> (bound, reason).
LONGER_FILES: dict[str, tuple[int, str]] = {
    "tests/producers/test_feed.py": (550, "one scripted venue, all scenarios of a session beside it"),
    "tests/sinks/test_postgres_sink.py": (400, "one sink, all scenarios on one server"),
    "tests/domain/test_fills_to_positions.py": (400, "the ten-line fold and everything that is compared with it"),
    "tests/kernel_world.py": (400, "the world of the kernel's kill tests"),
}
#: file:function -> (bound, reason).
LONGER_FUNCTIONS: dict[str, tuple[int, str]] = {
    "tests/producers/test_market_engines.py:test_frames_reach_kafka_in_order_and_are_accounted_to_the_last": (
        60,
        "one story from the socket to the last account",
    ),
}


def functions(source: str) -> list[tuple[str, int]]:
    """(name, lines) of every function, decorators left out."""
    return [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_files_are_short(root: Path, python_files: list[Path]) -> None:
    """A longer one needs a reason that is written down."""
    long = []
    for path in python_files:
        name = path.relative_to(root).as_posix()
        lines = len(path.read_text().splitlines())
        bound = LONGER_FILES.get(name, (FILE_LINES_MAX, ""))[0]
        if lines > bound:
            long.append(f"{name}: expected at most {bound} lines, was {lines}")

    assert not long, "\n" + "\n".join(long)


def test_functions_are_short(root: Path, python_files: list[Path]) -> None:
    """A longer one needs a reason that is written down."""
    long = []
    for path in python_files:
        file = path.relative_to(root).as_posix()
        for name, lines in functions(path.read_text()):
            bound = LONGER_FUNCTIONS.get(f"{file}:{name}", (FUNCTION_LINES_MAX, ""))[0]
            if lines > bound:
                long.append(f"{file}:{name}: expected at most {bound} lines, was {lines}")

    assert not long, "\n" + "\n".join(long)


def test_exceptions_are_few_and_still_needed(root: Path) -> None:
    """Whoever shortens one takes its line out."""
    for name in LONGER_FILES:
        assert len((root / name).read_text().splitlines()) > FILE_LINES_MAX, name
    for name in LONGER_FUNCTIONS:
        file, _, function = name.partition(":")
        assert dict(functions((root / file).read_text()))[function] > FUNCTION_LINES_MAX, name
    assert len(LONGER_FILES) + len(LONGER_FUNCTIONS) <= 10
