"""Which of a server's tools the kit may run: only what reads, with arguments that are easily made up."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from handoff.check.connection import ListedTool
from handoff.errors import JsonObject
from handoff.hints import OWN_TOOLS

PLAIN_TEXT = "handoff-check"
FORMATS = {"uuid": str(uuid.UUID(int=0)), "date": "2026-01-01", "date-time": "2026-01-01T00:00:00Z"}


@dataclass(frozen=True, slots=True)
class Hint:
    """A call that a handoff may ask for."""

    tool: ListedTool
    arguments: JsonObject


def readers(tools: Iterable[ListedTool]) -> list[Hint]:
    """The calls that change nothing, those that show most first: with a cursor and required arguments."""
    found = []
    for tool in tools:
        if tool.name in OWN_TOOLS or not tool.read_only or tool.destructive:
            continue
        arguments = {name: _made_up(tool.parameters.get(name, {})) for name in tool.required}
        if None not in arguments.values():
            found.append(Hint(tool, arguments))
    return sorted(found, key=lambda hint: ("cursor" not in hint.tool.parameters, not hint.arguments))


def needing_arguments(tools: Iterable[ListedTool]) -> ListedTool | None:
    """A tool that a hint may run, but not without arguments."""
    allowed = [
        tool
        for tool in tools
        if tool.name not in OWN_TOOLS and not tool.destructive and (tool.read_only or tool.idempotent)
    ]
    required = (tool for tool in allowed if set(tool.required) - {"idempotency_token"})
    return next(required, None)


def destructive(tools: Iterable[ListedTool]) -> list[ListedTool]:
    """The server's own destructive tools that cannot run without arguments, so that asking is safe."""
    return [tool for tool in tools if tool.name not in OWN_TOOLS and tool.destructive and tool.required]


def _made_up(schema: JsonObject) -> Any:
    """A value of the schema; None when it takes more than a guess."""
    for key in ("default", "const"):
        if schema.get(key) is not None:
            return schema[key]
    if values := schema.get("enum"):
        return values[0]
    kind = schema.get("type")
    if kind == "string":
        return _text(schema)
    if kind in ("integer", "number"):
        least = schema.get("minimum") or schema.get("exclusiveMinimum") or 0
        return max(int(least) + 1, 1)
    if schema.get("minItems") or schema.get("required"):
        return None
    return {"boolean": False, "array": [], "object": {}}.get(str(kind))


def _text(schema: JsonObject) -> str | None:
    if "format" in schema:
        return FORMATS.get(schema["format"])
    text = PLAIN_TEXT[: schema.get("maxLength", len(PLAIN_TEXT))].ljust(schema.get("minLength", 0), "x")
    fits = "pattern" not in schema or re.search(schema["pattern"], text)
    return text if fits else None
