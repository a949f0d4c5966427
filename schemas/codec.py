"""JSON in and out for records, and the deterministic keys that make every record recognisable when it comes twice."""

import hashlib
from typing import Any

import msgspec

from domain.errors import MalformedFrame

_encode = msgspec.json.Encoder().encode
encode_record = _encode


def canonical_json(value: Any) -> bytes:
    """Sorted keys, explicit nulls, no spaces, integers only: the same bytes for the same value, anywhere.

    Raises:
        MalformedFrame: `unstable_key`, when the value holds a float (its text form is not fixed).
    """
    plain = msgspec.to_builtins(value, str_keys=True)
    _refuse_floats(plain)
    return msgspec.json.encode(plain, order="sorted")


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise MalformedFrame("unstable_key", f"expected integers and text in a key, was float {value!r}")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_floats(item)


def hashed_key(event_type: str, schema_version: int, source: str, payload: Any) -> str:
    """`<event_type>:v<n>:<sha256 hex>` of canonical JSON: the key where upstream gives no identity. Never our clock."""
    body = canonical_json([event_type, schema_version, source, payload])
    return f"{event_type}:v{schema_version}:{hashlib.sha256(body).hexdigest()}"


def numbered_key(event_type: str, *parts: str | int) -> str:
    """`<event_type>:v1:<part>:<part>..`: the key where upstream identity exists.

    A revision is the last part and zero-padded by the caller (`f"{revision:012d}"`), so that byte order is its order.
    """
    return f"{event_type}:v1:{':'.join(map(str, parts))}"


def decode_many(decoder: "msgspec.json.Decoder[Any]", values: list[bytes | None]) -> list[Any]:
    """Decode a run of records in one call; a poison one costs only itself.

    Returns one item per value, in order: the record, or a MalformedFrame that says what is wrong with it.
    One call for the run takes 60 % of the time of a call for each (no per-call set-up).
    """
    try:
        lines = b"\n".join(values)  # type: ignore[arg-type]
        records = decoder.decode_lines(lines)
        # A value of two lines beside an empty one would give the right count of records, and the wrong ones.
        if len(records) == len(values) == lines.count(b"\n") + 1:
            return records
    except (msgspec.DecodeError, TypeError, UnicodeDecodeError):
        pass
    return [_decode_or_error(decoder, value) for value in values]


def _decode_or_error(decoder: "msgspec.json.Decoder[Any]", value: bytes | None) -> Any:
    if value is None:
        return MalformedFrame("null_value", "expected a record, was a null value")
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        return MalformedFrame("invalid_record", str(error)[:1_000])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return MalformedFrame("undecodable_record", str(error)[:1_000])
