"""The Faust application. `faust -A app worker` finds `app.app`, built on first use.

Importing this package builds nothing and imports no Faust, so that `app.settings` and `app.topics` are cheap for
producers and commands. The lazy attribute (PEP 562) is the one package-level side effect of the project.
"""

import sys
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "app":
        from app.worker import build_app
        from domain.errors import UserMistake

        try:
            application = build_app()
        except UserMistake as mistake:
            # `faust -A app` would print a traceback; the person who forgot BUS_URL gets one line.
            sys.stderr.write(f"{mistake}\n")
            raise SystemExit(2) from None
        globals()["app"] = application
        return application
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
