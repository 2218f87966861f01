"""The scripted model: replies from a JSON file, for tests and for trying out a team.

    {"replies": [
      {"agent": "triage", "tools": [{"name": "customer-data__search_customers", "input": {"query": "ada"}}]},
      {"agent": "triage", "text": "You are ${results.customer-data__search_customers.items.0.name}."}
    ]}

Nothing is remembered between calls. Which reply it is follows from the message list alone, so that one
script serves any number of runs at once, and a run that goes on after a restart.
"""

from __future__ import annotations

import hashlib
import json

from orchestrator.models.history import validate_history
from orchestrator.models.protocol import (
    Fault,
    JsonObject,
    ModelError,
    ModelReply,
    ModelRequest,
    OnText,
    Stop,
    Usage,
)
from orchestrator.models.script import (
    MissingValueError,
    Script,
    ScriptedReply,
    ScriptError,
    filled,
    filled_text,
    load_script,
    texts_of,
)

__all__ = ["Script", "ScriptError", "ScriptedModel", "load_script"]


class ScriptedModel:
    """Takes an agent's turns from a script.

    The agent's entries are gone through in order: each assistant message in the list used up the next
    entry whose `when` was met, and this turn gets the one after.
    """

    def __init__(self, script: Script) -> None:
        self._script = script

    async def reply(self, request: ModelRequest, *, on_text: OnText | None = None) -> ModelReply:
        """Raises: ModelError, with `Fault.SCRIPT` when the script has no reply for this turn."""
        validate_history(request.messages)
        entry, place = self._entry(request)
        if entry.error is not None:
            raise ModelError(entry.error.fault, entry.error.message)
        stop = entry.stop or (Stop.TOOLS if entry.tools else Stop.END)
        try:
            content = _content(entry, request, with_tools=stop is Stop.TOOLS)
        except MissingValueError as error:
            raise ModelError(Fault.SCRIPT, f"replies[{place}]: {error}") from error
        if on_text is not None:
            for block in content:
                for piece in block.get("text", "").splitlines(keepends=True):
                    await on_text(piece)
        return ModelReply(content, stop, f"scripted:{request.model}", _usage(request, content))

    async def close(self) -> None:
        """Nothing to close."""

    def _entry(self, request: ModelRequest) -> tuple[ScriptedReply, int]:
        asked = [
            before
            for before, message in zip(request.messages, request.messages[1:], strict=False)
            if message["role"] == "assistant"
        ]
        place = -1
        for message in (*asked, request.messages[-1]):
            place = self._next(place, request.agent, message)
        return self._script.replies[place], place

    def _next(self, place: int, agent: str, message: JsonObject) -> int:
        said = "\n".join(texts_of(message)).casefold()
        for number, entry in enumerate(self._script.replies[place + 1 :], place + 1):
            if entry.agent not in (None, agent):
                continue
            if entry.when is None or entry.when.contains.casefold() in said:
                return number
        raise ModelError(Fault.SCRIPT, f"the script has no further reply for agent {agent}")


def _content(entry: ScriptedReply, request: ModelRequest, *, with_tools: bool) -> list[JsonObject]:
    content: list[JsonObject] = []
    if text := filled_text(entry.text, request.messages):
        content.append({"type": "text", "text": text})
    for number, call in enumerate(entry.tools if with_tools else ()):
        arguments = filled(call.input, request.messages)
        content.append(
            {"type": "tool_use", "id": _call_id(request, number), "name": call.name, "input": arguments}
        )
    return content


def _call_id(request: ModelRequest, number: int) -> str:
    """The same for the same turn, and another for every other turn of a run."""
    conversation = json.dumps([request.agent, request.messages[0]], sort_keys=True).encode()
    turn = len(request.messages) // 2
    return f"toolu_{hashlib.sha256(conversation).hexdigest()[:16]}_{turn}_{number}"


def _usage(request: ModelRequest, content: list[JsonObject]) -> Usage:
    """A rough count, so that budgets and reports have figures to work on."""
    said = json.dumps([request.system, request.messages, request.tools])
    return Usage(input_tokens=len(said) // 4, output_tokens=len(json.dumps(content)) // 4)
