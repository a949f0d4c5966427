"""How far the account has been read: a small file beside the data, replaced atomically, fsynced.

It moves only after what it covers is acknowledged by Kafka, so a kill -9 at any moment repeats reports and loses none.
A file and not a topic: it is written by one process, read once at its start, and must be readable without a broker.
"""

import os
from pathlib import Path

import msgspec
from msgspec import structs

from domain.errors import UserMistake
from domain.times import is_plausible

RESTING_KEPT_MAX = 10_000  # order ids; the venue lets nobody rest nearly as many


class Mark(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Everything at or before the times has been read and acknowledged. `opening_ms`: fills at or before it are in the
    opening positions. `resting`: orders that rested when last asked; one that is gone is asked for by id."""

    version: int = 1
    opening_ms: int
    fills_ms: int
    orders_ms: int
    settlements_ms: int
    resting: list[str] = []


def load_mark(path: Path) -> Mark | None:
    """The mark, None at the first start ever.

    Raises:
        UserMistake: it is no mark; it is never guessed. OSError: the disk does not give it now.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Mark)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as wrong:
        raise UserMistake(
            f"{path}: expected the account's mark, was {wrong}; without it the account begins anew"
        ) from None


def believed(mark: Mark, now_ms: int) -> Mark | None:
    """The mark without times that cannot be: one more than some minutes ahead of us would never let anything be read
    again. What it covered is read again from the opening on; without a believable opening the account begins anew."""
    if not is_plausible(mark.opening_ms, now_ms):
        return None
    told = {name: getattr(mark, name) for name in ("fills_ms", "orders_ms", "settlements_ms")}
    wrong = {name: mark.opening_ms for name, time_ms in told.items() if not is_plausible(time_ms, now_ms)}
    return structs.replace(mark, **wrong) if wrong else mark


def save_mark(path: Path, mark: Mark) -> None:
    """Replace the file; returns when it is durable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mark.resting = mark.resting[-RESTING_KEPT_MAX:]
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode(mark))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
