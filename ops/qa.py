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
    from ops.data_dir import DataDir
    from ops.qa_fills import check_fills
    from ops.qa_fills_postgres import postgres_books
    from ops.qa_sources import open_sources

    report = Report()
    try:
        sources = open_sources(settings, data_dir)
        try:
            dsn = settings.pg_dsn.get_secret_value() if settings.pg_dsn is not None else None
            data = DataDir(data_dir)
            if dsn is None and data_dir.exists() and data.in_use():
                dsn = data.read_endpoints().get("pg_dsn")
            check_fills(sources.clickhouse, postgres_books(dsn) if dsn else None, report)
        finally:
            sources.close()
    except (UserMistake, SinkUnavailable) as wrong:
        report.unclear.append(str(wrong))
    print(report.text())
    return report.exit_code
