"""A tool's input schema as a model sees it: without titles, and without what the orchestrator fills in."""

from __future__ import annotations

from typing import Any

from orchestrator.models.protocol import JsonObject

_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose members are names with a schema each: a member called `title` is a parameter."""
_VALUES = ("const", "default", "enum", "examples", "required")
"""Keywords that hold plain values."""


def schema_for_model(schema: JsonObject, *, without: str) -> JsonObject:
    """A copy without the noise, and without the top-level property `without`."""
    clean: JsonObject = _cleaned(schema)
    properties = clean.get("properties", {})
    if without in properties:
        clean["properties"] = {name: value for name, value in properties.items() if name != without}
    if without in (required := clean.get("required", [])):
        clean["required"] = [name for name in required if name != without]
    if clean.get("required") == []:
        del clean["required"]
    return clean


def _cleaned(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_cleaned(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {keyword: _member(keyword, value) for keyword, value in schema.items() if keyword != "title"}


def _member(keyword: str, value: Any) -> Any:
    if keyword in _VALUES:
        return value
    if keyword in _NAMED and isinstance(value, dict):
        return {name: _cleaned(child) for name, child in value.items()}
    return _cleaned(value)
