"""What we override or use of Faust, aiokafka and websockets that they do not promise to keep, with the source it had.

`tests/kernel/test_upstream_guard.py` fails when one of these changes. Then read the new source beside ours, run
`make chaos`, and only then write the new hash into `app.upstream_uses`: each entry says what to look at. Reads no
setting, starts nothing.
"""

import hashlib
import importlib
import inspect
from importlib import resources
from typing import Any

from app.upstream_client_uses import CLIENT_USES
from app.upstream_uses import USES

#: Everything that is watched.
ALL_USES = (*USES, *CLIENT_USES)
#: The releases whose source the hashes are of.
VERSIONS = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "websockets": "17.4"}
#: Source of what is compiled, as the package brings it.
COMPILED = ".pyx"


def source_sha256(path: str) -> str | None:
    """The hash of what stands there now; None when nothing does."""
    module, _, names = path.partition(":")
    found: Any
    try:
        if names.endswith(COMPILED):
            return hashlib.sha256(resources.files(module).joinpath(names).read_bytes()).hexdigest()
        found = importlib.import_module(module)
        for name in names.split("."):
            found = _theirs(getattr(found, name), module)
        return hashlib.sha256(inspect.getsource(found).encode()).hexdigest()
    except (ImportError, AttributeError, OSError, TypeError):
        return None


def _theirs(found: Any, module: str) -> Any:
    """The class that stood there before we put a subclass in its place (`app.transport.read_lean`)."""
    if isinstance(found, type) and found.__module__.startswith("app."):
        return next(base for base in found.__mro__ if base.__module__ == module)
    return found


def changed() -> list[str]:
    """One line for each use whose source is not the one we know; empty when all are."""
    return [
        f"{use.path} {'is gone' if now is None else 'changed (now ' + now + ')'}; we rely on it: {use.why}"
        for use in ALL_USES
        if (now := source_sha256(use.path)) != use.sha256
    ]
