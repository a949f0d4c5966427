"""A list of calls, made one after the other; one that fails is reported and the others go on."""

import json
import sys
from collections.abc import Callable
from typing import Any

ERROR_CHARACTERS = 600


class Calls:
    """`made` and `failed` by name; `empty`: lists that came back without an item, so that no item was parsed."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.failed: dict[str, str] = {}
        self.empty: list[str] = []

    def make(self, name: str, call: Callable[[], Any], items: Callable[[Any], Any] | None = None) -> Any:
        """The parsed answer, or None where it failed. `items` gives the list that must not be empty."""
        self.made.append(name)
        try:
            answer = call()
        except Exception as wrong:  # whatever the SDK raises is what is reported
            self.failed[name] = f"{type(wrong).__name__}: {wrong}"[:ERROR_CHARACTERS]
            return None
        if items is not None and not items(answer):
            self.empty.append(name)
        return answer

    def stage(self, stage: Callable[..., Any], *arguments: Any) -> Any:
        """A function that makes calls; one that cannot go on, as a call that it needs has failed, is a failure too."""
        try:
            return stage(*arguments)
        except Exception as wrong:
            self.failed[f"stage {stage.__name__}"] = f"{type(wrong).__name__}: {wrong}"[:ERROR_CHARACTERS]
            return None


def say(report: dict[str, Any]) -> None:
    """The report of this process: one JSON object on stdout."""
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
