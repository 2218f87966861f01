"""Tool schemas as models read them: every token of a definition is paid for in every conversation."""

from __future__ import annotations

from typing import Any

from handoff.errors import JsonObject

_NAMED_SCHEMAS = ("properties", "$defs", "patternProperties", "dependentSchemas")


def without_titles(schema: JsonObject) -> JsonObject:
    """The schema without the titles that pydantic derives from names; a property called `title` stays."""
    return {name: _slim(name, value) for name, value in schema.items() if not _is_title(name, value)}


def closed(schema: JsonObject) -> JsonObject:
    """An input schema that says what the guarded path enforces: no other arguments."""
    return {**schema, "additionalProperties": False}


def _slim(name: str, value: Any) -> Any:
    if isinstance(value, dict) and name in _NAMED_SCHEMAS:
        return {key: without_titles(each) for key, each in value.items()}
    if isinstance(value, dict) and name not in ("default", "const"):
        return without_titles(value)
    if isinstance(value, list) and name in ("anyOf", "allOf", "oneOf", "prefixItems"):
        return [without_titles(each) for each in value]
    return value


def _is_title(name: str, value: Any) -> bool:
    return name == "title" and isinstance(value, str)
