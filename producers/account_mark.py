"""How far the account has been read: a small file beside the data, replaced atomically, fsynced.

It moves only after what it covers is acknowledged by Kafka, so a kill -9 at any moment repeats reports and loses none.
A file and not a topic: it is written by one process, read once at its start, and must be readable without a broker.
"""

import os
from pathlib import Path

import msgspec

from domain.errors import UserMistake

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
        UserMistake: the file is there and cannot be read; it is never guessed.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Mark)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as wrong:
        raise UserMistake(
            f"{path}: expected the account's mark, was {wrong}; without it the account begins anew"
        ) from None


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
