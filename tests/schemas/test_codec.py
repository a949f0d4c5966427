"""Keys and canonical JSON: the same for the same value, anywhere and at any time."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import MalformedFrame
from schemas.codec import canonical_json, hashed_key, numbered_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
)


def test_canonical_json_sorts_keeps_nulls_and_has_no_spaces() -> None:
    """The form that the key is a hash of."""
    assert (
        canonical_json({"b": None, "a": [1, {"z": True, "y": "é"}]}) == '{"a":[1,{"y":"é","z":true}],"b":null}'.encode()
    )


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON))
def test_order_of_fields_does_not_change_the_key(value: dict[str, object]) -> None:
    """The same fields in another order give the same key."""
    turned = dict(reversed(list(value.items())))

    assert hashed_key("x", 1, "s", turned) == hashed_key("x", 1, "s", value)


@pytest.mark.parametrize("value", [1.5, {"a": 0.1}, [1, [2.0]]])
def test_float_in_a_key_is_refused(value: object) -> None:
    """The text of a float is not fixed, so no stable key exists: dead letter, never a guess."""
    with pytest.raises(MalformedFrame, match="unstable_key"):
        hashed_key("x", 1, "s", value)


def test_hashed_key_is_the_sha256_of_type_version_source_and_payload() -> None:
    """Written out once, so that another program can derive it."""
    digest = hashlib.sha256(b'["spot_tick",1,"coinbase",{"price_e8":5,"seq":null}]').hexdigest()

    assert hashed_key("spot_tick", 1, "coinbase", {"seq": None, "price_e8": 5}) == f"spot_tick:v1:{digest}"


@given(st.integers(1, 10**12 - 1), st.integers(1, 10**12 - 1))
def test_padded_revisions_sort_bytewise_as_their_numbers(left: int, right: int) -> None:
    """Postgres breaks ties by the bytes of the key."""
    keys = [numbered_key("quote_update", "KXBTC", f"{revision:012d}").encode() for revision in (left, right)]

    assert (keys[0] < keys[1]) == (left < right)
