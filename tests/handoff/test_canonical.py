"""Canonical JSON: the fast spelling is the one of RFC 8785, and what JSON cannot carry is refused."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from handoff.canonical import canonical_json
from handoff.errors import EnvelopeError

texts = st.text() | st.text(alphabet='"\\/\b\f\n\r\t\x00\x1f\x7f\u2028\ue000\U0001f600', max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | numbers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(value=values)
def test_every_json_value_is_spelt_as_rfc_8785_asks(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


class Shade(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "spelt"),
    [
        pytest.param({"b": 1, "a": [True, None]}, b'{"a":[true,null],"b":1}', id="keys in order"),
        pytest.param(
            {"\ue000": 1, "\U0001f600": 2}, '{"\U0001f600":2,"\ue000":1}'.encode(), id="UTF-16 order"
        ),
        pytest.param({"n": 1.0, "m": 1e21, "z": -0.0}, b'{"m":1e+21,"n":1,"z":0}', id="numbers"),
        pytest.param({"shade": Shade.RED}, b'{"shade":"red"}', id="a text of a type of its own"),
        pytest.param(("a", ()), b'["a",[]]', id="tuples"),
    ],
)
def test_values_that_other_encoders_spell_otherwise(value: Any, spelt: bytes) -> None:
    assert canonical_json(value) == spelt


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(2**53, id="a large integer"),
        pytest.param(-(2**53), id="a large negative integer"),
        pytest.param(float("nan"), id="not a number"),
        pytest.param(float("inf"), id="infinity"),
        pytest.param("\ud800", id="half a character"),
        pytest.param({1: "a"}, id="a key that is no text"),
        pytest.param({"a": 1, 2: "b"}, id="keys of two kinds"),
        pytest.param({"a": {1, 2}}, id="a set"),
        pytest.param(b"a", id="bytes"),
    ],
)
def test_what_json_cannot_carry_exactly_is_refused_by_its_field(value: Any) -> None:
    with pytest.raises(EnvelopeError) as refused:
        canonical_json({"v": value}, field="facts")
    assert (refused.value.code, refused.value.field) == ("not_canonical", "facts")


def test_what_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(EnvelopeError) as refused:
        canonical_json(value, field="facts")
    assert (refused.value.code, refused.value.field) == ("malformed", "facts")
