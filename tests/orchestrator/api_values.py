"""Values for an API's parameters and bodies, made from its schemas: ones that keep them, and hostile ones."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Schema = dict[str, Any]

MARK = "qX7marked7Xq"
"""Stands in hostile texts: no refusal may quote it."""

TEXTS = (
    "", " ", "\0", f"{MARK}\0", "\ud7ff\U0010ffff", "../../etc/passwd", "%00", "%2e%2e%2f",
    f"' OR 1=1 --{MARK}",
    "\u202e\u200d", "x" * 5_000, "run_" + "a" * 200, "-1", "1e309", "٣", "null", "true", f"{MARK}:{{*}}\r\nx",
)  # fmt: skip
NUMBERS = (0, -1, 1.5, 2**31, 2**53, 2**63, -(2**63) - 1, 10**400, 1e308)
DEPTH = 60
DEEP_TEXTS = (
    b"[" * 50_000, b'{"a":' * 20_000, b"[" * 500 + b"]" * 500, b'{"input": ' + b"[" * 30_000,
)  # fmt: skip
BAD_TEXTS = (
    b"", b"{", b"null", b"NaN", b"[]", b'"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"{}{}", b'{"input": "a",}',
    b'{"input": "\\ud800"}', b'{"input": "a\x00b"}', b'{"input": 1e400}', b'{"input": "a", "input": 2}',
    b'{"decision": "answer", "note": "\\ud800\\ud800"}', b'{"input": "a", "metadata": {"x": Infinity}}',
    b'{"input": "a", "metadata": {"x": 1' + b"0" * 5_000 + b"}}", '{"input": "ä"}'.encode("utf-16"),
)  # fmt: skip


def _deep(depth: int) -> Any:
    value: Any = MARK
    for _ in range(depth):
        value = {"a": [value]}
    return value


hostile_text = st.one_of(
    st.sampled_from(TEXTS), st.text(max_size=40), st.text("0123456789abcdef-_", max_size=40)
)
hostile: SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    hostile_text,
    st.just([]),
    st.just({}),
    st.lists(hostile_text, max_size=3),
    st.dictionaries(hostile_text, st.sampled_from(NUMBERS), max_size=3),
    st.just(_deep(DEPTH)),
)


def values_of(schema: Schema, schemas: Schema) -> SearchStrategy[Any]:
    """Values that keep the schema."""
    if "$ref" in schema:
        return values_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return st.one_of([values_of(each, schemas) for each in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    made: SearchStrategy[Any] = _BY_TYPE[schema["type"]](schema, schemas)
    return made


def _strings(schema: Schema, _: Schema) -> SearchStrategy[str]:
    if schema.get("format") == "uuid":
        return st.uuids().map(str)
    if "pattern" in schema:
        return st.from_regex(re.compile(schema["pattern"], re.ASCII), fullmatch=True)
    least, most = schema.get("minLength", 0), min(schema.get("maxLength", 60), 60)
    characters = st.characters(codec="utf-8")
    return st.text(characters, min_size=least, max_size=most)


def _integers(schema: Schema, _: Schema) -> SearchStrategy[int]:
    least, most = schema.get("minimum", -(2**53) + 1), schema.get("maximum", 2**53 - 1)
    return st.integers(least, most)


def _numbers(schema: Schema, _: Schema) -> SearchStrategy[float]:
    least, most = schema.get("minimum", -1e15), schema.get("maximum", 1e15)
    return st.floats(least, most, allow_nan=False)


def _objects(schema: Schema, schemas: Schema) -> SearchStrategy[dict[str, Any]]:
    if "properties" not in schema:
        names = _strings(schema.get("propertyNames", {}), schemas)
        most = min(schema.get("maxProperties", 4), 4)
        return st.dictionaries(names, values_of(schema["additionalProperties"], schemas), max_size=most)
    made = {name: values_of(each, schemas) for name, each in schema["properties"].items()}
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: each for name, each in made.items() if name in required},
        optional={name: each for name, each in made.items() if name not in required},
    )


_BY_TYPE: dict[str, Any] = {
    "string": _strings,
    "integer": _integers,
    "number": _numbers,
    "boolean": lambda *_: st.booleans(),
    "null": lambda *_: st.none(),
    "object": _objects,
    "array": lambda schema, schemas: st.lists(values_of(schema["items"], schemas), max_size=3),
}


@st.composite
def bodies_of(draw: st.DrawFn, schema: Schema, schemas: Schema) -> bytes:
    """Bodies: good ones, ones with a member that is wrong, missing, unknown or there twice, and no JSON."""
    how = draw(st.sampled_from(["good"] * 5 + ["wrong", "missing", "unknown", "twice", "cut", "bad", "deep"]))
    if how == "bad":
        return draw(st.sampled_from(BAD_TEXTS))
    if how == "deep":
        return draw(st.sampled_from(DEEP_TEXTS))
    body = draw(values_of(schema, schemas))
    names = sorted(schemas[schema["$ref"].rpartition("/")[2]]["properties"])
    name = draw(st.sampled_from(names))
    if how == "wrong":
        body[name] = draw(hostile)
    elif how == "missing":
        body.pop(name, None)
    elif how == "unknown":
        body[draw(hostile_text)] = draw(hostile)
    text = json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if how == "twice":
        text = text[:-1] + f', "{name}": {json.dumps(draw(hostile))}, "{name}": 1}}'.encode()
    return text[: draw(st.integers(0, len(text)))] if how == "cut" else text
