"""The results' README says whether a ratio reaches its target."""

from bench.report import _target_table, table


def test_a_missed_target_is_said_in_capitals() -> None:
    """A must that is not reached cannot be overlooked; a goal is named as one."""
    lines = _target_table([("a", 0.5, ">=", 0.6, 1.0), ("b", 0.7, "<=", 1.0, 0.8), ("c", None, ">=", 1.0, 1.0)])

    assert lines[2].endswith("MISSED |")
    assert lines[3].endswith("goal |")
    assert lines[4].endswith("not measured |")


def test_a_table_shows_absent_values_as_a_dash() -> None:
    """Nothing is ever an empty cell or the word None."""
    assert table(["x"], [[None]])[2] == "| - |"
