"""Field by field: what an SDK's models have, and what of it the venue said."""

import inspect
from collections.abc import Iterator
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel


class Said:
    """Over all answers: per model, fields that were there, and keys that the model does not have."""

    def __init__(self) -> None:
        self.fields: dict[str, set[str]] = {}
        self.unknown: dict[str, set[str]] = {}
        self.models: dict[str, type[BaseModel]] = {}

    def hear(self, value: Any, raw: Any = None) -> None:
        """Take a parsed answer. `raw`: its JSON, for models that forget the keys they do not know."""
        if isinstance(value, list):
            for n, item in enumerate(value):
                self.hear(item, raw[n] if isinstance(raw, list) and n < len(raw) else None)
        elif isinstance(value, BaseModel):
            self._model(value, raw)

    def _model(self, model: BaseModel, raw: Any) -> None:
        kind = type(model)
        self.models[kind.__name__] = kind
        names = {name: field.alias or name for name, field in kind.model_fields.items()}
        told = self.fields.setdefault(kind.__name__, set())
        unknown = self.unknown.setdefault(kind.__name__, set())
        if isinstance(raw, dict):
            told |= {name for name, key in names.items() if key in raw}
            unknown |= raw.keys() - names.values()
        else:
            told |= model.model_fields_set & names.keys()
            unknown |= set(model.model_extra or {})
        for name, key in names.items():
            self.hear(getattr(model, name), raw.get(key) if isinstance(raw, dict) else None)

    def report(self) -> dict[str, Any]:
        """{"models": class -> field -> type, "unsaid": ["Class.field"], "unknown": [...]}, sorted."""
        unsaid = [f"{n}.{f}" for n, m in self.models.items() for f in m.model_fields if f not in self.fields[n]]
        unknown = [f"{name}.{key}" for name, keys in self.unknown.items() for key in keys]
        models = {name: described(model) for name, model in sorted(self.models.items())}
        return {"models": models, "unsaid": sorted(unsaid), "unknown": sorted(unknown)}


def described(model: type[BaseModel]) -> dict[str, str]:
    """Field -> 'required' or 'optional', its type, and the words that an enumeration allows."""
    return {
        field.alias or name: f"{'required' if field.is_required() else 'optional'} {_kind(field.annotation)}"
        for name, field in sorted(model.model_fields.items())
    }


def _kind(annotation: Any) -> str:
    """The type in short words, the same in every run: no addresses of validators."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(parts[0])
    if origin is Literal:
        return f"[{'|'.join(map(str, parts))}]"
    if origin in (Union, UnionType):
        return " or ".join(_kind(part) for part in parts)
    if origin is not None:
        return f"{_kind(origin)}[{', '.join(map(_kind, parts))}]"
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return f"{annotation.__name__}[{'|'.join(str(member.value) for member in annotation)}]"
    if annotation is type(None):
        return "null"
    return annotation.__name__ if inspect.isclass(annotation) else str(annotation)


def methods(*owners: Any) -> Iterator[str]:
    """The public methods of an SDK's parts, as 'Part.method': a new one is a new thing that the venue can do."""
    for owner in owners:
        kind = owner if inspect.isclass(owner) else type(owner)
        for name, member in inspect.getmembers(kind, inspect.isfunction):
            plain = not name.startswith("_") and not name.endswith(("_with_http_info", "_without_preload_content"))
            if plain and member.__qualname__.startswith(kind.__name__):
                yield f"{kind.__name__}.{name}"
