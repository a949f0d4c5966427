"""lz4 at the level meant for streams. No Faust here.

aiokafka compresses lz4 at level 9, which took 40 times as long as level 1 for a fifth less data (measured on a megabyte
of quotes: 70 ms and 179 kB against 1.6 ms and 221 kB) and was a fifth of the whole book job. It has no setting for it.
"""

from functools import partial
from typing import Any

from aiokafka import codec
from aiokafka.record import default_records

#: Fastest that still compresses; Kafka's clients and brokers read any level.
LEVEL = 1


def compress_fast() -> None:
    """Make every aiokafka producer of this process compress lz4 at `LEVEL` (a guard test watches the seam)."""
    fast: Any = partial(codec.lz4_encode, level=LEVEL)
    for module in seams():
        module.lz4_encode = fast


def seams() -> list[Any]:
    """The modules whose `lz4_encode` the record batch builders call."""
    modules: list[Any] = [default_records]
    try:
        from aiokafka.record._crecords import default_records as compiled
    except ImportError:
        return modules
    return [*modules, compiled]
