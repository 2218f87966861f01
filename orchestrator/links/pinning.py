"""Tool definitions as an operator approved them: their hash in the team file, and the refusal of others.

A definition is text that models obey. One that changes after it was looked at, on a server that somebody
else runs or in a new version of one's own, is refused until it was looked at again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from orchestrator.links.calls import ServerUnavailableError
from orchestrator.links.definitions import ToolDefinition


def tools_hash(tools: Iterable[ToolDefinition]) -> str:
    """The SHA-256 of all that models and this program read of the definitions, in whatever order."""
    read = [
        {
            "name": tool.name,
            "description": tool.description,
            "inputSchema": tool.input_schema,
            "outputSchema": tool.output_schema,
            "annotations": tool.annotations,
        }
        for tool in sorted(tools, key=lambda tool: tool.name)
    ]
    text = json.dumps(read, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def check_pin(server: str, pin: str | None, tools: Iterable[ToolDefinition]) -> None:
    """Raises: ServerUnavailableError when the definitions are not the approved ones; no pin approves any."""
    if pin is None:
        return
    found = tools_hash(tools)
    if found != pin:
        raise ServerUnavailableError(
            server,
            "its tool definitions are not the approved ones",
            f"read them, then approve them with servers.{server}.tools_sha256 = {found} in the team file",
            retryable=False,
        )
