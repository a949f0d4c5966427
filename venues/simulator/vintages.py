"""One description per object of the venue, from which what it says in each vintage follows.

A vintage is what the venue said at a time: a (November 2025), b (January and February 2026: whole cents and counts), c
(April to August 2026: decimal texts only), d (today, autumn 2026). A `Field` says in which of them it is there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

T = TypeVar("T")
Letter = Literal["a", "b", "c", "d"]
TODAY: Final[Letter] = "d"
Body = dict[str, Any]


class _Absent:
    """For `Field.value`: this thing has no such field (a key that is left out, where null would be another answer)."""


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """`name` in the JSON object, `value` of a thing in JSON's types or `ABSENT`, the vintages that have it."""

    name: str
    value: Callable[[T], Any]
    vintages: str = "abcd"


def told(fields: Sequence[Field[T]], thing: T, vintage: str) -> Body:
    """The thing's JSON object in one vintage."""
    body: Body = {}
    for field in fields:
        if vintage in field.vintages:
            value = field.value(thing)
            if value is not ABSENT:
                body[field.name] = value
    return body


def names(fields: Sequence[Field[T]], vintage: str) -> set[str]:
    """Every field that an object of this vintage can have."""
    return {field.name for field in fields if vintage in field.vintages}
