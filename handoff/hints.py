"""What a handoff's `next_tool_hint` comes to: a call to run, or nothing to run and why."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from handoff.envelope import HandoffEnvelope
from handoff.errors import JsonObject

if TYPE_CHECKING:
    from mcp.types import Tool

OWN_TOOLS = {
    "receive_handoff": ("envelope",),
    "prepare_handoff": ("target_server", "accumulated_context"),
    "get_context": ("session_id",),
    "clear_context": ("session_id",),
}
"""The extension's tools, each with the arguments it requires. None runs from a hint, none is recorded."""

HintPolicy = Callable[["Tool"], bool]
"""Whether a hint may run this tool. Destructive tools and the extension's own are not even asked about."""


@dataclass(frozen=True, slots=True)
class HintedCall:
    """The call to run."""

    tool: str
    arguments: JsonObject


@dataclass(frozen=True, slots=True)
class NothingToRun:
    """The handoff is accepted and that is all: what the caller may do next, and what for it is missing."""

    missing_arguments: tuple[str, ...] = ()
    next_tools: tuple[str, ...] = ()


def only_repeatable(tool: Tool) -> bool:
    """For any server: tools annotated read-only or idempotent, whose second run does no harm."""
    annotations = tool.annotations
    return bool(annotations and (annotations.read_only_hint or annotations.idempotent_hint))


def every_tool(tool: Tool) -> bool:
    """For a server whose call path guards every tool itself (scopes, tokens, approvals, limits)."""
    return True


def plan_hint(
    envelope: HandoffEnvelope, tools: Sequence[Tool], allows: HintPolicy
) -> HintedCall | NothingToRun:
    """Decide what accepting `envelope` runs on a server that offers `tools`."""
    tool = next((tool for tool in tools if tool.name == envelope.next_tool_hint), None)
    if tool is None:
        return NothingToRun()
    if tool.name in OWN_TOOLS or _is_destructive(tool) or not allows(tool):
        return NothingToRun(next_tools=(tool.name,))
    arguments = _arguments(envelope, tool.input_schema)
    missing = tuple(name for name in tool.input_schema.get("required", []) if name not in arguments)
    if missing:
        return NothingToRun(missing_arguments=missing, next_tools=(tool.name,))
    return HintedCall(tool.name, arguments)


def derived_token(idempotency_token: str) -> str:
    """The token of the hinted call: the same for each delivery, and no sender can choose it."""
    return f"handoff:{hashlib.sha256(idempotency_token.encode()).hexdigest()}"


def _is_destructive(tool: Tool) -> bool:
    return bool(tool.annotations and tool.annotations.destructive_hint)


def _arguments(envelope: HandoffEnvelope, schema: dict[str, Any]) -> JsonObject:
    """The context's `arguments`, completed; what it says of the call's token is left out."""
    parameters = schema.get("properties", {})
    context = envelope.accumulated_context
    arguments = envelope.arguments()
    for name in schema.get("required", []):
        if name in context and name != "arguments":
            arguments.setdefault(name, context[name])
    if envelope.continuation_token is not None and "cursor" in parameters:
        arguments["cursor"] = envelope.continuation_token
    arguments.pop("idempotency_token", None)
    if "idempotency_token" in parameters:
        arguments["idempotency_token"] = derived_token(envelope.idempotency_token)
    return arguments
