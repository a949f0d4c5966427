"""The command line of `python -m venues.simulator`: one option for each field of the settings, by its name."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, asdict, fields
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from domain.errors import UserMistake
from venues.simulator.config import FaultSettings, SimConfig, Told

#: Fields whose option has another name or form: several files are one option given several times, lists are texts.
_CAPTURES, _CHANNELS, _SOURCE = "captures", "channels", "source"
_SETTINGS = (SimConfig, FaultSettings)


def options() -> Iterator[Parameter]:
    """What typer reads: a parameter for each field, with its default and what is told of it."""
    for settings in _SETTINGS:
        types = get_type_hints(settings, include_extras=True)
        for field in fields(settings):
            if field.name in ("faults", "host"):
                continue
            yield _option(field, types[field.name])


def _option(field: Field[Any], kind: Any) -> Parameter:
    shown: dict[str, Any] = {}
    if get_origin(kind) is Annotated:
        kind, *notes = get_args(kind)
        shown = {key: value for note in notes if isinstance(note, Told) for key, value in asdict(note).items()}
    name, default = field.name, None if field.default is MISSING else field.default
    if name == _CAPTURES:
        name, kind, default = "capture", list[Path] | None, None
    elif name == _CHANNELS:
        name, kind, default = "fault_channels", str, ""
    elif get_origin(kind) is Literal:
        choice = " or ".join(get_args(kind))
        shown["help"] = f"{shown['help']}: {choice}" if "help" in shown else choice
        kind, default = str, "" if name == _SOURCE else default
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, typer.Option(**shown)])


def config_of(given: Mapping[str, Any]) -> SimConfig:
    """The settings of a command line.

    Raises:
        UserMistake: a word that is none of an option's, or captures where they do not belong.
    """
    named = dict(given)
    captures = tuple(named.pop("capture") or ())
    named[_CHANNELS] = tuple(part for part in named.pop("fault_channels").split(",") if part)
    named[_SOURCE] = named[_SOURCE] or ("capture" if captures else "generator")
    for settings in _SETTINGS:
        for name, kind in get_type_hints(settings).items():
            if get_origin(kind) is Literal and named[name] not in get_args(kind):
                option = f"--{name.replace('_', '-')}"
                raise UserMistake(f"{option}: expected one of {', '.join(get_args(kind))}, was {named[name]!r}")
    if (named[_SOURCE] == "capture") != bool(captures):
        raise UserMistake("--source capture goes with --capture FILE, and only with it")
    faults = FaultSettings(**{name: named.pop(name) for name in get_type_hints(FaultSettings)})
    return SimConfig(captures=captures, faults=faults, **named)
