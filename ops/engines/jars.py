"""Kafka's jars: resolved and fetched once by jgo into the user's cache, shared by every data directory and test run.

The first call on a machine fetches about 45 MB; later ones take half a second. A lock file keeps two processes from
fetching at once, and a jar cut short by a kill is noticed (it is no zip file), removed and fetched again.
"""

import fcntl
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from ops.engines import EngineFailed

KAFKA_ENDPOINT = "org.apache.kafka:kafka_2.13:4.1.1+org.slf4j:slf4j-simple:1.7.36"

#: Called with (file name, bytes) for each file that is fetched; the context it returns yields `advance(bytes)`.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _cut_short(folder: Path) -> list[Path]:
    return [jar for jar in folder.rglob("*.jar") if not zipfile.is_zipfile(jar)]


def kafka_class_path(progress: Progress | None = None) -> str:
    """The class path of Kafka: all jars of the environment, from its `jars` and its `modules` folder.

    Raises:
        EngineFailed: the jars are not in the cache and cannot be fetched.
    """
    import jgo
    from jgo.config import GlobalSettings
    from jgo.maven import PythonResolver

    cache = GlobalSettings.load()
    with _locked(Path(cache.cache_dir) / "kalshi-streams.lock"):
        try:
            jars = _build(jgo, PythonResolver(progress_callback=progress))
        except Exception:
            # Most often a jar that an earlier, killed run left half written. Once more without it; then say so.
            for jar in _cut_short(Path(cache.repo_cache)):
                jar.unlink()
            try:
                jars = _build(jgo, PythonResolver(progress_callback=progress), update=True)
            except Exception as wrong:
                reason = " ".join(str(wrong).split())[:300]
                raise EngineFailed(f"kafka: its jars could not be fetched ({type(wrong).__name__}: {reason})") from None
    return ":".join(map(str, jars))


def _build(jgo: Any, resolver: Any, update: bool = False) -> list[Path]:
    environment = jgo.build(KAFKA_ENDPOINT, resolver=resolver, update=update)
    jars: list[Path] = environment.all_jars
    broken = [jar.name for jar in jars if not zipfile.is_zipfile(jar)]
    if broken or not jars:
        raise EngineFailed(f"kafka: expected whole jars, was {broken or 'none'}")
    return jars
