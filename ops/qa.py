"""`qa`: the checks of what the stores hold. Exit code 0 clean or empty, 2 findings, 1 cannot tell or wrong usage."""

from pathlib import Path

from app.settings import Settings
from domain.errors import UserMistake
from ops.qa_report import UNCLEAR, Report
from sinks.contract import SinkUnavailable


def books(settings: Settings, data_dir: Path) -> int:
    """`qa books`. Prints the report, returns the exit code."""
    from ops.qa_books import check_books
    from ops.qa_sources import open_sources

    report = Report()
    try:
        sources = open_sources(settings, data_dir)
        try:
            check_books(sources, report)
        finally:
            sources.close()
    except (UserMistake, SinkUnavailable) as wrong:
        report.unclear.append(str(wrong))
        print(report.text())
        return UNCLEAR
    print(report.text())
    return report.exit_code


def fills(settings: Settings, data_dir: Path) -> int:
    """`qa fills`. Prints the report, returns the exit code."""
    from ops.qa_fill_store import connect_postgres
    from ops.qa_fills import check_fills
    from ops.qa_sources import open_sources, reachable_postgres

    report = Report()
    try:
        sources = open_sources(settings, data_dir)
        try:
            with reachable_postgres(settings, data_dir) as dsn:
                check_fills(sources.clickhouse, connect_postgres(dsn) if dsn else None, sources.parquet, report)
        finally:
            sources.close()
    except (UserMistake, SinkUnavailable) as wrong:
        report.unclear.append(str(wrong))
    print(report.text())
    return report.exit_code
